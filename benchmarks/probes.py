"""The probe beside scikit-learn's tuned linear models and nearest neighbours, on the same features.

    python benchmarks/probes.py DATA --out FILE.json

Four sets, each split five times into three quarters to train on and one to test: `voc2012_mini` (several labels, mean
AP over classes with three or more test images) and `pets_mini` (one label, accuracy), each on features of Lite0 at 224
px and of Lite2 at 260 px. Every method gets the features standardised on the training rows and chooses its own penalty
(or number of neighbours) there. Seconds are the processor's, with one thread.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV, RidgeClassifierCV, RidgeCV
from sklearn.metrics import average_precision_score
from sklearn.model_selection import GridSearchCV, StratifiedKFold, train_test_split
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler, normalize

from foveal.data.block import DataBlock
from foveal.data.image_block import ImageBlock
from foveal.geometry.resize import Resize
from foveal.learner.vision import vision_learner
from foveal.models import zoo
from foveal.tasks.single_label import CategoryBlock
from foveal.training.features import features_of
from foveal.training.probes.closed_form import ridge_fit
from foveal.training.probes.linear import PooledFeatures, linear_fit

Array = NDArray[np.floating]
Fit = Callable[[Array, Array, Array], Array]
PENALTIES = np.logspace(-5, 0, 6)
ALPHAS = np.logspace(1, 6, 11)


def features(files: Sequence[Path], arch: str) -> torch.Tensor:
    """Return the mean features of images, kept under FOVEAL_HOME."""
    block = DataBlock(
        (ImageBlock, CategoryBlock),
        get_y=lambda _: "one",
        splitter=lambda _: (list(range(len(files))), [len(files)]),
        item_tfms=Resize(zoo.native_size(arch)),
    )
    dls = block.dataloaders([*files, files[0]], bs=32, num_workers=0)
    learn = vision_learner(dls, arch, head="linear")
    pooled = PooledFeatures(learn.model.body)
    return features_of(pooled, dls.train.in_order(), pooled.about, precision="fp32", device=torch.device("cpu")).outputs


def mean_ap(scores: Array, labels: Array) -> float:
    """Return the mean AP over classes with at least three images."""
    known = [c for c in range(labels.shape[1]) if labels[:, c].sum() >= 3]
    return float(np.mean([average_precision_score(labels[:, c], scores[:, c]) for c in known]))


def accuracy(scores: Array, labels: Array) -> float:
    """Return the share of images whose highest score is their label's."""
    return float((scores.argmax(axis=1) == labels).mean())


def of_each_class(fit: Callable[[Array, Array], Callable[[Array], Array]]) -> Fit:
    """Return a method for several labels, which fits one model per class."""

    def scores(train: Array, labels: Array, test: Array) -> Array:
        columns = [fit(train, column)(test) if column.sum() >= 3 else np.full(len(test), -1e9) for column in labels.T]
        return np.stack(columns, axis=1)

    return scores


def neighbours(train: Array, labels: Array, test: Array) -> Array:
    """Return the similarity-weighted labels of the nearest images, their number chosen on three folds."""
    train, test = normalize(train), normalize(test)
    fold = np.arange(len(train)) % 3

    def scores(k: int, known: Array, marks: Array, asked: Array) -> Array:
        near = asked @ known.T
        order = np.argsort(-near, axis=1)[:, :k]
        return np.asarray((marks[order] * np.take_along_axis(near, order, axis=1)[..., None]).sum(axis=1))

    def held_out(k: int) -> float:
        parts = (fold == one for one in range(3))
        return statistics.fmean(mean_ap(scores(k, train[~p], labels[~p], train[p]), labels[p]) for p in parts)

    return scores(max((5, 10, 20, 40), key=held_out), train, labels, test)


SEVERAL: dict[str, Fit] = {
    "logistic regression": of_each_class(
        lambda x, y: (
            LogisticRegressionCV(Cs=PENALTIES, cv=3, scoring="neg_log_loss", max_iter=300).fit(x, y).decision_function
        )
    ),
    "ridge": lambda x, y, test: np.asarray(RidgeCV(alphas=ALPHAS).fit(x, y).predict(test)),
    "LDA": of_each_class(
        lambda x, y: LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto").fit(x, y).decision_function
    ),
    "nearest neighbours": neighbours,
}
ONE: dict[str, Fit] = {
    "logistic regression": lambda x, y, test: np.asarray(
        GridSearchCV(LogisticRegression(max_iter=500), {"C": PENALTIES}, cv=StratifiedKFold(3), scoring="neg_log_loss")
        .fit(x, y)
        .decision_function(test)
    ),
    "ridge": lambda x, y, test: np.asarray(RidgeClassifierCV(alphas=ALPHAS).fit(x, y).decision_function(test)),
    "LDA": lambda x, y, test: np.asarray(
        LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto").fit(x, y).decision_function(test)
    ),
    "nearest neighbours": lambda x, y, test: np.asarray(
        GridSearchCV(
            KNeighborsClassifier(metric="cosine", weights="distance"),
            {"n_neighbors": [1, 3, 5, 10]},
            cv=StratifiedKFold(3),
        )
        .fit(x, y)
        .predict_proba(test)
    ),
}


def ours(train: torch.Tensor, targets: torch.Tensor, test: torch.Tensor, *, closed: bool) -> Array:
    """Return the logits of foveal's probe, in closed form or by the logistic loss."""
    several = targets.ndim == 2
    loss = F.binary_cross_entropy_with_logits if several else F.cross_entropy
    n_outputs = targets.shape[1] if several else int(targets.max()) + 1
    fit = (ridge_fit if closed else linear_fit)(train, targets, loss, n_outputs)
    return np.asarray(fit.layer(test).detach())


def compare(x: torch.Tensor, y: torch.Tensor, seed: int, *, slow: bool) -> dict[str, tuple[float, float]]:
    """Return each method's score on a quarter of the rows, and its seconds."""
    several = y.ndim == 2
    rows = np.arange(len(x))
    train, test = train_test_split(rows, test_size=0.25, random_state=seed, stratify=None if several else y.numpy())
    score = mean_ap if several else accuracy
    scaler = StandardScaler().fit(x[train].numpy())
    ready, asked = scaler.transform(x[train].numpy()), scaler.transform(x[test].numpy())
    methods: dict[str, Callable[[], Array]] = {
        "foveal": lambda: ours(x[train], y[train], x[test], closed=True),
        "foveal, logistic loss": lambda: ours(x[train], y[train], x[test], closed=False),
    }
    for name, fit in (SEVERAL if several else ONE).items():
        if slow or not (several and name in {"logistic regression", "LDA"}):
            methods[name] = lambda fit=fit: fit(ready, y[train].numpy().astype(float if several else int), asked)
    found = {}
    for name, method in methods.items():
        began = time.process_time()
        scores = method()
        found[name] = (score(scores, y[test].numpy()), time.process_time() - began)
    return found


def main() -> None:
    """Compare on all sets and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="the folder with voc2012_mini and pets_mini")
    parser.add_argument("--out", type=Path, help="a .json with every score")
    parser.add_argument("--splits", type=int, default=5)
    parser.add_argument("--slow", action="store_true", help="also what takes minutes on several labels")
    options = parser.parse_args()
    warnings.filterwarnings("ignore", module="sklearn")
    torch.set_num_threads(1)
    table = pd.read_csv(options.data / "voc2012_mini" / "train.csv")
    names = sorted({name for text in table["labels"] for name in text.split()})
    marks = torch.tensor([[float(name in text.split()) for name in names] for text in table["labels"]])
    pets = sorted((options.data / "pets_mini" / "images").glob("*.jpg"))
    breeds = [file.stem.rsplit("_", 1)[0] for file in pets]
    breed = torch.tensor([sorted(set(breeds)).index(one) for one in breeds])
    pictures = [options.data / "voc2012_mini" / "train" / name for name in table["fname"]]
    every: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for arch in ("tf_efficientnet_lite0", "tf_efficientnet_lite2"):
        for name, files, targets in (("voc2012_mini", pictures, marks), ("pets_mini", pets, breed)):
            x = features(files, arch)
            runs = [compare(x, targets, seed, slow=options.slow) for seed in range(options.splits)]
            key = f"{name}, {arch.removeprefix('tf_efficientnet_')}"
            every[key] = {method: [run[method] for run in runs] for method in runs[0]}
            print(f"\n{key}   {platform.processor()}")
            for method, found in every[key].items():
                scores, seconds = zip(*found, strict=True)
                each = " ".join(f"{one:.4f}" for one in scores)
                print(f"  {method:<24}{statistics.fmean(scores):.4f}   {statistics.fmean(seconds):7.2f} s   {each}")
    if options.out:
        options.out.write_text(json.dumps(every, indent=1))


if __name__ == "__main__":
    main()
