"""What the sides of a comparison share: each runs one row in a process and prints one JSON line."""

import argparse
import csv
import json
import resource
import statistics
import sys
import time
from pathlib import Path

BS, WORKERS = 64, 2


def seconds_of(action):
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def median_seconds(action, times=5):
    return sorted(seconds_of(action) for _ in range(times))[times // 2]


def peak_mib():
    """The most memory that this process and one of its children held."""
    sides = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(resource.getrusage(side).ru_maxrss for side in sides) / 1024


def resident_bytes():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def per_image(batches, epochs=2):
    """Seconds an image of a loader, after an epoch that is not counted."""

    def epoch():
        return sum(len(inputs) for inputs in batches())

    epoch()
    n = 0
    began = time.perf_counter()
    for _ in range(epochs):
        n += epoch()
    return (time.perf_counter() - began) / n


def median_of_images(answer, data):
    """The median seconds of an answer for one image, after ten that are not counted."""
    with (data / "voc.csv").open(newline="") as table:
        files = [row["fname"] for row in csv.DictReader(table)][:60]
    for file in files[:10]:
        answer(file)
    return statistics.median(seconds_of(lambda file=file: answer(file)) for file in files)


def step_seconds(model, step):
    """Seconds of an optimizer's step where every parameter has a gradient."""
    for parameter in model.parameters():
        parameter.grad = parameter.detach().clone().fill_(1e-3)
    return median_seconds(step, 20)


def read_seconds(block, frame, also=None):
    """Seconds and bytes a row of the loaders of a data block, `also` done; after 200 rows that are not counted."""
    also = also or (lambda _: None)
    also(block.dataloaders(frame[:200]))
    before, began = resident_bytes(), time.perf_counter()
    dls = block.dataloaders(frame)  # held, for its memory is measured
    also(dls)
    seconds = (time.perf_counter() - began) / len(frame)
    return {"seconds": seconds, "bytes": (resident_bytes() - before) / len(frame), "n_batches": len(dls.train)}


def mean_ap(values, targets):
    """The mean average precision over the classes with at least ten positives."""
    from sklearn.metrics import average_precision_score

    common = [i for i in range(targets.shape[1]) if int(targets[:, i].sum()) >= 10]
    return statistics.mean(float(average_precision_score(targets[:, i], values[:, i])) for i in common)


def main(rows):
    """Run a row: a function of (folder of data, further words) that returns seconds, or a dict with `seconds`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("row", choices=rows)
    parser.add_argument("data", type=Path)
    parser.add_argument("words", nargs="*")
    args = parser.parse_args()
    found = rows[args.row](args.data, *args.words)
    found = found if isinstance(found, dict) else {"seconds": found}
    sys.stdout.flush()
    print("\n" + json.dumps({"peak_mib": peak_mib()} | found))
