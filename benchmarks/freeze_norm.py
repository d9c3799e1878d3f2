"""What the normalisation layers of a frozen body should do: quality and time of the frozen epochs, three ways.

python benchmarks/freeze_norm.py DATA --out RESULT.json --seeds 0 1 2
"""

import argparse
import json
import statistics
import time
from pathlib import Path

import pandas as pd
import torch

from foveal.data.block import DataBlock, ImageBlock
from foveal.data.labels import ColReader, RegexLabeller, using_attr
from foveal.data.splits.splitters import ColSplitter
from foveal.data.splits.stratify import StratifiedSplitter
from foveal.geometry.resize import RandomResizedCrop
from foveal.learner.vision import vision_learner
from foveal.metrics.one_label import accuracy
from foveal.metrics.several_labels import average_precision
from foveal.sources.folders import get_image_files
from foveal.tasks.multi_label import MultiCategoryBlock
from foveal.tasks.single_label import CategoryBlock

MIN_POSITIVES = 10
BREED = using_attr(RegexLabeller(r"(.+)_\d+.jpg$"), "name")


def mean_ap(output, target):
    return average_precision(output, target)[(target == 1).sum(dim=0) >= MIN_POSITIVES].mean()


def voc(data, seed):
    block = DataBlock(
        (ImageBlock, MultiCategoryBlock),
        get_x=ColReader("fname", pref=data / "voc2012_mini" / "train"),
        get_y=ColReader("labels", label_delim=" "),
        splitter=ColSplitter(),
        item_tfms=RandomResizedCrop(128, min_scale=0.5),
    )
    return block.dataloaders(pd.read_csv(data / "voc2012_mini" / "train.csv"), bs=64, seed=seed), mean_ap


def pets(data, seed):
    block = DataBlock(
        (ImageBlock, CategoryBlock),
        get_y=BREED,
        splitter=StratifiedSplitter(lambda file: [BREED(file)], valid_pct=0.3, seed=seed),
        item_tfms=RandomResizedCrop(128, min_scale=0.5),
    )
    return block.dataloaders(get_image_files(data / "pets_mini" / "images"), bs=32, seed=seed), accuracy


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--only", nargs="*", default=["pets", "voc"])
    args = parser.parse_args()
    rows = []
    for name in args.only:
        for seed in args.seeds:
            for norm in ("train", "stats", "frozen"):
                dls, metric = {"pets": pets, "voc": voc}[name](args.data, seed)
                torch.manual_seed(seed)
                learn = vision_learner(dls, "tf_efficientnet_lite0", metrics=metric, seed=seed)
                learn.recorder.silent = True
                learn.freeze(norm=norm)
                began = time.perf_counter()
                learn.fit_one_cycle(args.epochs, slice(3e-3), pct_start=0.99)
                seconds = time.perf_counter() - began
                score = float(learn.validate()[1])
                rows.append({"set": name, "seed": seed, "norm": norm, "score": score, "seconds": seconds})
                print(rows[-1], flush=True)
                args.out.write_text(json.dumps(rows, indent=1) + "\n")
        for norm in ("train", "stats", "frozen"):
            own = [row for row in rows if row["set"] == name and row["norm"] == norm]
            means = [statistics.mean(row[key] for row in own) for key in ("score", "seconds")]
            print(name, norm, *(f"{mean:.3f}" for mean in means), flush=True)


if __name__ == "__main__":
    main()
