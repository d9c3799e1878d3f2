"""Collaborative filtering, foveal and fastai in turn: the same drawn ratings, split, model and recipe, whole processes.

    python benchmarks/ratings.py --fastai-python FASTAI_ENV/bin/python --out FILE.json

100,000 ratings of 943 users and 1,682 items (the size of MovieLens 100k), drawn from vectors, biases and noise. Recipe:
50 factors, y_range (0, 5.5), batches of 64, `fit_one_cycle(5, 5e-3, wd=0.1)`.
"""

import argparse
import datetime as dt
import json
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

OURS = """
import json, sys, time, torch, pandas as pd
from foveal.collab.all import *
frame = pd.read_csv(sys.argv[1]); torch.manual_seed(int(sys.argv[2]))
split = [frame.index[frame.valid == side].tolist() for side in (0, 1)]
columns, seed = ["user", "item", "rating"], int(sys.argv[2])
dls = CollabDataLoaders.from_df(frame[columns], bs=64, splitter=lambda _: split, seed=seed)
learn = collab_learner(dls, n_factors=50, y_range=(0, 5.5)); began = time.perf_counter()
learn.fit_one_cycle(5, 5e-3, wd=0.1); seconds = time.perf_counter() - began
print(json.dumps({"seconds": seconds / 5, "valid_loss": learn.recorder.history[-1].valid_loss}))
"""
THEIRS = """
import json, sys, time, torch, pandas as pd
from fastai.collab import *
from fastai.tabular.all import *
frame = pd.read_csv(sys.argv[1]); set_seed(int(sys.argv[2]))
class Split(CollabDataLoaders): pass
splits = (L(frame.index[frame.valid == 0].tolist()), L(frame.index[frame.valid == 1].tolist()))
to = TabularCollab(frame[["user", "item", "rating"]], [Categorify], ["user", "item"], y_names=["rating"],
                   y_block=TransformBlock(), splits=splits)
dls = to.dataloaders(bs=64)
dls.classes = to.classes
learn = collab_learner(dls, n_factors=50, y_range=(0, 5.5)); began = time.perf_counter()
with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(5, 5e-3, wd=0.1)
seconds = time.perf_counter() - began
print(json.dumps({"seconds": seconds / 5, "valid_loss": float(learn.validate()[0])}))
"""


def drawn(seed, n=100_000, n_users=943, n_items=1682, n_factors=6):
    rng = np.random.default_rng(seed)
    user, item = 0.5 * rng.normal(size=(n_users, n_factors)), 0.5 * rng.normal(size=(n_items, n_factors))
    popular = rng.dirichlet(np.full(n_items, 0.5))
    pairs = np.unique(
        np.stack([rng.integers(0, n_users, 2 * n), rng.choice(n_items, 2 * n, p=popular)], axis=1), axis=0
    )
    pairs = rng.permutation(pairs)[:n]
    u, i = pairs.T
    exact = (
        3.5 + 0.35 * rng.normal(size=n_users)[u] + 0.6 * rng.normal(size=n_items)[i] + (user[u] * item[i]).sum(axis=1)
    )
    rating = np.clip(np.round(exact + 0.8 * rng.normal(size=len(u))), 1, 5)
    valid = (rng.random(len(u)) < 0.2).astype(int)
    return pd.DataFrame({"user": u + 1, "item": i + 1, "rating": rating, "valid": valid})


def run(python, code, table, seed):
    done = subprocess.run([str(python), "-c", code, str(table), str(seed)], check=True, capture_output=True, text=True)
    return json.loads(done.stdout.strip().splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fastai-python", required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    pairs = []
    for seed in args.seeds:
        with tempfile.TemporaryDirectory() as folder:
            table = Path(folder) / "ratings.csv"
            drawn(seed).to_csv(table, index=False)
            pairs.append((run(sys.executable, OURS, table, seed), run(args.fastai_python, THEIRS, table, seed)))
        print(seed, pairs[-1], flush=True)
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    result = {
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
        "commit": commit.stdout.strip(),
        "processor": platform.processor() or platform.machine(),
        "runs": pairs,
        "ratio_of_an_epoch": statistics.median(ours["seconds"] / theirs["seconds"] for ours, theirs in pairs),
        "valid_loss": {
            "foveal": statistics.mean(ours["valid_loss"] for ours, _ in pairs),
            "fastai": statistics.mean(theirs["valid_loss"] for _, theirs in pairs),
        },
    }
    args.out.write_text(json.dumps(result, indent=1) + "\n")
    print(result["ratio_of_an_epoch"], result["valid_loss"])


if __name__ == "__main__":
    main()
