#!/usr/bin/env python3
"""Crops, mirrors and edits of real photographs found by features, and photographs of another set mixed in.

    benchmarks/edited_copies.py DATA [--n 150]

DATA holds voc2012_mini and pets_mini. Of each kind of edit, as many photographs as said are drawn and edited, and saved
as JPEG; each must be found among all photographs as `foveal check --by-features` finds it, and no two photographs may
be taken for each other. Then 2 % of another set are mixed into a set, five times, and ranked by how strange they are.
"""

import argparse
import csv
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from foveal.audit.edits import edits_among
from foveal.evaluation.bank import extractor_at_hand, look
from foveal.evaluation.feature_checks import belong_to_nothing, likely_copies, strangeness
from foveal.sources.synthetic import write_scenes

SEEDS = 5
SHARE = 0.02


def crop(image, rng):
    """Return a crop of half to nine tenths of the sides."""
    scale, aspect = rng.uniform(0.5, 0.9), np.exp(rng.uniform(-0.15, 0.15))
    width, height = (
        min(image.width, int(image.width * scale * aspect)),
        min(image.height, int(image.height * scale / aspect)),
    )
    x, y = rng.integers(0, image.width - width + 1), rng.integers(0, image.height - height + 1)
    return image.crop((x, y, x + width, y + height))


def tones(image, rng):
    """Return it with brightness and contrast of 0.6 to 1.6."""
    brighter = ImageEnhance.Brightness(image).enhance(rng.uniform(0.6, 1.6))
    return ImageEnhance.Contrast(brighter).enhance(rng.uniform(0.6, 1.6))


EDITS = {
    "crop": crop,
    "mirror": lambda image, rng: ImageOps.mirror(image),  # noqa: ARG005
    "crop, mirrored": lambda image, rng: ImageOps.mirror(crop(image, rng)),
    "brightness, contrast": tones,
    "grey": lambda image, rng: ImageOps.grayscale(image).convert("RGB"),  # noqa: ARG005
    "turned by up to 12 degrees": lambda image, rng: image.rotate(rng.uniform(-12, 12), Image.Resampling.BICUBIC),
    "white frame": lambda image, rng: ImageOps.expand(image, int(min(image.size) * rng.uniform(0.05, 0.15)), "white"),
    "blurred": lambda image, rng: image.filter(ImageFilter.GaussianBlur(rng.uniform(0.5, 1.5))),
    "stretched": lambda image, rng: image.resize((int(image.width * rng.uniform(0.7, 1.4)), image.height)),
}


def main() -> None:
    """Print all tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--n", type=int, default=150)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    pets = sorted((args.data / "pets_mini" / "images").glob("*.jpg"))
    with (args.data / "voc2012_mini" / "train.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    voc = [args.data / "voc2012_mini" / "train" / row["fname"] for row in rows]
    bare = [file for file, row in zip(voc, rows, strict=True) if not {"cat", "dog"} & set(row["labels"].split())]
    body = extractor_at_hand()
    with tempfile.TemporaryDirectory() as folder:
        found_edits(body, [*voc, *pets], args.n, Path(folder))
        write_scenes(Path(folder) / "drawn", n=200)
        drawn = sorted((Path(folder) / "drawn").rglob("*.jpg"))
        of_nothing(body, pets=pets, voc=voc, bare=bare, drawn=drawn)


def found_edits(body, files, n, folder) -> None:
    """Print how many edits are found, and what else is taken for one."""
    made, original = [], {}
    for number, (name, edit) in enumerate(EDITS.items()):
        rng = np.random.default_rng(number)
        for at in rng.permutation(len(files))[:n].tolist():
            made.append((name, folder / f"{number}-{files[at].name}"))
            original[made[-1][1]] = files[at]
            edited = edit(Image.open(files[at]).convert("RGB"), rng)
            edited.save(made[-1][1], quality=int(rng.integers(60, 95)))
    everything = [*files, *original]
    features = look(body, everything).features
    began = time.perf_counter()
    sides = [False] * len(files) + [True] * len(original)
    pairs = [(everything[i], everything[j]) for i, j in likely_copies(features, sides)]
    found = edits_among(pairs)
    took = time.perf_counter() - began
    right = {second for first, second in found if original[second] == first}
    hits = Counter(name for name, file in made if file in right)
    print("| edit | found |\n|---|---|")
    for name in EDITS:
        print(f"| {name} | {hits[name]} of {n} |")
    print(f"| all | {len(right) / len(made):.2%} |\n")
    print(f"{len(files) * len(original):,} pairs across the split, {len(pairs):,} of them compared in {took:.0f} s;")
    print("taken for edits besides:", [(a.name, b.name) for a, b in found if original[b] != a])
    alone = features[: len(files)]
    pairs = [(files[i], files[j]) for i, j in likely_copies(alone, [None] * len(files))]
    print(f"{len(files) * (len(files) - 1) // 2:,} pairs of photographs, {len(pairs):,} of them compared:")
    print([(a.name, b.name) for a, b in edits_among(pairs)], "\n", flush=True)


def of_nothing(body, *, pets, voc, bare, drawn) -> None:
    """Print how well images of another set are told from those of a set, 2 % of which they are."""
    from sklearn.metrics import roc_auc_score

    features = {
        name: look(body, files).features
        for name, files in (("pets", pets), ("VOC", voc), ("VOC without cats and dogs", bare), ("drawn scenes", drawn))
    }
    print("| set | mixed in | AUROC, mean (least) of 5 | listed of those | listed of the set |\n|---|---|---|---|---|")
    mixes = [
        ("pets", "VOC without cats and dogs"),
        ("VOC without cats and dogs", "pets"),
        ("VOC", "drawn scenes"),
        ("pets", "drawn scenes"),
        ("VOC", "pets"),
    ]
    for name, other in mixes:
        rows, areas, listed, wrongly = features[name], [], [], []
        for seed in range(SEEDS):
            rng = np.random.default_rng(seed)
            n = max(2, round(SHARE * len(rows)))
            mixed = torch.cat([rows, features[other][torch.from_numpy(rng.permutation(len(features[other]))[:n])]])
            order = torch.from_numpy(rng.permutation(len(mixed)))
            foreign = (order >= len(rows)).numpy()
            areas.append(roc_auc_score(foreign, strangeness(mixed[order])))
            named = [at for at, _ in belong_to_nothing(mixed[order])]
            listed.append(foreign[named].sum() / n)
            wrongly.append((~foreign[named]).sum() / len(rows))
        print(
            f"| {name} | {other} | {np.mean(areas):.3f} ({np.min(areas):.3f}) | {np.mean(listed):.0%} "
            f"| {np.mean(wrongly):.1%} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
