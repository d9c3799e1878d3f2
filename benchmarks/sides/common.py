"""What the sides of a comparison share: each runs one row in a process and prints one JSON line."""

import argparse
import json
import resource
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


def per_picture(batches, epochs=2):
    """Seconds a picture of a loader, after an epoch that is not counted."""

    def epoch():
        return sum(len(inputs) for inputs in batches())

    epoch()
    n = 0
    began = time.perf_counter()
    for _ in range(epochs):
        n += epoch()
    return (time.perf_counter() - began) / n


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
