"""What the machine allows: bare decoding at the scale that the drawn crop permits, bare steps on ready tensors."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import simplejpeg
import torch
from common import BS, WORKERS, main, median_seconds, seconds_of, step_seconds

from foveal.core import runtime
from foveal.core.rng import generator_for
from foveal.data.samples import Pipeline
from foveal.geometry.resize import RandomResizedCrop, Resize
from foveal.images.decode import open_image, reduction_factor
from foveal.images.prepare import scale_of
from foveal.models.vision import ModelSpec, build_model
from foveal.vision.all import aug_transforms

DEVICE = runtime.default_device()


def decode_seconds(files, place, threads=WORKERS):
    """Seconds an image of reading and decoding alone, with so many threads, after one pass."""
    sizes = [open_image(file).size_hw for file in files]
    factors = [reduction_factor(scale_of(place(hw, generator_for(0, 0, at)), hw)) for at, hw in enumerate(sizes)]

    def one(at):
        data = Path(files[at]).read_bytes()
        height, width = (-(-side // factors[at]) for side in sizes[at])
        simplejpeg.decode_jpeg(data, "RGB", min_height=height, min_width=width)

    def all_of_them():
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(one, range(len(files))))

    all_of_them()
    return median_seconds(all_of_them, 3) / len(files)


def files_of(data, table="voc.csv", *, held=False):
    frame = pd.read_csv(data / table)
    return frame.fname[frame.is_valid == held].tolist()


def loader(data):
    return decode_seconds(files_of(data, "large.csv"), RandomResizedCrop(128, min_scale=0.35))


def points(data):
    return decode_seconds(
        files_of(data, "points.csv"), Pipeline.of(batch_tfms=aug_transforms(size=(240, 320))).source_to_input
    )


def precision():
    return runtime.precisions(DEVICE)[-1] if DEVICE.type == "cpu" else runtime.precisions(DEVICE)[0]


def training_seconds(arch, state, size, bs=BS, times=5):
    """Seconds of a step on a batch in memory: channels last, the quickest precision, fused AdamW."""
    model = runtime.to_device(build_model(ModelSpec(arch, 20, (size, size))), DEVICE).train()
    if state == "frozen":
        model.body.eval().requires_grad_(False)
    x = torch.randn(bs, 3, size, size, device=DEVICE).to(memory_format=torch.channels_last)
    y = torch.zeros(bs, 20, device=DEVICE)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, 1e-3, fused=True)

    def step():
        with runtime.autocast(precision(), DEVICE):
            loss = torch.nn.functional.binary_cross_entropy_with_logits(model(x), y)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        runtime.wait_for(DEVICE)

    with runtime.keeping_memory():
        step()
        return median_seconds(step, times)


def forward_seconds(arch, size, bs=BS, times=5):
    """Seconds of a forward pass on a batch in memory."""
    model = runtime.to_device(build_model(ModelSpec(arch, 20, (size, size))), DEVICE).eval()
    x = torch.randn(bs, 3, size, size, device=DEVICE).to(memory_format=torch.channels_last)

    def forward():
        with torch.inference_mode(), runtime.autocast(precision(), DEVICE):
            model(x)
        runtime.wait_for(DEVICE)

    with runtime.keeping_memory():
        forward()
        return median_seconds(forward, times)


def epoch(data, arch, state, size=128):
    """Training and validating, if decoding and computing shared the cores without loss."""
    size, train, valid = int(size), files_of(data), files_of(data, held=True)
    decoding = len(train) * decode_seconds(train, RandomResizedCrop(size, min_scale=0.35))
    decoding += len(valid) * decode_seconds(valid, lambda hw, _: Resize(size)(hw))
    computing = len(train) // BS * training_seconds(arch, state, size) + len(valid) / BS * forward_seconds(arch, size)
    return decoding + computing if DEVICE.type == "cpu" else max(decoding, computing)


def get_preds(data):
    valid = files_of(data, held=True)
    decoding = decode_seconds(valid, lambda hw, _: Resize(128)(hw))
    return decoding + forward_seconds("resnet50", 128) / BS


def optimizer(_):
    model = build_model(ModelSpec("resnet50", 20, (128, 128)))
    return step_seconds(model, torch.optim.AdamW(model.parameters(), 1e-3, fused=True).step)


def collab(_, n=100_000, bs=64):
    """The steps of an epoch in bare torch: vectors and biases looked up, autograd, fused AdamW, batches at hand."""
    n_users, n_items, n_steps = (943, 1682, 1250) if int(n) == 100_000 else (6040, 3706, 4 * int(n) // 5 // int(bs))
    sizes = ((n_users, 50), (n_items, 50), (n_users, 1), (n_items, 1))
    pairs = torch.randint(0, min(n_users, n_items), (n_steps, int(bs), 2))
    u, i, ub, ib = tables = [torch.nn.Parameter(0.01 * torch.randn(size)) for size in sizes]
    optimizer, y = torch.optim.AdamW(tables, 5e-3, weight_decay=0.1, fused=True), torch.full((int(bs),), 3.5)

    def epoch():
        for batch in pairs:
            a, b = batch.unbind(dim=1)
            rating = (u[a] * i[b]).sum(dim=1) + (ub[a] + ib[b])[:, 0]
            torch.nn.functional.mse_loss(rating.sigmoid() * 5.5, y).backward()
            optimizer.step()
            optimizer.zero_grad()

    epoch()
    return median_seconds(epoch, 3)


def one(data):
    """Decoding one image and computing one, each alone."""
    files = files_of(data)[:60]
    decoding = decode_seconds(files, lambda hw, _: Resize(128)(hw), threads=1)
    model = build_model(ModelSpec("tf_efficientnet_lite0", 20, (128, 128))).eval()
    x = torch.randn(1, 3, 128, 128).to(memory_format=torch.channels_last)
    model = model.to(memory_format=torch.channels_last)
    with torch.inference_mode():
        for _ in range(10):
            model(x)
        return decoding + float(np.median([seconds_of(lambda: model(x)) for _ in range(60)]))


def command(data, name):
    """Decoding everything at full size; or at the scale of the model, and computing."""
    files = [str(file) for file in sorted((data / "many").iterdir())]
    if name == "check":
        return decode_seconds(files, lambda hw, _: Resize(hw)(hw))
    decoding = decode_seconds(files, lambda hw, _: Resize(128)(hw))
    with torch.inference_mode():
        model = build_model(ModelSpec("tf_efficientnet_lite0", 20, (128, 128))).eval()
        model = model.to(memory_format=torch.channels_last)
        x = torch.randn(32, 3, 128, 128).to(memory_format=torch.channels_last)
        with runtime.keeping_memory():
            model(x)
            return decoding + median_seconds(lambda: model(x), 5) / 32


if __name__ == "__main__":
    main({
        "loader": loader, "points": points, "epoch": epoch, "get_preds": get_preds, "optimizer": optimizer,
        "one": one, "collab": collab, "command": command,
    })  # fmt: skip
