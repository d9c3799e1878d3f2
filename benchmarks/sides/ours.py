"""The rows of the speed table as a user of foveal writes them."""

import time

import numpy as np
import pandas as pd
import torch
from common import BS, WORKERS, main, median_seconds, per_picture, resident_bytes, seconds_of

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
    return per_picture(lambda: (batch[0] for batch in dls.train))


def points(data):
    block = DataBlock(
        (ImageBlock, PointBlock),
        get_x=ColReader("fname"),
        get_y=lambda r: [r["x"], r["y"]],
        splitter=ColSplitter(),
        batch_tfms=[*aug_transforms(size=(240, 320)), Normalize.from_stats([0.5] * 3, [0.5] * 3)],
    )
    dls = block.dataloaders(pd.read_csv(data / "points.csv"), bs=BS, num_workers=WORKERS)
    return per_picture(lambda: (batch[0] for batch in dls.train))


def epoch(data, arch, state, size=128):
    learn = learner(data, arch, size)
    if state == "unfrozen":
        learn.unfreeze()
    learn.fit_one_cycle(1, 1e-3)
    return seconds_of(lambda: learn.fit_one_cycle(1, 1e-3))


def fine_tune(data, arch, seed=0, **options):
    torch.manual_seed(int(seed))
    learn = learner(data, arch, **options)
    began = time.perf_counter()
    learn.fine_tune(3, 3e-3, freeze_epochs=4)
    seconds = time.perf_counter() - began
    values, targets = learn.get_preds()
    return {"seconds": seconds, "score": mean_ap(values, targets)}


def mean_ap(values, targets):
    from sklearn.metrics import average_precision_score

    common = [i for i in range(targets.shape[1]) if int(targets[:, i].sum()) >= 10]
    return float(np.mean([average_precision_score(targets[:, i], values[:, i]) for i in common]))


def get_preds(data):
    learn = learner(data, "resnet50").to_bf16()
    learn.get_preds()
    return median_seconds(learn.get_preds, 3) / learn.dls.valid.n


def optimizer(data):
    from foveal.train.optim import adamw

    model = learner(data, "resnet50").model
    model.requires_grad_(True)
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 1e-3)
    return median_seconds(adamw(model, [1e-3] * 3).step, 20)


def one(data):
    predictor = load_learner(data / "model.safetensors")
    files = pd.read_csv(data / "voc.csv").fname.tolist()[:60]
    for file in files[:10]:
        predictor.predict(file)
    return float(np.median([seconds_of(lambda file=file: predictor.predict(file)) for file in files]))


def table(data, n):
    block = DataBlock(
        (ImageBlock, MultiCategoryBlock),
        get_x=ColReader("fname"),
        get_y=ColReader("labels", label_delim=" "),
        splitter=RandomSplitter(seed=0),
        item_tfms=Resize(128),
    )
    frame = pd.read_csv(data / f"rows-{n}.csv")
    block.dataloaders(frame[:200])
    before, began = resident_bytes(), time.perf_counter()
    dls = block.dataloaders(frame)
    seconds = (time.perf_counter() - began) / len(frame)
    return {"seconds": seconds, "bytes": (resident_bytes() - before) / len(frame), "n": dls.train.n}


def collab(data):
    from foveal.collab.all import CollabDataLoaders, collab_learner

    frame = pd.read_csv(data / "ratings.csv")
    split = [frame.index[frame.valid == side].tolist() for side in (0, 1)]
    dls = CollabDataLoaders.from_df(frame[["user", "item", "rating"]], bs=64, splitter=lambda _: split, seed=0)
    learn = collab_learner(dls, n_factors=50, y_range=(0, 5.5))
    learn.fit_one_cycle(1, 5e-3, wd=0.1)
    return seconds_of(lambda: learn.fit_one_cycle(2, 5e-3, wd=0.1)) / 2


def command(data, name):
    from foveal.cli import main as cli

    folder, n = data / "many", len(list((data / "many").iterdir()))
    words = {
        "check": [str(data / "many.csv"), "--images", "/"],
        "predict": [str(data / "model.safetensors"), str(folder), "--out", str(data / "answers.csv")],
    }[name]

    def run(words):
        try:
            cli.app([name, *words])
        except SystemExit as ended:
            if ended.code:
                raise

    few = {"check": [str(data / "few.csv"), "--images", "/"], "predict": [words[0], str(data / "few"), *words[2:]]}[
        name
    ]
    run(few)
    return seconds_of(lambda: run(words)) / n


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
