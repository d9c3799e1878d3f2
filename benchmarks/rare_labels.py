"""Rare labels: sampling, class weights and losses, by what they give the rarest third of the classes.

python benchmarks/rare_labels.py DATA --out RESULT.json --only voc pets --recipes probe best book --seeds 0 1 2

Two sets: photographs of Pascal VOC 2012 with several labels, and Oxford-IIIT Pets made long-tailed, from 7 photographs
of a breed to 1. Split, initial weights and order are drawn anew per seed; all ways share them. The recipe `probe` is
the first part of the default one: the head alone, whose features are computed once for all ways and seeds.
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
from foveal.evaluation.thresholds import best_temperature, tune_best_thresholds
from foveal.geometry.moves import Flip
from foveal.geometry.resize import RandomResizedCrop
from foveal.learner.vision import vision_learner
from foveal.learner.weighting import choose_loss
from foveal.losses import BCEWithLogitsLossFlat, CrossEntropyLossFlat, FocalLossFlat, asymmetric_loss
from foveal.metrics.one_label import recall_per_class
from foveal.metrics.several_labels import average_precision, recall_multi
from foveal.sources.folders import get_image_files
from foveal.tasks.balance import balanced_weights, class_frequencies
from foveal.tasks.multi_label import MultiCategoryBlock
from foveal.tasks.single_label import CategoryBlock
from foveal.training.loop import evaluate
from foveal.training.probes.linear import PooledFeatures, linear_fit

SIZE = 128
N_VALID_PER_BREED = 3
MOST_PER_BREED = 7
TRANSFORMS = [RandomResizedCrop(SIZE, min_scale=0.5), Flip()]


def softened(dls):
    weights = torch.tensor(balanced_weights(dls.task, dls.train.dataset.targets)).sqrt()
    return CrossEntropyLossFlat(weight=weights.tolist())


def pos_weighted(dls, power=1.0):
    """Images without a class / images with it: both count alike then."""
    frequency = class_frequencies(dls.task, dls.train.dataset.targets).clamp(min=1e-9)
    return BCEWithLogitsLossFlat(pos_weight=((1 / frequency - 1) ** power).tolist())


def by_rarest(dls):
    """A weight per item: 1 / frequency of its rarest label, in place of the mean over its labels."""
    targets = dls.train.dataset.targets
    rarity = 1 / class_frequencies(dls.task, targets).clamp(min=1e-9)
    weights = torch.where(targets == 1, rarity, 0.0).amax(dim=1)
    return torch.where(weights > 0, weights, rarity.min())


COMMON = {
    "plain": {},
    "balanced sampling": {"sampling": "balanced"},
    "square-root sampling": {"sampling": "square-root"},
    "class weights balanced": {"class_weights": "balanced"},
}
WAYS = {
    "voc": COMMON
    | {
        "balanced by the rarest label": {"sampling": by_rarest},
        "pos_weight=absent/present": {"loss": pos_weighted},
        "square root of pos_weight": {"loss": lambda dls: pos_weighted(dls, 0.5)},
        "focal loss": {"loss": lambda _: FocalLossFlat()},
        "asymmetric loss": {"loss": lambda _: asymmetric_loss},
    },
    "pets": COMMON
    | {
        "square root of these weights": {"loss": softened},
        "focal loss": {"loss": lambda _: FocalLossFlat()},
    },
}


def voc(data, seed):
    table = pd.read_csv(data / "voc2012_mini" / "train.csv")
    labels = ColReader("labels", label_delim=" ")
    block = DataBlock(
        (ImageBlock, MultiCategoryBlock),
        get_x=ColReader("fname", pref=data / "voc2012_mini" / "train"),
        get_y=labels,
        splitter=StratifiedSplitter(labels, valid_pct=0.3, seed=seed),
        item_tfms=TRANSFORMS,
    )
    return block.dataloaders(table, bs=64, seed=seed)


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


def pets(data, seed):
    block = DataBlock(
        (ImageBlock, CategoryBlock),
        get_x=ColReader("fname"),
        get_y=ColReader("label"),
        splitter=ColSplitter(),
        item_tfms=TRANSFORMS,
    )
    return block.dataloaders(long_tailed(data, seed), bs=32, seed=seed)


def scores(task, trained_on, output, target):
    """What validation says: over all classes, over the rarest third, and how honest probabilities are."""
    frequency = class_frequencies(task, trained_on)
    rare = frequency.argsort()[: len(frequency) // 3]
    temperature = best_temperature(lambda t: float(task.loss(output.double() / t, target)))
    losses = {
        "log loss": float(task.loss(output, target)),
        "log loss at the temperature": float(task.loss(output / temperature, target)),
    }
    values = task.activate(output / temperature)
    if target.ndim == 1:
        recall = recall_per_class(values, target)
        accuracy = float((values.argmax(dim=1) == target).double().mean())
        return {"accuracy": accuracy, "recall, rarest third": float(recall[rare].nanmean())} | losses
    precision = average_precision(values, target)
    seen = target.sum(dim=0) > 0
    half = recall_multi(values, target, thresh=0.5, sigmoid=False, average=None)
    fitted = tune_best_thresholds(values, target, task.names)
    tuned = recall_multi(values, target, thresh=torch.tensor(fitted.thresholds), sigmoid=False, average=None)
    kept = [c for c in rare.tolist() if seen[c]]
    return {
        "mean AP": float(precision[seen].mean()),
        "AP, rarest third": float(precision[kept].mean()),
        "recall at .5, rarest third": float(half[kept].mean()),
        "F1 tuned, on unseen images": fitted.unseen,
        "recall tuned, rarest third": float(tuned[kept].mean()),
    } | losses


def learner(dls, recipe, seed, **options):
    torch.manual_seed(seed)
    learn = vision_learner(dls, "tf_efficientnet_lite0", recipe=recipe, seed=seed, **options)
    learn.recorder.silent = True
    return learn


def train(dls, seed, recipe, epochs, *, sampling="uniform", loss=None, class_weights=None):
    dls = dls.new(sampling=sampling(dls) if callable(sampling) else sampling)
    learn = learner(dls, recipe, seed, loss_func=loss and loss(dls), class_weights=class_weights)
    learn.fine_tune(epochs)
    predictions = learn.validation_predictions()
    return predictions.outputs, predictions.targets


FEATURES = {}


def features_of(dls):
    """Return the features of both sides; each photograph goes through the backbone once in the life of the script."""
    model, sides = learner(dls, "best", 0).model, []
    for loader in (dls.train.in_order(), dls.valid):
        names = [str(image) for image in loader.dataset.images]
        if any(name not in FEATURES for name in names):
            done = evaluate(PooledFeatures(model.body), loader.shard_batches(), precision="fp32", device=dls.device)
            FEATURES.update(zip(names, done.outputs, strict=True))
        sides.append(torch.stack([FEATURES[name] for name in names]))
    return sides


def probe(dls, *, sampling="uniform", loss=None, class_weights=None):
    """What `learn.probe()` does, from features that are kept."""
    dls = dls.new(sampling=sampling(dls) if callable(sampling) else sampling)
    inputs, valid = features_of(dls)
    chosen = choose_loss(dls, loss and loss(dls), class_weights)
    targets, rows = dls.train.dataset.targets, dls.train.drawn(4)
    if rows is not None:
        inputs, targets = inputs[rows], targets[rows]
    layer, _ = linear_fit(inputs, targets, chosen, dls.c, rows=rows)
    return layer(valid).detach(), dls.valid.dataset.targets


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
        for recipe in args.recipes:
            for seed in args.seeds:
                dls = {"voc": voc, "pets": pets}[name](args.data, seed)
                for way, options in WAYS[name].items():
                    if args.ways and way not in args.ways:
                        continue
                    began = time.perf_counter()
                    answers = (
                        probe(dls, **options) if recipe == "probe" else train(dls, seed, recipe, args.epochs, **options)
                    )
                    found = scores(dls.task, dls.train.dataset.targets, *answers)
                    seconds = round(time.perf_counter() - began, 1)
                    rows.append({"set": name, "recipe": recipe, "seed": seed, "way": way, "seconds": seconds} | found)
                    args.out.write_text(json.dumps(rows, indent=1) + "\n")
                    print({k: round(v, 3) if isinstance(v, float) else v for k, v in rows[-1].items()}, flush=True)


if __name__ == "__main__":
    main()
