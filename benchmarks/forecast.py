#!/usr/bin/env python3
"""What more labels should bring, and what they brought: forecasts of twice as many labels, five seeds.

    benchmarks/forecast.py DATA

DATA holds voc2012_mini and pets_mini; the demo set is drawn. Features are those of EfficientNet-Lite0. From n labelled
images the score with 2 n is forecast; the truth is the mean over five draws of n further images, on the same images to
test.
"""

import argparse
import csv
import tempfile
import warnings
from pathlib import Path

import numpy as np
import torch

from foveal.evaluation.bank import extractor_at_hand, look
from foveal.evaluation.forecast import Labelled, forecast
from foveal.sources.synthetic import write_scenes
from foveal.tasks.multi_label import MultiLabel
from foveal.tasks.single_label import SingleLabel
from foveal.tasks.vocab import Vocab
from foveal.training.probes.closed_form import ridge_fit

SEEDS = 5
DRAWS = 5
CASES = {"pets": ((62, 90, 125), 120), "voc": ((60, 120, 240, 548), 304), "demo": ((60, 120, 240), 400)}


def main() -> None:
    """Print a row for each number of labels, and how good all forecasts were."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    body, everything = extractor_at_hand("tf_efficientnet_lite0"), []
    print(
        "| set | labels | score | forecast of twice as many | true | off, mean | within .02 | in the interval | width |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for name, (numbers, n_test) in CASES.items():
        task, files, targets = read(name, args.data)
        features = look(body, files).features
        for n in numbers:
            found = [case(task, Labelled(features, targets), n, n_test, seed) for seed in range(SEEDS)]
            everything += found
            row(name, n, found)
    row("all", "", everything)


def row(name, n, found) -> None:
    """Print the means over seeds."""
    now, value, low, high, true = np.array(found).T
    off = np.abs(value - true)
    inside = (low <= true) & (true <= high)
    print(
        f"| {name} | {n} | {now.mean():.3f} | {value.mean():.3f} | {true.mean():.3f} | {off.mean():.3f} | "
        f"{(off < 0.02).sum()} of {len(off)} | {inside.sum()} of {len(off)} | {(high - low).mean() / 2:.3f} |",
        flush=True,
    )


def case(task, images, n, n_test, seed):
    """Return the score, the forecast with its bounds, and what twice as many labels brought."""
    order = torch.from_numpy(np.random.default_rng(seed).permutation(len(images.features)))
    test, train, pool = order[:n_test], order[n_test : n_test + n], order[n_test + n :]
    held = Labelled(images.features[test], images.targets[test])
    found = forecast(task, Labelled(images.features[train], images.targets[train]), held)
    metric = next(iter(task.report_metrics().values()))
    scores = []
    for draw in range(DRAWS):
        more = pool[torch.from_numpy(np.random.default_rng(100 + draw).permutation(len(pool))[:n])]
        rows = torch.cat([train, more])
        layer = ridge_fit(images.features[rows], images.targets[rows], task.loss, task.n_outputs).layer
        scores.append(float(metric(task.activate(layer(held.features)).detach(), held.targets)))
    return found.now, *found.at_twice, np.mean(scores)


def read(name, data):
    """Return task, files and targets of a set."""
    if name == "pets":
        files = sorted((data / "pets_mini" / "images").glob("*.jpg"))
        breeds = ["_".join(file.stem.split("_")[:-1]) for file in files]
        classes = sorted(set(breeds))
        return SingleLabel(Vocab(tuple(classes))), files, torch.tensor([classes.index(one) for one in breeds])
    if name == "voc":
        table = data / "voc2012_mini" / "train.csv"
        folder = data / "voc2012_mini" / "train"
    else:
        table = write_scenes(tempfile.mkdtemp(), n=1_000)
        folder = table.parent / "scenes"
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    classes = sorted({one for row in rows for one in row["labels"].split()})
    marks = torch.tensor([[float(one in row["labels"].split()) for one in classes] for row in rows])
    return MultiLabel(Vocab(tuple(classes))), [folder / row["fname"] for row in rows], marks


if __name__ == "__main__":
    main()
