"""The book's several-labels recipe: foveal and fastai in turn, the same data, backbone, split and seeds.

    python benchmarks/fine_tune.py DATA/voc2012_mini --fastai-python FASTAI_ENV/bin/python --seeds 0 1 2

Times whole processes (import, reading, training, predicting) and `fine_tune` alone; writes JSON and prints a table.
"""

import argparse
import datetime as dt
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

MIN_POSITIVES = 10
RECIPE = [
    "--recipe",
    "book",
    "--min-scale",
    "0.35",
    "--size",
    "128",
    "--epochs",
    "3",
    "--freeze-epochs",
    "4",
    "--lr",
    "3e-3",
    "--batch-size",
    "64",
]


def mean_ap(classes):
    values = [c["average_precision"] for c in classes.values() if c["positives"] >= MIN_POSITIVES]
    return statistics.mean(values), len(values)


def run(command):
    began = time.perf_counter()
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return time.perf_counter() - began, done.stdout


def foveal(data, seed):
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        command = [sys.executable, "-m", "foveal", "train", str(data / "train.csv"), "--images", str(data / "train")]
        seconds, _ = run([*command, *RECIPE, "--seed", str(seed), "--out", str(out)])
        summary = json.loads((out / "summary.json").read_text())
        history = [json.loads(line) for line in (out / "history.jsonl").read_text().splitlines()]
    ap, n = mean_ap(summary["metrics"]["classes"])
    fit = sum(epoch["seconds"] for epoch in history)
    loss = summary["valid_loss"]
    return {"seed": seed, "seconds": seconds, "fine_tune_seconds": fit, "mean_ap": ap, "n": n, "valid_loss": loss}


def fastai(data, seed, python):
    script = Path(__file__).parent / "peers" / "fastai_multi_label.py"
    command = [python, str(script), str(data / "train.csv"), "--images", str(data / "train"), "--seed", str(seed)]
    seconds, printed = run([*command, *RECIPE])
    found = json.loads(printed.splitlines()[-1])
    ap, n = mean_ap(found["classes"])
    fit, loss = found["fine_tune_seconds"], found["valid_loss"]
    return {"seed": seed, "seconds": seconds, "fine_tune_seconds": fit, "mean_ap": ap, "n": n, "valid_loss": loss}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--fastai-python", required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    rows = {"foveal": [], "fastai": []}
    for seed in args.seeds:
        rows["foveal"].append(foveal(args.data, seed))
        print("foveal", rows["foveal"][-1], flush=True)
        rows["fastai"].append(fastai(args.data, seed, args.fastai_python))
        print("fastai", rows["fastai"][-1], flush=True)
    pairs = list(zip(rows["foveal"], rows["fastai"], strict=True))
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    result = {
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
        "commit": commit.stdout.strip(),
        "processor": processor(),
        "python": platform.python_version(),
        "rows": rows,
        "ratio_of_seconds": statistics.median(a["seconds"] / b["seconds"] for a, b in pairs),
        "ratio_of_fine_tune": statistics.median(a["fine_tune_seconds"] / b["fine_tune_seconds"] for a, b in pairs),
        "mean_ap": {name: statistics.mean(row["mean_ap"] for row in runs) for name, runs in rows.items()},
    }
    if args.out:
        args.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps({k: v for k, v in result.items() if k != "rows"}, indent=2))


def processor():
    names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return f"{len(names)} x {names[0].split(':')[1].strip()}"


if __name__ == "__main__":
    main()
