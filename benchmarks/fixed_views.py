"""Frozen epochs with and without fixed views: quality and seconds of the same fit.

python benchmarks/fixed_views.py DATA --out RESULT.json --seeds 0 1 2 --epochs 12
"""

import argparse
import json
import statistics
import time
from pathlib import Path

import torch
from freeze_norm import pets, voc

from foveal.learner.vision import vision_learner

SETS = {"voc": (voc, 3e-3), "pets": (pets, 3e-3)}


def fitted(data, name, seed, epochs, views):
    make, lr = SETS[name]
    dls, metric = make(data, seed)
    learn = vision_learner(dls, "tf_efficientnet_lite0", seed=seed).to_precision("auto")
    learn.freeze()
    torch.manual_seed(seed)
    began = time.perf_counter()
    with learn.no_logging():
        learn.fit_one_cycle(epochs, lr, views=views)
    seconds = time.perf_counter() - began
    output, target = learn.get_preds()
    return {"seconds": seconds, "score": float(metric(output, target)), "loss": learn.recorder.history[-1].valid_loss}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--views", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--epochs", type=int, default=12)
    args = parser.parse_args()
    result = {}
    for name in SETS:
        runs = {views: [] for views in (None, *args.views)}
        for seed in args.seeds:
            for views, found in runs.items():
                found.append(fitted(args.data, name, seed, args.epochs, views))
                print(name, seed, views, found[-1], flush=True)
        result[name] = {str(views): found for views, found in runs.items()}
        for views, found in runs.items():
            ratio = statistics.median(a["seconds"] / b["seconds"] for a, b in zip(runs[None], found, strict=True))
            score = statistics.mean(one["score"] for one in found)
            print(f"{name} views {views}: score {score:.4f}, {ratio:.2f} times as quick", flush=True)
    args.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
