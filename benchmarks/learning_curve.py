"""How far `foveal train` gets with more epochs and with more images, on the real sets, over several seeds.

    python benchmarks/learning_curve.py DATA --out RESULT.json --seeds 0 1 2 [--only voc-128]

Each line is a run of the command; `share` of the training rows are kept, the validation rows stay.
"""

import argparse
import csv
import json
import random
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

MIN_POSITIVES = 10
SETS = {
    "voc-128": ["voc2012_mini", "--size", "128"],
    "voc-224": ["voc2012_mini", "--size", "224"],
    "pets-224": ["pets_mini", "--size", "224"],
    "heads-224": ["head_points", "--size", "224", "--batch-size", "32", "--points", "cx,cy"],
}


def rows_of(data, name, seed):
    if name == "pets_mini":
        files = sorted((data / "pets_mini" / "images").glob("*.jpg"))
        breeds = sorted({file.name.rsplit("_", 1)[0] for file in files})
        rng = random.Random(seed)
        rows = []
        for breed in breeds:
            own = [file for file in files if file.name.rsplit("_", 1)[0] == breed]
            held = set(rng.sample(own, 3))
            rows += [{"fname": f.name, "label": breed, "is_valid": f in held} for f in own]
        return rows, data / "pets_mini" / "images"
    table = "head_points.csv" if name == "head_points" else "train.csv"
    with (data / "voc2012_mini" / table).open(newline="") as file:
        return list(csv.DictReader(file)), data / "voc2012_mini" / "train"


def train(data, options, extra, share, seed):
    name, *rest = options
    rows, images = rows_of(data, name, seed)
    rng = random.Random(seed)
    valid = [row for row in rows if str(row["is_valid"]).lower() in {"true", "1"}]
    kept = [row for row in rows if row not in valid]
    kept = rng.sample(kept, round(share * len(kept)))
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "table.csv"
        with table.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(kept + valid)
        out = Path(folder) / "run"
        command = [sys.executable, "-m", "foveal", "train", str(table), "--images", str(images), "--out", str(out)]
        subprocess.run([*command, *rest, *extra, "--seed", str(seed)], check=True, capture_output=True)
        return json.loads((out / "summary.json").read_text())


def score(summary):
    metrics = summary["metrics"]
    if "median_error_pixels" in metrics:
        return metrics["median_error_pixels"] / metrics["mean_point_median_error_pixels"]
    if "error_rate" in metrics:
        return metrics["error_rate"]
    return statistics.mean(
        c["average_precision"] for c in metrics["classes"].values() if c["positives"] >= MIN_POSITIVES
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--only", nargs="*", default=list(SETS))
    parser.add_argument("--epochs", nargs="*", default=["0", "2", "4", "8"])
    parser.add_argument("--lr", nargs="*", default=["1e-3"])
    parser.add_argument("--more", default="", help="more options of the command")
    parser.add_argument("--shares", type=float, nargs="*", default=[1.0])
    args = parser.parse_args()
    found = json.loads(args.out.read_text()) if args.out.exists() else []
    for name in args.only:
        for share in args.shares:
            for epochs in args.epochs:
                for lr in args.lr:
                    length = ["--time", "0.01"] if epochs == "0" else ["--epochs", epochs, "--lr", lr]
                    length += args.more.split()
                    for seed in args.seeds:
                        summary = train(args.data, SETS[name], length, share, seed)
                        row = {
                            "set": name,
                            "share": share,
                            "epochs": int(epochs),
                            "lr": float(lr),
                            "seed": seed,
                            "more": args.more,
                        }
                        row |= {"score": round(score(summary), 4), "seconds": summary["seconds"]}
                        found.append(row)
                        print(row, flush=True)
                        args.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
