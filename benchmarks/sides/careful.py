"""The rows of the speed table as somebody careful writes them with Lightning, torchvision's v2 transforms and timm.

Channels last, bfloat16 where the processor has it, fused AdamW, no gradients for what is frozen, workers that stay.
"""

import logging
import time
import warnings
from pathlib import Path

warnings.filterwarnings("ignore")

import lightning as pl  # noqa: E402
import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
import timm  # noqa: E402
import torch  # noqa: E402
from common import (  # noqa: E402
    BS,
    WORKERS,
    main,
    mean_ap,
    median_of_images,
    median_seconds,
    per_image,
    seconds_of,
    step_seconds,
)
from PIL import Image  # noqa: E402
from torch import nn  # noqa: E402
from torch.utils.data import DataLoader, Dataset  # noqa: E402
from torchvision import tv_tensors  # noqa: E402
from torchvision.transforms import v2  # noqa: E402

logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
TENSOR = [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize([0.5] * 3, [0.5] * 3)]


class Images(Dataset):
    def __init__(self, frame, targets, transform):
        self.files, self.targets, self.transform = frame.fname.tolist(), targets, transform

    def __len__(self):
        return len(self.files)

    def __getitem__(self, at):
        return self.transform(Image.open(self.files[at]).convert("RGB")), self.targets[at]


class Scenes(Images):
    def __getitem__(self, at):
        image = v2.functional.to_image(Image.open(self.files[at]).convert("RGB"))
        point = tv_tensors.KeyPoints(self.targets[at].reshape(1, 2), canvas_size=image.shape[1:])
        return self.transform(image, point)


def batches(dataset, *, train):
    more = {"persistent_workers": True, "num_workers": WORKERS, "pin_memory": DEVICE == "cuda"}
    return DataLoader(dataset, BS if train else 2 * BS, shuffle=train, drop_last=train, **more)


def voc(data, size, table="voc.csv"):
    frame = pd.read_csv(data / table)
    targets = torch.tensor(frame.labels.str.get_dummies(" ").to_numpy(), dtype=torch.float32)
    train = v2.Compose([v2.RandomResizedCrop(size, (0.35, 1), antialias=True), v2.RandomHorizontalFlip(0), *TENSOR])
    valid = v2.Compose([v2.Resize(size), v2.CenterCrop(size), *TENSOR])
    sides = []
    for held, transform in ((False, train), (True, valid)):
        at = np.flatnonzero(frame.is_valid.to_numpy() == held)
        sides.append(batches(Images(frame.iloc[at], targets[at], transform), train=not held))
    return sides


class Module(pl.LightningModule):
    """A body, the head of the book, and the book's recipe."""

    def __init__(self, arch, weights, steps_per_epoch, n_outputs):
        super().__init__()
        self.body = timm.create_model(arch, pretrained=False)
        if arch == "tf_efficientnet_lite0":
            self.body.load_state_dict(torch.load(weights, weights_only=True))
        is_transformer = arch.startswith("vit")
        self.body.reset_classifier(0, *([] if is_transformer else [""]))
        n = self.body.num_features
        pool = [] if is_transformer else [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
        self.head = nn.Sequential(
            *pool, nn.BatchNorm1d(n), nn.Dropout(0.25), nn.Linear(n, 512), nn.ReLU(),
            nn.BatchNorm1d(512), nn.Dropout(0.5), nn.Linear(512, n_outputs),
        )  # fmt: skip
        self.rate, self.steps_per_epoch, self.frozen, self.epochs = 3e-3, steps_per_epoch, True, 1
        self.outputs = []

    def prepare(self, *, frozen, epochs, rate):
        self.frozen, self.epochs, self.rate = frozen, epochs, rate
        self.body.requires_grad_(not frozen)
        return self

    def forward(self, x):
        x = x.to(memory_format=torch.channels_last)
        if self.frozen and self.training:
            self.body.eval()
            with torch.no_grad():
                features = self.body(x)
        else:
            features = self.body(x)
        return self.head(features)

    def training_step(self, batch, _):
        return nn.functional.binary_cross_entropy_with_logits(self(batch[0]), batch[1])

    def validation_step(self, batch, _):
        self.outputs.append((self(batch[0]).float(), batch[1]))

    def on_validation_epoch_start(self):
        self.outputs.clear()

    def optimizer(self):
        groups = [{"params": self.head.parameters(), "lr": self.rate}]
        if not self.frozen:
            groups.append({"params": self.body.parameters(), "lr": self.rate / 10})
        return torch.optim.AdamW(groups, weight_decay=0.01, fused=True)

    def configure_optimizers(self):
        optimizer = self.optimizer()
        rates = [group["lr"] for group in optimizer.param_groups]
        total = self.epochs * self.steps_per_epoch + 1
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rates, total, pct_start=0.25)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def has_bf16():
    flags = Path("/proc/cpuinfo").read_text()
    return DEVICE == "cuda" or "amx_bf16" in flags or "avx512_bf16" in flags


def fit(module, sides, **phase):
    trainer = pl.Trainer(
        max_epochs=phase["epochs"], precision="bf16-mixed" if has_bf16() else "32-true", logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0,
        accelerator="auto",
    )  # fmt: skip
    trainer.fit(module.prepare(**phase), *sides)
    return module


def built(data, arch, size=128):
    sides = voc(data, int(size))
    n_outputs = sides[0].dataset.targets.shape[1]
    module = Module(arch, data / "lite0.pth", len(sides[0]), n_outputs).to(memory_format=torch.channels_last)
    return module, sides


def loader(data):
    train, _ = voc(data, 128, "large.csv")
    return per_image(lambda: (inputs for inputs, _ in train))


def points(data):
    frame = pd.read_csv(data / "points.csv")
    moves = v2.Compose([
        v2.Resize((240, 320)), v2.RandomHorizontalFlip(),
        v2.RandomApply([v2.RandomAffine(10, scale=(1, 1.1))], 0.75), v2.RandomPerspective(0.2, 0.75),
        v2.RandomApply([v2.ColorJitter(0.2, 0.2)], 0.75), *TENSOR,
    ])  # fmt: skip
    targets = torch.tensor(frame[["x", "y"]].to_numpy(), dtype=torch.float32)
    kept = np.flatnonzero(~frame.is_valid)
    train = batches(Scenes(frame.iloc[kept], targets[kept], moves), train=True)
    return per_image(lambda: (inputs for inputs, _ in train))


def epoch(data, arch, state, size=128, precision=""):
    module, sides = built(data, arch, size)
    if precision == "compile":
        module.body = torch.compile(module.body)
    phase = {"frozen": state == "frozen", "epochs": 1, "rate": 1e-3}
    fit(module, sides, **phase)
    return seconds_of(lambda: fit(module, sides, **phase))


def fine_tune(data, arch, seed=0):
    pl.seed_everything(int(seed), verbose=False)
    module, sides = built(data, arch)
    began = time.perf_counter()
    fit(module, sides, frozen=True, epochs=4, rate=3e-3)
    fit(module, sides, frozen=False, epochs=3, rate=1.5e-3)
    seconds = time.perf_counter() - began
    values, targets = (torch.cat(one).cpu().numpy() for one in zip(*module.outputs, strict=True))
    return {"seconds": seconds, "score": mean_ap(values, targets)}


def get_preds(data):
    module, (_, valid) = built(data, "resnet50")
    module.eval().to(DEVICE)

    def predictions():
        with torch.inference_mode(), torch.autocast(DEVICE, torch.bfloat16, enabled=has_bf16()):
            return torch.cat([module(inputs.to(DEVICE)).float().cpu() for inputs, _ in valid])

    predictions()
    return median_seconds(predictions, 3) / len(valid.dataset)


def optimizer(data):
    module, _ = built(data, "resnet50")
    step = module.prepare(frozen=False, epochs=1, rate=1e-3).optimizer().step
    return step_seconds(module, step)


def one(data):
    module, (_, valid) = built(data, "tf_efficientnet_lite0", 128)
    module.eval()
    prepare = valid.dataset.transform

    def answer(file):
        with torch.inference_mode():
            return module(prepare(Image.open(file).convert("RGB"))[None]).sigmoid()

    return median_of_images(answer, data)


if __name__ == "__main__":
    main({
        "loader": loader, "points": points, "epoch": epoch, "fine_tune": fine_tune, "get_preds": get_preds,
        "optimizer": optimizer, "one": one,
    })  # fmt: skip
