"""The book's further research: a one-label set trained as several labels, so that a model can say "none of these".

    python benchmarks/none_of_these.py DATA --out RESULT.json [--seeds 0 1 2]

37 breeds of `pets_mini` (7 pictures each to train on, 3 to validate), once with one label a picture, once with several
labels and with VOC pictures without cats and dogs that have none. Judged: the error over the breeds; what is answered
for other VOC pictures without cats and dogs; what is answered for two breeds in one picture, side by side.
"""

import argparse
import csv
import json
import random
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from learning_curve import rows_of
from PIL import Image, ImageOps

from foveal.bundle.predictor import load_learner

N_TRAIN, N_TEST, N_PAIRS, SIDE = 200, 100, 100, 448


def without_pets(data, seed):
    """VOC pictures without cats and dogs, to train on and to test on."""
    table = data / "voc2012_mini" / "train.csv"
    with table.open(newline="") as file:
        rows = [row["fname"] for row in csv.DictReader(file) if not {"cat", "dog"} & set(row["labels"].split())]
    random.Random(seed).shuffle(rows)
    files = [data / "voc2012_mini" / "train" / name for name in rows]
    return files[:N_TRAIN], files[N_TRAIN : N_TRAIN + N_TEST]


def train(rows, task, seed, folder, more):
    folder.mkdir()
    with (folder / "table.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["fname", "labels", "is_valid"])
        writer.writeheader()
        writer.writerows(rows)
    command = [sys.executable, "-m", "foveal", "train", folder / "table.csv", "--images", "/", "--task", task, *more]
    command += ["--size", "224", "--seed", seed, "--out", folder / "run", "--empty", "none"]
    subprocess.run(list(map(str, command)), check=True, stdout=subprocess.DEVNULL)
    return load_learner(folder / "run" / "model.safetensors")


def side_by_side(first, second):
    halves = [ImageOps.fit(Image.open(file).convert("RGB"), (SIDE // 2, SIDE)) for file in (first, second)]
    return np.hstack([np.asarray(half) for half in halves])


def judge(predictor, valid, negatives, pairs):
    answers = list(predictor.predict_batch([file for file, _ in valid]))
    names = predictor.vocab
    first = [names[int(answer.values.argmax())] for answer in answers]
    found = [set([answer.label] if isinstance(answer.label, str) else answer.label) for answer in answers]
    nothing = [answer.label for answer in predictor.predict_batch(negatives)]
    both = list(predictor.predict_batch([side_by_side(a, b) for (a, _), (b, _) in pairs]))
    truths = [{a, b} for (_, a), (_, b) in pairs]
    top_two = [{names[i] for i in answer.values.topk(2).indices.tolist()} for answer in both]
    said = [set([answer.label] if isinstance(answer.label, str) else answer.label) for answer in both]
    return {
        "error_rate": np.mean([name != truth for name, (_, truth) in zip(first, valid, strict=True)]),
        "exactly_right": np.mean([one == {truth} for one, (_, truth) in zip(found, valid, strict=True)]),
        "right_among_found": np.mean([truth in one for one, (_, truth) in zip(found, valid, strict=True)]),
        "nothing_found_where_nothing_is": np.mean([not one for one in nothing]),
        "both_found": np.mean([truth <= one for one, truth in zip(said, truths, strict=True)]),
        "one_of_both_found": np.mean([bool(truth & one) for one, truth in zip(said, truths, strict=True)]),
        "both_first": np.mean([one == truth for one, truth in zip(top_two, truths, strict=True)]),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--more", default="", help="more options of the command")
    args = parser.parse_args()
    found = []
    for seed in args.seeds:
        pets, images = rows_of(args.data.absolute(), "pets_mini", seed)
        for row in pets:
            row["fname"] = images / row["fname"]
        rows = [{"fname": str(row["fname"])[1:], "labels": row["label"], "is_valid": row["is_valid"]} for row in pets]
        train_on, test_on = without_pets(args.data.absolute(), seed)
        held = round(0.3 * N_TRAIN)
        none = [{"fname": str(f)[1:], "labels": "", "is_valid": at < held} for at, f in enumerate(train_on)]
        valid = [(row["fname"], row["label"]) for row in pets if row["is_valid"]]
        rng = random.Random(seed)
        pairs = [pair for pair in (rng.sample(valid, 2) for _ in range(2 * N_PAIRS)) if pair[0][1] != pair[1][1]][
            :N_PAIRS
        ]
        with tempfile.TemporaryDirectory() as folder:
            for task, table in (("single-label", rows), ("multi-label", rows + none)):
                predictor = train(table, task, seed, Path(folder) / task, args.more.split())
                row = {"task": task, "seed": seed} | {
                    k: round(float(v), 3) for k, v in judge(predictor, valid, test_on, pairs).items()
                }
                found.append(row)
                print(row, flush=True)
                args.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
