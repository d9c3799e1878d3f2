#!/usr/bin/env python3
"""Planted label errors found: foveal's list beside cleanlab's scores on the same answers, three seeds.

    pip install cleanlab
    benchmarks/label_issues.py DATA

DATA holds voc2012_mini and pets_mini; the demo set is drawn. Answers come from models that did not learn from the
image: of labels from five folds of the closed-form probe on kept features, of points from a series of three folds.
Pairs of points are heads and a second point 40 pixels to the right, with the answers' own errors. The figure is the
average precision of the list of all labels, 1 where all planted errors come first; of several labels also of the list
of all images.
"""

import argparse
import csv
import tempfile
import warnings
from pathlib import Path

import numpy as np
import torch

import foveal
from foveal.evaluation.bank import extractor_at_hand, look
from foveal.sources.synthetic import write_scenes
from foveal.tasks.kinds import kind_of
from foveal.tasks.multi_label import MultiLabel
from foveal.tasks.points import Points
from foveal.tasks.single_label import SingleLabel
from foveal.tasks.vocab import Vocab
from foveal.training.probes.closed_form import ridge_fit

RATES = (0.05, 0.1, 0.2)
SEEDS = 3
FOLDS = 5


def main() -> None:
    """Print a table of all cells."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    print("| set | planted | share | cleanlab | foveal | planted labels | expected, with bounds | called | right |")
    print("|---|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        of_classes(args.data, Path(folder))
        of_points(args.data, Path(folder))


def of_classes(data, folder) -> None:
    """Sets with labels: clean, missing, extra and swapped ones."""
    body = extractor_at_hand("tf_efficientnet_lite0")
    scenes = write_scenes(folder / "demo", n=1_000)
    for name, images, rows in (
        ("pets", sorted((data / "pets_mini" / "images").glob("*.jpg")), None),
        ("voc", data / "voc2012_mini" / "train", data / "voc2012_mini" / "train.csv"),
        ("demo", scenes.parent / "scenes", scenes),
    ):
        if name == "pets":
            files, labels = images, [["_".join(file.stem.split("_")[:-1])] for file in images]
        else:
            with rows.open(newline="") as file:
                read = list(csv.DictReader(file))
            files, labels = [images / row["fname"] for row in read], [row["labels"].split() for row in read]
        classes = sorted({one for some in labels for one in some})
        marks = torch.tensor([[float(one in some) for one in classes] for some in labels])
        features = look(body, files).features
        if name == "pets":
            task, truth, kinds = SingleLabel(Vocab(tuple(classes))), marks.argmax(dim=1), ("swapped",)
        else:
            task, truth, kinds = MultiLabel(Vocab(tuple(classes))), marks, ("missing", "extra", "swapped")
        for kind in kinds:
            for rate in (0.0, *RATES) if kind == kinds[0] else RATES:
                report(name, kind, rate, [class_cell(task, features, truth, kind, rate, s) for s in range(SEEDS)])


def class_cell(task, features, truth, kind, rate, seed):
    """Plant errors, answer for each image without it, and score both lists."""
    from cleanlab.multilabel_classification import get_label_quality_scores as scores_of_several
    from cleanlab.rank import get_label_quality_scores as scores_of_one

    given, wrong = plant(truth, kind, rate, np.random.default_rng(seed), task.n_outputs)
    fold = torch.from_numpy(np.random.default_rng(seed).permutation(len(truth)) % FOLDS)
    values = torch.zeros(len(truth), task.n_outputs)
    for number in range(FOLDS):
        layer = ridge_fit(features[fold != number], given[fold != number], task.loss, task.n_outputs).layer
        values[fold == number] = task.activate(layer(features[fold == number])).detach()
    check = kind_of(task).label_issues.find(task, values, given, None)
    if given.ndim == 1:
        theirs = [-scores_of_one(given.numpy(), values.numpy())]
        ours = [check.probabilities[:, 0].numpy()]
        planted = [wrong.numpy()]
    else:  # label by label, and image by image
        lists = [list(np.flatnonzero(row)) for row in given.numpy()]
        one_by_one = torch.where(given == 1, values, 1 - values)
        theirs = [-one_by_one.numpy().ravel(), -scores_of_several(lists, values.numpy())]
        by_image = 1 - (1 - check.probabilities).prod(dim=1)
        ours = [check.probabilities.numpy().ravel(), by_image.numpy()]
        planted = [wrong.numpy().ravel(), wrong.any(dim=1).numpy()]
    return cell(theirs, ours, planted, check)


def of_points(data, folder) -> None:
    """Points moved, and left and right changed places."""
    with (data / "voc2012_mini" / "head_points.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    truth = torch.tensor([[[float(row["cx"]), float(row["cy"])]] for row in rows], dtype=torch.float64)
    sizes = torch.tensor([[float(row["width"]), float(row["height"])] for row in rows], dtype=torch.float64)
    names, images = [row["fname"] for row in rows], data / "voc2012_mini" / "train"
    runs = {}
    for rate in (0.0, *RATES):
        cells = []
        for seed in range(SEEDS):
            given, wrong = moved(truth, sizes, rate, np.random.default_rng(seed))
            found = answers_of(folder / f"heads-{rate}-{seed}", images, names, given)
            order = [names.index(Path(image).name) for image in found.images]
            cells.append(point_cell(found.task, found.comparable, given[order], wrong[order][:, None], found.spread))
            runs[rate, seed] = found, truth[order]
        report("heads", "moved", rate, cells)
    for rate in RATES:
        report("pairs", "swapped", rate, [pair_cell(*runs[0.0, seed], rate, seed) for seed in range(SEEDS)])


def answers_of(folder, images, names, given):
    """Train a series of folds, and return what they answer."""
    folder.mkdir()
    with (folder / "t.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["fname", "x", "y"])
        writer.writerows((name, *point[0].tolist()) for name, point in zip(names, given, strict=True))
    options = {"points": "x,y", "size": 160, "recipe": "probe", "epochs": 0, "folds": 3, "task": "points"}
    return foveal.train(folder / "t.csv", images=images, out=folder / "run", **options).interpretation().predictions


def pair_cell(found, truth, rate, seed):
    """Let two points of some images change places."""
    rng = np.random.default_rng(seed)
    errors = found.comparable - truth
    other = torch.from_numpy(rng.permutation(len(truth)))
    points = torch.cat([truth, truth + torch.tensor([40.0, 0.0])], dim=1)
    answers = points + torch.cat([errors, errors[other]], dim=1)
    spread = None if found.spread is None else torch.cat([found.spread, found.spread[other]], dim=1)
    wrong = torch.zeros(len(points), 2, dtype=torch.bool)
    wrong[rng.choice(len(points), round(rate * len(points)), replace=False)] = True
    return point_cell(Points(2), answers, torch.where(wrong[..., None], points.flip(1), points), wrong, spread)


def point_cell(task, answers, given, wrong, spread):
    """Score both lists."""
    from cleanlab.regression.rank import get_label_quality_scores

    check = kind_of(task).label_issues.find(task, answers, given, spread)
    quality = [
        get_label_quality_scores(given[:, n, axis].numpy(), answers[:, n, axis].numpy())
        for n in range(task.n_points)
        for axis in range(2)
    ]
    theirs = -np.stack(quality, axis=1).reshape(len(given), task.n_points, 2).min(axis=2)
    return cell([theirs.ravel()], [check.probabilities.numpy().ravel()], [wrong.numpy().ravel()], check)


def cell(theirs, ours, planted, check):
    """Return the figures of one seed."""
    from sklearn.metrics import average_precision_score

    called = (check.probabilities > 0.5).numpy().ravel()
    return {
        "theirs": [average_precision_score(p, s) if p.any() else np.nan for p, s in zip(planted, theirs, strict=True)],
        "ours": [average_precision_score(p, s) if p.any() else np.nan for p, s in zip(planted, ours, strict=True)],
        "counts": [int(planted[0].sum()), *check.n_wrong, int(called.sum()), int((called & planted[0]).sum())],
    }


def report(name, kind, rate, cells) -> None:
    """Print the means over seeds; of several labels label by label, then image by image."""
    theirs, ours = (np.mean([one[who] for one in cells], axis=0) for who in ("theirs", "ours"))
    n, value, low, high, called, right = np.mean([one["counts"] for one in cells], axis=0)
    texts = (" / ".join(f"{one:.3f}" for one in figures) for figures in (theirs, ours))
    kind = kind if rate else "nothing"
    print(f"| {name} | {kind} | {rate:.0%} | {' | '.join(texts)} | {n:.0f} | {value:.0f} ({low:.0f} to {high:.0f}) | "
          f"{called:.0f} | {right:.0f} |", flush=True)  # fmt: skip


def plant(truth, kind, rate, rng, n_classes):
    """Return labels with errors, and which were changed."""
    given, wrong = truth.clone(), torch.zeros(truth.shape, dtype=torch.bool)
    if truth.ndim == 1:
        for at in rng.choice(len(truth), round(rate * len(truth)), replace=False):
            given[at], wrong[at] = (truth[at] + rng.integers(1, n_classes)) % n_classes, True
        return given, wrong
    there = (truth == 1).nonzero().numpy()
    for at, c in there[rng.choice(len(there), round(rate * len(there)), replace=False)]:
        if kind in {"missing", "swapped"}:
            given[at, c], wrong[at, c] = 0, True
        if kind in {"extra", "swapped"}:
            others = [other for other in np.flatnonzero(given[at] == 0) if other != c]
            other = rng.choice(others)
            given[at, other], wrong[at, other] = 1, True
    return given, wrong


def moved(truth, sizes, rate, rng):
    """Return points of which some were moved by 15 to 50 hundredths of the image's diagonal, and which."""
    given, wrong = truth.clone(), torch.zeros(len(truth), dtype=torch.bool)
    for at in rng.choice(len(truth), round(rate * len(truth)), replace=False):
        diagonal = float(sizes[at].norm())
        while True:
            angle, length = rng.uniform(0, 2 * np.pi), rng.uniform(0.15, 0.5) * diagonal
            point = truth[at, 0] + length * torch.tensor([np.cos(angle), np.sin(angle)])
            if bool(((point >= 0) & (point < sizes[at])).all()):
                break
        given[at, 0], wrong[at] = point, True
    return given, wrong


if __name__ == "__main__":
    main()
