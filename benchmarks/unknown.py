#!/usr/bin/env python3
"""What a model does not know: pets against photographs without pets, and how often prediction sets hold the truth.

    benchmarks/unknown.py DATA

DATA holds voc2012_mini and pets_mini. Features are those of EfficientNet-Lite0. The limit is set by pets alone: 250
train the probe, 120 others are asked, and so are all photographs of VOC without a cat or a dog. Of 100 splits of what
the probe answers for images that it was fitted without, half sets the threshold of prediction sets and half checks it.
"""

import argparse
import csv
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from foveal.evaluation.bank import extractor_at_hand, look
from foveal.evaluation.prediction_sets import set_threshold
from foveal.images.prepare import Preparation
from foveal.inference.territory import survey
from foveal.tasks.multi_label import MultiLabel
from foveal.tasks.prediction_sets import prediction_set
from foveal.tasks.single_label import SingleLabel
from foveal.tasks.vocab import Vocab
from foveal.training.probes.closed_form import ridge_fit

SEEDS = 5
SPLITS = 100


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    pets = sorted((args.data / "pets_mini" / "images").glob("*.jpg"))
    breeds = ["_".join(file.stem.split("_")[:-1]) for file in pets]
    with (args.data / "voc2012_mini" / "train.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    scenes = [args.data / "voc2012_mini" / "train" / row["fname"] for row in rows]
    without = [file for file, row in zip(scenes, rows, strict=True) if not {"cat", "dog"} & set(row["labels"].split())]
    print("| pixels | AUROC | known kept | others let in | others |\n|---|---|---|---|---|")
    for size in (128, 224):
        body = extractor_at_hand("tf_efficientnet_lite0")
        statistics = body.preparation.statistics
        assert statistics is not None
        body = replace(body, preparation=Preparation.of((size, size), "crop", statistics))
        known, others = look(body, pets).features, look(body, without).features
        unknown(size, known, others)
    classes = sorted(set(breeds))
    print("\n| set | coverage, mean of 100 splits | 5th to 95th percentile | classes in a set |\n|---|---|---|---|")
    coverage("pets", SingleLabel(Vocab(tuple(classes))), known, torch.tensor([classes.index(one) for one in breeds]))
    names = sorted({name for row in rows for name in row["labels"].split()})
    marks = torch.tensor([[float(name in row["labels"].split()) for name in names] for row in rows])
    coverage("voc", MultiLabel(Vocab(tuple(names))), look(body, scenes).features, marks)


def unknown(size, known, others) -> None:
    """Print how well others are told from known images."""
    from sklearn.metrics import roc_auc_score

    found = []
    for seed in range(SEEDS):
        order = torch.from_numpy(np.random.default_rng(seed).permutation(len(known)))
        surveyed = survey(known[order[:250]])
        inside, outside = (surveyed.territory.distances(one) for one in (known[order[250:]], others))
        truth = np.r_[np.zeros(len(inside)), np.ones(len(outside))]
        limit = surveyed.limit
        kept, let_in = (float((one <= limit).double().mean()) for one in (inside, outside))
        found.append((roc_auc_score(truth, torch.cat([inside, outside])), kept, let_in))
    auroc, kept, let_in = np.mean(found, axis=0)
    print(f"| {size} | {auroc:.3f} | {kept:.1%} | {let_in:.1%} | {len(others)} |", flush=True)


def coverage(name, task, features, targets) -> None:
    """Print how often sets hold the truth, and how large they are."""
    outputs = ridge_fit(features, targets, task.loss, task.n_outputs).held_out
    values, held, sizes = task.activate(outputs.detach()), [], []
    for split in range(SPLITS):
        order = torch.from_numpy(np.random.default_rng(split).permutation(len(values)))
        half = len(order) // 2
        chosen = task.with_decision(
            replace(task.decision, set_threshold=set_threshold(task, values[order[:half]], targets[order[:half]]))
        )
        right = 0
        for at in order[half:].tolist():
            found = set(prediction_set(chosen, values[at]))
            sizes.append(len(found))
            right += {str(one) for one in np.atleast_1d(task.decode_target(targets[at]))} <= found
        held.append(right / (len(order) - half))
    low, high = np.quantile(held, [0.05, 0.95])
    print(
        f"| {name} | {np.mean(held):.1%} | {low:.1%} to {high:.1%} | {np.mean(sizes):.1f} of {task.n_outputs} |",
        flush=True,
    )


if __name__ == "__main__":
    main()
