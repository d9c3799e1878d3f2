#!/usr/bin/env python3
"""How many images it takes until a change in them is noticed, and how often one is reported where there is none.

    benchmarks/monitor.py DATA

DATA holds voc2012_mini and pets_mini. Three splits of the first are trained on 600 photographs and validated on 300;
500 others stand for what is asked: as they are, and changed. Of these, 50 to 370 are drawn 20 times.
"""

import argparse
import csv
import io
import tempfile
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter

import foveal
from foveal.inference.reference import Tally, count_answer, drift_of
from foveal.sources.folders import images_in

CHANGES = ("none", "unclear", "small", "large")
CHANGED = {
    "as they are": lambda image: image,
    "darker, to .3": lambda image: ImageEnhance.Brightness(image).enhance(0.3),
    "darker, to .6": lambda image: ImageEnhance.Brightness(image).enhance(0.6),
    "blurred by 1 pixel": lambda image: image.filter(ImageFilter.GaussianBlur(1)),
    "blurred by 3 pixels": lambda image: image.filter(ImageFilter.GaussianBlur(3)),
    "grey": lambda image: image.convert("L").convert("RGB"),
    "turned by 90 degrees": lambda image: image.rotate(90, expand=True),
}


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    images = args.data / "voc2012_mini" / "train"
    with (args.data / "voc2012_mini" / "train.csv").open(newline="") as file:
        rows = [(row["fname"], row["labels"]) for row in csv.DictReader(file)]
    found: dict[tuple[str, int], Counter[str]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(3):
            order = [rows[at] for at in np.random.default_rng(seed).permutation(len(rows))]
            run = trained(Path(folder) / str(seed), order[:900], images)
            asked = [images / name for name, _ in order[900:]]
            sets = {name: [as_png(file, change) for file in asked] for name, change in CHANGED.items()}
            sets["JPEG of quality 10"] = [as_jpeg(file) for file in asked]
            sets["pets"] = list(images_in(args.data / "pets_mini" / "images"))
            for name, one in sets.items():
                for n, changes in changes_in(run, one):
                    found.setdefault((name, n), Counter()).update(changes)
    print(f"| images | asked | {' | '.join(CHANGES)} |\n|---|---|{'---|' * len(CHANGES)}")
    for (name, n), counts in found.items():
        shares = (f"{counts[change] / counts.total():.0%}" for change in CHANGES)
        print(f"| {name} | {n} | {' | '.join(shares)} |")


def trained(folder, rows, images):
    """Return the predictor of a run on rows, of which every third is validated on."""
    folder.mkdir()
    with (folder / "table.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["fname", "labels", "is_valid"])
        writer.writerows((*row, int(at % 3 == 0)) for at, row in enumerate(rows))
    run = foveal.train(folder / "table.csv", images=images, size=128, out=folder / "run")
    return run.predictor()


def changes_in(predictor, files):
    """Yield numbers of images, each with the changes reported for 20 draws of so many."""
    reference = predictor.training.reference
    answers = list(predictor.predict_batch(files))
    for n in (50, 100, 200, 370):
        rng = np.random.default_rng(0)
        drawn = (rng.choice(len(answers), n, replace=False) for _ in range(20))
        yield (
            n,
            [drift_of(reference, tally_of(predictor, reference, [answers[at] for at in one])).change for one in drawn],
        )


def tally_of(predictor, reference, answers) -> Tally:
    """Return the counts of answers."""
    tally = reference.emptied()
    for answer in answers:
        count_answer(tally, predictor.task, answer)
    return tally


def as_png(file, change) -> bytes:
    """Return an image, changed, as a PNG."""
    written = io.BytesIO()
    with Image.open(file) as image:
        change(image.convert("RGB")).save(written, "PNG", compress_level=1)
    return written.getvalue()


def as_jpeg(file) -> bytes:
    """Return an image as a JPEG of low quality."""
    written = io.BytesIO()
    with Image.open(file) as image:
        image.convert("RGB").save(written, "JPEG", quality=10)
    return written.getvalue()


if __name__ == "__main__":
    main()
