#!/usr/bin/env python3
"""How many labels it takes: images chosen by `foveal next` beside images drawn by lot, five seeds.

    benchmarks/next.py DATA
    benchmarks/next.py DATA --peer      # scikit-activeml's ways beside ours, of one label; pip install scikit-activeml

DATA holds voc2012_mini (several labels) and pets_mini (37 breeds). The features are those of EfficientNet-Lite0 at 128
pixels, as kept by a run that trained its head alone; the head is fitted anew, in closed form, to the labels so far. A
third of the pets and 304 photographs of VOC, others for each seed, are tested on and never chosen.
"""

import argparse
import csv
import tempfile
import warnings
from pathlib import Path

import numpy as np
import torch

import foveal
from foveal.evaluation.choosing import choose_next, uncertainties_of, weights_of
from foveal.metrics.several_labels import mean_average_precision
from foveal.tasks.multi_label import MultiLabel
from foveal.tasks.single_label import SingleLabel
from foveal.tasks.vocab import Vocab
from foveal.training.probes.closed_form import ridge_fit

WAYS = ("by lot", "uncertainty", "diversity", "both")
PEERS = ("Badge", "UncertaintySampling", "CoreSet", "TypiClust", "ProbCover", "MaxHerding", "Falcun", "DropQuery")
BUDGETS = {
    "pets": (37, 50, 62, 75, 87, 100, 112, 125, 150, 175),
    "voc": (25, 50, 75, 100, 150, 200, 250, 300, 400, 548),
}
TESTED = {"pets": 120, "voc": 304}
SEEDS = 5


def main() -> None:
    """Print a table for each set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--peer", action="store_true", help="compare with scikit-activeml too")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        for name, budgets in BUDGETS.items():
            features, targets, task = (of_pets if name == "pets" else of_voc)(args.data, Path(folder) / name)
            ways = (*WAYS, *PEERS) if args.peer and name == "pets" else WAYS
            found = {way: [] for way in ways}
            whole = []
            for seed in range(SEEDS):
                order = torch.from_numpy(np.random.default_rng(seed).permutation(len(features)))
                test, pool = order[: TESTED[name]], order[TESTED[name] :]
                whole.append(score(task, features, targets, pool, test))
                for way in ways:
                    found[way].append(curve(way, task, features, targets, pool, test, budgets, seed))
            print_table(name, budgets, len(pool), found, whole)


def print_table(name, budgets, n_pool, found, whole) -> None:
    """Print means, and for ours how often a seed was below the same seed by lot."""
    print(f"\n{name}: all {n_pool} labels give {np.mean(whole):.3f}\n")
    print(f"| way | {' | '.join(map(str, budgets))} | below by lot |\n|---{'|---' * len(budgets)}|---|")
    lot = np.array(found["by lot"])
    for way, rows in found.items():
        below = int((np.array(rows) < lot).sum())
        print(
            f"| {way} | {' | '.join(f'{value:.3f}' for value in np.mean(rows, axis=0))} | {below} of {lot.size} |",
            flush=True,
        )


def curve(way, task, features, targets, pool, test, budgets, seed) -> list[float]:
    """Return the scores at each number of labels."""
    chosen: list[int] = []
    scores = []
    lots = np.random.default_rng(1000 + seed).permutation(len(pool)).tolist()
    for n in budgets:
        left = [at for at in range(len(pool)) if at not in set(chosen)]
        if way == "by lot":
            chosen = lots[:n]
        elif way in PEERS and chosen:
            chosen = chosen + by_peer(way, features[pool], targets[pool], chosen, n - len(chosen), seed)
        else:
            labelled = pool[chosen]
            answers = {}
            if chosen:
                values = task.activate(fitted(task, features, targets, labelled)(features[pool[left]])).detach()
                uncertainties = uncertainties_of(task, values)
                weights = weights_of(task, values, uncertainties)
                answers = {"labelled": features[labelled], "uncertainties": uncertainties, "weights": weights}
            by = way if chosen else "diversity"
            more = choose_next(features[pool[left]], n - len(chosen), by=by, **answers)
            chosen = chosen + [left[at] for at in more]
        scores.append(score(task, features, targets, pool[chosen], test))
    return scores


def by_peer(way, features, targets, chosen, k, seed):
    """Return the positions that a way of scikit-activeml chooses, with its usual classifier where it takes one."""
    import inspect

    from skactiveml import pool as ways
    from skactiveml.classifier import SklearnClassifier
    from sklearn.linear_model import LogisticRegression

    rows = torch.nn.functional.normalize(features, dim=1).numpy()
    labels = np.full(len(rows), np.nan)
    labels[chosen] = targets[chosen].numpy()
    strategy = getattr(ways, way)(random_state=seed)
    taken = inspect.signature(strategy.query).parameters
    options = {"batch_size": k}
    if "clf" in taken:
        options["clf"] = SklearnClassifier(
            LogisticRegression(C=100, max_iter=300), classes=range(int(targets.max()) + 1)
        )
        options |= {"fit_clf": True}
    return [int(at) for at in strategy.query(rows, labels, **options)]


def fitted(task, features, targets, rows):
    """Return the layer that the probe fits."""
    return ridge_fit(features[rows], targets[rows], task.loss, task.n_outputs).layer


def score(task, features, targets, rows, test) -> float:
    """Return accuracy, or the mean average precision."""
    values = task.activate(fitted(task, features, targets, rows)(features[test])).detach()
    if isinstance(task, MultiLabel):
        return float(mean_average_precision(values, targets[test]))
    return float((values.argmax(dim=1) == targets[test]).float().mean())


def of_voc(data, folder):
    """Return features [n, F], targets and task."""
    images = data / "voc2012_mini" / "train"
    with (data / "voc2012_mini" / "train.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    run = foveal.train(
        data / "voc2012_mini" / "train.csv", images=images, size=128, recipe="probe", epochs=0, out=folder
    )
    classes = sorted({name for row in rows for name in row["labels"].split()})
    task = MultiLabel(Vocab(tuple(classes)))
    targets = torch.tensor([[float(name in row["labels"].split()) for name in classes] for row in rows])
    return torch.from_numpy(run.predictor().embed([images / row["fname"] for row in rows]).vectors), targets, task


def of_pets(data, folder):
    """Return features [n, F], targets and task."""
    files = sorted((data / "pets_mini" / "images").glob("*.jpg"))
    breeds = ["_".join(file.stem.split("_")[:-1]) for file in files]
    folder.mkdir()
    with (folder / "table.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["fname", "label", "is_valid"])
        writer.writerows(
            (one.name, breed, int(at % 3 == 0)) for at, (one, breed) in enumerate(zip(files, breeds, strict=True))
        )
    run = foveal.train(
        folder / "table.csv", images=files[0].parent, size=128, task="single-label", recipe="probe", epochs=0,
        out=folder / "run",
    )  # fmt: skip
    classes = sorted(set(breeds))
    targets = torch.tensor([classes.index(breed) for breed in breeds])
    return torch.from_numpy(run.predictor().embed(files).vectors), targets, SingleLabel(Vocab(tuple(classes)))


if __name__ == "__main__":
    main()
