"""The rows of the speed table as a user of foveal writes them."""

import time

import pandas as pd
import torch
from common import (
    BS,
    WORKERS,
    main,
    mean_ap,
    median_of_images,
    median_seconds,
    per_image,
    read_seconds,
    resident_bytes,
    seconds_of,
    step_seconds,
)

from foveal.vision.all import *


def voc(data, item_tfms, batch_tfms=None, table="voc.csv"):
    block = DataBlock(
        (ImageBlock, MultiCategoryBlock),
        get_x=ColReader("fname"),
        get_y=ColReader("labels", label_delim=" "),
        splitter=ColSplitter(),
        item_tfms=item_tfms,
        batch_tfms=batch_tfms,
    )
    return block.dataloaders(pd.read_csv(data / table), bs=BS, num_workers=WORKERS)


def learner(data, arch, size=128, **options):
    dls = voc(data, RandomResizedCrop(int(size), min_scale=0.35))
    known = arch == "tf_efficientnet_lite0"
    learn = vision_learner(dls, arch, pretrained=known, seed=0, **options).to_precision("auto")
    learn.freeze()
    return learn


def loader(data):
    dls = voc(data, RandomResizedCrop(128, min_scale=0.35), [Normalize.from_stats([0.5] * 3, [0.5] * 3)], "large.csv")
    return per_image(lambda: (batch[0] for batch in dls.train))


def points(data):
    block = DataBlock(
        (ImageBlock, PointBlock),
        get_x=ColReader("fname"),
        get_y=lambda r: [r["x"], r["y"]],
        splitter=ColSplitter(),
        batch_tfms=[*aug_transforms(size=(240, 320)), Normalize.from_stats([0.5] * 3, [0.5] * 3)],
    )
    dls = block.dataloaders(pd.read_csv(data / "points.csv"), bs=BS, num_workers=WORKERS)
    return per_image(lambda: (batch[0] for batch in dls.train))


def epoch(data, arch, state, size=128):
    learn = learner(data, arch, size)
    if state == "unfrozen":
        learn.unfreeze()
    learn.fit_one_cycle(1, 1e-3)
    seconds = seconds_of(lambda: learn.fit_one_cycle(1, 1e-3))
    return {"seconds": seconds, "precision": next(iter(learn.measured.values()), "fp32")}


def fine_tune(data, arch, seed=0, **options):
    torch.manual_seed(int(seed))
    learn = learner(data, arch, **options)
    began = time.perf_counter()
    learn.fine_tune(3, 3e-3, freeze_epochs=4)
    seconds = time.perf_counter() - began
    values, targets = learn.get_preds()
    return {"seconds": seconds, "score": mean_ap(values, targets)}


def get_preds(data):
    learn = learner(data, "resnet50").to_bf16()
    learn.get_preds()
    return median_seconds(learn.get_preds, 3) / learn.dls.valid.n


def optimizer(data):
    from foveal.training.optim import build_optimizer

    model = learner(data, "resnet50").model
    model.requires_grad_(True)
    return step_seconds(model, build_optimizer(model, [1e-3] * 3).step)


def one(data):
    return median_of_images(load_learner(data / "model.safetensors").predict, data)


def table(data, n, what="rows"):
    block = DataBlock(
        (ImageBlock, MultiCategoryBlock),
        get_x=ColReader("fname"),
        get_y=ColReader("labels", label_delim=" "),
        splitter=RandomSplitter(seed=0),
        item_tfms=Resize(128),
    )
    return read_seconds(block, pd.read_csv(data / f"rows-{n}.csv"), every_target if what == "targets" else None)


def every_target(dls):
    return (dls.train.dataset.targets, dls.valid.dataset.targets)


def collab(data, n=100_000, bs=64):
    from foveal.collab.all import CollabDataLoaders, collab_learner

    frame = pd.read_csv(data / f"ratings-{n}.csv")
    split = [frame.index[frame.valid == side].tolist() for side in (0, 1)]
    dls = CollabDataLoaders.from_df(frame[["user", "item", "rating"]], bs=int(bs), splitter=lambda _: split, seed=0)
    learn = collab_learner(dls, n_factors=50, y_range=(0, 5.5))
    learn.fit_one_cycle(1, 5e-3, wd=0.1)
    return seconds_of(lambda: learn.fit_one_cycle(2, 5e-3, wd=0.1)) / 2


def command(data, name):
    from foveal.cli import main as cli

    def run(which):
        words = {
            "check": [data / f"{which}.csv", "--images", "/"],
            "predict": [data / "model.safetensors", data / which, "--out", data / "answers.csv"],
        }[name]
        try:
            cli.app([name, *map(str, words)])
        except SystemExit as ended:
            if ended.code:
                raise

    run("few")
    return seconds_of(lambda: run("many")) / len(list((data / "many").iterdir()))


def flat(data, epochs=20):
    """The memory after each of many epochs."""
    learn = learner(data, "resnet18")
    learn.fit_one_cycle(2, 1e-3)
    held = []
    for _ in range(int(epochs)):
        learn.fit_one_cycle(1, 1e-3)
        held.append(resident_bytes() / 2**20)
    return {"seconds": 0.0, "mib": [round(one) for one in held]}


if __name__ == "__main__":
    main({
        "loader": loader, "points": points, "epoch": epoch, "fine_tune": fine_tune, "get_preds": get_preds,
        "optimizer": optimizer, "one": one, "table": table, "collab": collab, "command": command, "flat": flat,
    })  # fmt: skip
