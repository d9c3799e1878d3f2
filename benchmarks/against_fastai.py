"""The book's recipe, foveal and fastai in turn: the same data, backbone, splits and seeds, whole processes.

    python benchmarks/against_fastai.py DATA --fastai-python FASTAI_ENV/bin/python --only voc pets heads --out FILE.json

Scores: mean AP over classes with at least 10 positives (voc), accuracy (pets), minus the squared error in [-1, 1]
coordinates (heads). The lower bound is that of the paired differences, by Student's t, 95% one-sided.
"""

import argparse
import datetime as dt
import json
import math
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd
import torch

from foveal.models.weights import pretrained_weights

MIN_POSITIVES = 10
T_95 = {2: 6.314, 3: 2.920, 4: 2.353, 5: 2.132}
SETS = {
    "voc": ("multi-label", "--size 128 --epochs 3 --freeze-epochs 4 --lr 3e-3 --batch-size 64"),
    "pets": ("single-label", "--size 128 --epochs 3 --freeze-epochs 1 --lr 3e-3 --batch-size 32"),
    "heads": ("points", "--size 128 --epochs 3 --freeze-epochs 1 --lr 1e-2 --batch-size 32"),
}


def table_of(data, name, seed):
    if name != "pets":
        return pd.read_csv(data / "voc2012_mini" / ("train.csv" if name == "voc" else "head_points.csv"))
    files = sorted(file.name for file in (data / "pets_mini" / "images").glob("*.jpg"))
    frame = pd.DataFrame({"fname": files, "label": [file.rsplit("_", 1)[0] for file in files]})
    order = list(range(10))
    random.Random(0).shuffle(order)
    within = frame.groupby("label").cumcount().map(dict(enumerate(order)))
    return frame.assign(is_valid=within // 2 == seed)


def run(command):
    began = time.perf_counter()
    done = subprocess.run([str(part) for part in command], check=True, capture_output=True, text=True)
    return time.perf_counter() - began, done.stdout


def foveal(table, images, task, recipe, seed):
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        command = [
            sys.executable,
            "-m",
            "foveal",
            "train",
            table,
            "--images",
            images,
            "--task",
            task,
            "--recipe",
            "book",
        ]
        command += ["--points", "cx,cy"] if task == "points" else []
        seconds, _ = run([*command, *recipe.split(), "--seed", seed, "--out", out])
        summary = json.loads((out / "summary.json").read_text())
        history = [json.loads(line) for line in (out / "history.jsonl").read_text().splitlines()]
    metrics = summary["metrics"]
    if task == "multi-label":
        common = [c for c in metrics["classes"].values() if c["positives"] >= MIN_POSITIVES]
        score = statistics.mean(c["average_precision"] for c in common)
    else:
        score = metrics["accuracy"] if task == "single-label" else -history[-1]["valid_loss"]
    fit = sum(epoch["seconds"] for epoch in history)
    return {"score": score, "valid_loss": history[-1]["valid_loss"], "fine_tune_seconds": fit, "seconds": seconds}


def fastai(python, table, images, task, recipe, seed):
    script = Path(__file__).parent / "sides" / "fastai_book.py"
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "lite0.pth"
        torch.save(dict(pretrained_weights("tf_efficientnet_lite0").tensors), weights)
        options = ["--images", images, "--task", task, *recipe.split(), "--seed", seed, "--weights", weights]
        seconds, said = run([python, script, table, *options])
    return json.loads(said.splitlines()[-1]) | {"seconds": seconds}


def summarised(pairs):
    gains = [ours["score"] - theirs["score"] for ours, theirs in pairs]
    mean = statistics.mean(gains)
    spread = statistics.stdev(gains) / math.sqrt(len(gains)) if len(gains) > 1 else math.nan
    return {
        "foveal": statistics.mean(ours["score"] for ours, _ in pairs),
        "fastai": statistics.mean(theirs["score"] for _, theirs in pairs),
        "gain": mean,
        "gain_lower_95": mean - T_95.get(len(gains), math.nan) * spread,
        "ratio_of_fine_tune": statistics.median(a["fine_tune_seconds"] / b["fine_tune_seconds"] for a, b in pairs),
        "ratio_of_processes": statistics.median(a["seconds"] / b["seconds"] for a, b in pairs),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--fastai-python", required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--only", nargs="*", default=list(SETS))
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    cores = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    result = {
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
        "commit": commit.stdout.strip(),
        "processor": f"{len(cores)} x {cores[0].split(':')[1].strip()}",
        "python": platform.python_version(),
        "sets": {},
    }
    for name in args.only:
        task, recipe = SETS[name]
        images = args.data / ("pets_mini/images" if name == "pets" else "voc2012_mini/train")
        pairs = []
        for seed in args.seeds:
            with tempfile.TemporaryDirectory() as folder:
                table = Path(folder) / "table.csv"
                table_of(args.data, name, seed).to_csv(table, index=False)
                ours = foveal(table, images, task, recipe, seed)
                pairs.append((ours, fastai(args.fastai_python, table, images, task, recipe, seed)))
            print(name, seed, pairs[-1], flush=True)
            result["sets"][name] = {"recipe": recipe, "runs": pairs} | summarised(pairs)
            args.out.write_text(json.dumps(result, indent=1) + "\n")
        print({key: value for key, value in result["sets"][name].items() if key != "runs"}, flush=True)


if __name__ == "__main__":
    main()
