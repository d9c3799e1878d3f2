"""How long a data block over a large table takes, and what it holds in memory for a row.

python benchmarks/million_rows.py [ROWS ...]
"""

import resource
import subprocess
import sys
import time

import numpy as np
import pandas as pd

from foveal.vision.all import *

NAMES = [f"class{i:02d}" for i in range(20)]


def frame_of(n):
    rng = np.random.default_rng(0)
    chosen = rng.random((n, len(NAMES))) < 0.075
    labels = [" ".join(NAMES[i] for i in np.flatnonzero(row)) or NAMES[0] for row in chosen]
    points = rng.random((n, 2)) * 500
    return pd.DataFrame(
        {"fname": [f"{i:09d}.jpg" for i in range(n)], "labels": labels, "x": points[:, 0], "y": points[:, 1]}
    )


def blocks():
    common = {"get_x": ColReader("fname", pref=Path("images")), "splitter": RandomSplitter(seed=0)}
    yield (
        "several labels",
        DataBlock((ImageBlock, MultiCategoryBlock), get_y=ColReader("labels", label_delim=" "), **common),
    )
    yield "one label", DataBlock((ImageBlock, CategoryBlock), get_y=lambda r: r["labels"][:7], **common)
    yield "a point", DataBlock((ImageBlock, PointBlock), get_y=lambda r: [r["x"], r["y"]], **common)


def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def measure(n, kind):
    frame = frame_of(n)
    block = dict(blocks())[kind]
    before, began = resident(), time.perf_counter()
    datasets = block.datasets(frame)
    seconds = time.perf_counter() - began
    held = resident() - before
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    print(f"| {kind} | {n:,} | {seconds:.1f} | {held / n:.0f} | {peak} |")
    assert len(datasets) == n


if __name__ == "__main__":
    if len(sys.argv) == 3:
        measure(int(sys.argv[1]), sys.argv[2])
    else:
        print("| target | rows | seconds | bytes held a row | MiB at the peak |\n|---|---|---|---|---|", flush=True)
        for kind, _ in blocks():
            for n in (100_000, 1_000_000):
                subprocess.run([sys.executable, __file__, str(n), kind], check=True)
