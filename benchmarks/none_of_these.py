"""The book's further research: a one-label set trained as several labels, so that a model can say "none of these".

    python benchmarks/none_of_these.py DATA --out RESULT.json [--seeds 0 1 2]

37 breeds of `pets_mini` (7 images each to train on, 2 to validate, 1 to judge), once with one label an image; once
with several labels and with VOC images without cats and dogs that have none; and once with images made of two
others besides, side by side or one above the other, that have the labels of both. Judged on images that none of them
has seen: the error over the breeds, what is answered for VOC images without cats and dogs, and for two breeds.
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

from foveal.inference.loading import load_learner

N_TRAIN, N_TEST, N_TRAIN_PAIRS, N_PAIRS, SIDE = 200, 100, 600, 100, 448


def without_pets(data, seed):
    """VOC images without cats and dogs, to train on and to test on."""
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


def together(first, second, *, above):
    """Two images in one, half each: the middle of both, cut to the half's shape."""
    half_wh = (SIDE, SIDE // 2) if above else (SIDE // 2, SIDE)
    halves = [ImageOps.fit(Image.open(file).convert("RGB"), half_wh) for file in (first, second)]
    return (np.vstack if above else np.hstack)([np.asarray(half) for half in halves])


def drawn_pairs(images, n, rng):
    """`n` images of two labels, drawn from (file, label)."""
    found = []
    while len(found) < n:
        (a, first), (b, second) = rng.sample(images, 2)
        if first != second:
            found.append((together(a, b, above=rng.random() < 0.5), {first, second}))
    return found


def written(pairs, folder, *, is_valid):
    """Rows of a table for images of two, written to a folder."""
    folder.mkdir()
    for at, (pixels, labels) in enumerate(pairs):
        file = folder / f"{at}.jpg"
        Image.fromarray(pixels).save(file, quality=92)
        yield {"fname": str(file)[1:], "labels": " ".join(sorted(labels)), "is_valid": is_valid}


def names_of(label):
    return {label} if isinstance(label, str) else set(label)


def judge(predictor, pets, negatives, pairs):
    answers = list(predictor.predict_batch([file for file, _ in pets]))
    names = predictor.vocab
    first = [names[int(answer.values.argmax())] for answer in answers]
    found = [names_of(answer.label) for answer in answers]
    nothing = [answer.label for answer in predictor.predict_batch(negatives)]
    both = list(predictor.predict_batch([pixels for pixels, _ in pairs]))
    truths = [truth for _, truth in pairs]
    top_two = [{names[i] for i in answer.values.topk(2).indices.tolist()} for answer in both]
    said = [names_of(answer.label) for answer in both]
    return {
        "error_rate": np.mean([name != truth for name, (_, truth) in zip(first, pets, strict=True)]),
        "exactly_right": np.mean([one == {truth} for one, (_, truth) in zip(found, pets, strict=True)]),
        "right_among_found": np.mean([truth in one for one, (_, truth) in zip(found, pets, strict=True)]),
        "nothing_found_where_nothing_is": np.mean([not one for one in nothing]),
        "both_found": np.mean([truth <= one for one, truth in zip(said, truths, strict=True)]),
        "exactly_both": np.mean([truth == one for one, truth in zip(said, truths, strict=True)]),
        "one_of_both_found": np.mean([len(truth & one) == 1 for one, truth in zip(said, truths, strict=True)]),
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
        rng = random.Random(seed)
        rows, images = rows_of(args.data.absolute(), "pets_mini", seed)
        pets = {
            side: [(images / row["fname"], row["label"]) for row in rows if row["is_valid"] == side] for side in (0, 1)
        }
        comparable = [
            rng.choice([one for one in pets[1] if one[1] == breed]) for breed in sorted({b for _, b in pets[1]})
        ]
        pets[1] = [one for one in pets[1] if one not in comparable]
        one_label = [
            {"fname": str(file)[1:], "labels": breed, "is_valid": side} for side in (0, 1) for file, breed in pets[side]
        ]
        train_on, test_on = without_pets(args.data.absolute(), seed)
        held = round(0.3 * N_TRAIN)
        none = [{"fname": str(f)[1:], "labels": "", "is_valid": int(at < held)} for at, f in enumerate(train_on)]
        judged_pairs = drawn_pairs(comparable, N_PAIRS, rng)
        with tempfile.TemporaryDirectory() as folder:
            two = [
                row
                for side, n in ((0, N_TRAIN_PAIRS), (1, N_PAIRS))
                for row in written(drawn_pairs(pets[side], n, rng), Path(folder) / str(side), is_valid=side)
            ]
            arms = {
                "one label": ("single-label", one_label),
                "several labels": ("multi-label", one_label + none),
                "several labels, images of two": ("multi-label", one_label + none + two),
            }
            for at, (name, (task, table)) in enumerate(arms.items()):
                predictor = train(table, task, seed, Path(folder) / f"arm-{at}", args.more.split())
                figures = judge(predictor, comparable, test_on, judged_pairs)
                found.append({"trained as": name, "seed": seed} | {k: round(float(v), 3) for k, v in figures.items()})
                print(found[-1], flush=True)
                args.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
