"""Rare labels: sampling, class weights and losses, by what they give the rarest third of the classes.

python benchmarks/rare_labels.py DATA --out RESULT.json --only voc pets --recipes best book --seeds 0 1 2

Two sets: photographs of Pascal VOC 2012 with several labels, and Oxford-IIIT Pets made long-tailed, from 7 photographs of
a breed to 1. Split, initial weights and order are drawn anew per seed; all ways share them.
"""

import argparse
import json
import time
from pathlib import Path

import pandas as pd
import torch

from foveal.data.block import DataBlock
from foveal.data.image_block import ImageBlock
from foveal.data.labels import ColReader
from foveal.data.splits.splitters import ColSplitter
from foveal.data.splits.stratify import StratifiedSplitter
from foveal.geometry.moves import Flip
from foveal.geometry.resize import RandomResizedCrop
from foveal.learner.vision import vision_learner
from foveal.losses import BCEWithLogitsLossFlat, CrossEntropyLossFlat, FocalLossFlat, asymmetric_loss
from foveal.metrics.one_label import recall_per_class
from foveal.metrics.several_labels import average_precision, recall_multi
from foveal.sources.folders import get_image_files
from foveal.tasks.balance import class_frequencies, class_weights
from foveal.tasks.multi_label import MultiCategoryBlock
from foveal.tasks.single_label import CategoryBlock

SIZE = 128
N_VALID_PER_BREED = 3
MOST_PER_BREED = 7
TRANSFORMS = [RandomResizedCrop(SIZE, min_scale=0.5), Flip()]


def softened(dls, loss):
    weights = torch.tensor(class_weights(dls.task, "balanced", dls.train.dataset.targets)).sqrt()
    return loss(weights.tolist())


def class_scale(dls):
    """1 / frequency per class, with mean 1: of presence and absence alike."""
    rarity = 1 / class_frequencies(dls.task, dls.train.dataset.targets).clamp(min=1e-9)
    return BCEWithLogitsLossFlat(weight=(rarity / rarity.mean()).tolist())


COMMON = {
    "plain": {},
    "balanced sampling": {"sampling": "balanced"},
    "square-root sampling": {"sampling": "square-root"},
    "class weights balanced": {"class_weights": "balanced"},
}
WAYS = {
    "voc": COMMON
    | {
        "square root of these weights": {
            "loss": lambda dls: softened(dls, lambda w: BCEWithLogitsLossFlat(pos_weight=w))
        },
        "weight=1/frequency": {"loss": class_scale},
        "focal loss": {"loss": lambda _: FocalLossFlat()},
        "asymmetric loss": {"loss": lambda _: asymmetric_loss},
    },
    "pets": COMMON
    | {
        "square root of these weights": {"loss": lambda dls: softened(dls, CrossEntropyLossFlat)},
        "focal loss": {"loss": lambda _: FocalLossFlat()},
    },
}


def voc(data, seed, sampling):
    table = pd.read_csv(data / "voc2012_mini" / "train.csv")
    labels = ColReader("labels", label_delim=" ")
    block = DataBlock(
        (ImageBlock, MultiCategoryBlock),
        get_x=ColReader("fname", pref=data / "voc2012_mini" / "train"),
        get_y=labels,
        splitter=StratifiedSplitter(labels, valid_pct=0.3, seed=seed),
        item_tfms=TRANSFORMS,
    )
    return block.dataloaders(table, bs=64, seed=seed, sampling=sampling)


def long_tailed(data, seed):
    """A table of breeds: the same number of each to validate, and from `MOST_PER_BREED` to 1 of each to train on."""
    rng, rows = torch.Generator().manual_seed(seed), []
    files = get_image_files(data / "pets_mini" / "images")
    breeds = sorted({file.name.rpartition("_")[0] for file in files})
    for rank, at in enumerate(torch.randperm(len(breeds), generator=rng).tolist()):
        own = sorted(file for file in files if file.name.rpartition("_")[0] == breeds[at])
        own = [own[i] for i in torch.randperm(len(own), generator=rng).tolist()]
        n = round(MOST_PER_BREED ** (1 - rank / (len(breeds) - 1)))
        used = own[: N_VALID_PER_BREED + n]
        rows += [(str(file), breeds[at], i < N_VALID_PER_BREED) for i, file in enumerate(used)]
    return pd.DataFrame(rows, columns=["fname", "label", "is_valid"])


def pets(data, seed, sampling):
    block = DataBlock(
        (ImageBlock, CategoryBlock),
        get_x=ColReader("fname"),
        get_y=ColReader("label"),
        splitter=ColSplitter(),
        item_tfms=TRANSFORMS,
    )
    return block.dataloaders(long_tailed(data, seed), bs=32, seed=seed, sampling=sampling)


def scores(learn):
    """What validation says: over all classes, over the rarest third, and how honest probabilities are."""
    dls, target = learn.dls, learn.dls.valid.dataset.targets
    frequency = class_frequencies(dls.task, dls.train.dataset.targets)
    rare = frequency.argsort()[: len(frequency) // 3]
    predictions = learn.validation_predictions()
    raw = float(dls.task.loss(predictions.outputs, target))
    learn.calibrate(predictions)
    calibrated = float(dls.task.loss(predictions.outputs / learn.task.decision.temperature, target))
    losses = {"log loss": raw, "log loss at the temperature": calibrated}
    if target.ndim == 1:
        recall = recall_per_class(predictions.values, target)
        accuracy = float((predictions.values.argmax(dim=1) == target).double().mean())
        return {"accuracy": accuracy, "recall, rarest third": float(recall[rare].nanmean())} | losses
    precision = average_precision(predictions.values, target)
    seen = target.sum(dim=0) > 0
    half = recall_multi(predictions.values, target, thresh=0.5, sigmoid=False, average=None)
    learn.tune_thresholds()
    tuned = recall_multi(
        predictions.values, target, thresh=torch.tensor(learn.task.decision.thresholds), sigmoid=False, average=None
    )
    kept = [c for c in rare.tolist() if seen[c]]
    return {
        "mean AP": float(precision[seen].mean()),
        "AP, rarest third": float(precision[kept].mean()),
        "recall at .5, rarest third": float(half[kept].mean()),
        "F1 tuned, on unseen images": learn.tuned.unseen,
        "recall tuned, rarest third": float(tuned[kept].mean()),
    } | losses


def train(build, data, seed, recipe, epochs, *, sampling="uniform", loss=None, class_weights=None):
    dls = build(data, seed, sampling)
    torch.manual_seed(seed)
    learn = vision_learner(
        dls,
        "tf_efficientnet_lite0",
        recipe=recipe,
        seed=seed,
        loss_func=None if loss is None else loss(dls),
        class_weights=class_weights,
    )
    learn.recorder.silent = True
    learn.fine_tune(epochs)
    return learn


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--only", nargs="*", default=["voc", "pets"])
    parser.add_argument("--recipes", nargs="*", default=["best", "book"])
    parser.add_argument("--epochs", type=int, help="the recipe's by default")
    parser.add_argument("--ways", nargs="*", help="all by default")
    args = parser.parse_args()
    rows = json.loads(args.out.read_text()) if args.out.exists() else []
    for name in args.only:
        build = {"voc": voc, "pets": pets}[name]
        for recipe in args.recipes:
            for seed in args.seeds:
                for way, options in WAYS[name].items():
                    if args.ways and way not in args.ways:
                        continue
                    began = time.perf_counter()
                    found = scores(train(build, args.data, seed, recipe, args.epochs, **options))
                    seconds = round(time.perf_counter() - began, 1)
                    rows.append({"set": name, "recipe": recipe, "seed": seed, "way": way, "seconds": seconds} | found)
                    args.out.write_text(json.dumps(rows, indent=1) + "\n")
                    print({k: round(v, 3) if isinstance(v, float) else v for k, v in rows[-1].items()}, flush=True)


if __name__ == "__main__":
    main()
