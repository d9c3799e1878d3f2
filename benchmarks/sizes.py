"""Large sets through every job: seconds and peak memory per row.

    python benchmarks/sizes.py --rows 1000 10000 100000 --ratings 50000 5000000 --out FILE.md

Drawn images of 32 px (a disc on noise: its colour is the label, its centre the point, its size the number) as PNG files
in one folder, and drawn ratings. Jobs: check, train (one epoch at 32 px on `test_resnet`'s random weights), evaluate,
report and predict, each a process of its own.
"""

import argparse
import datetime as dt
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

ROOT = Path(__file__).parents[1]
SIDE, SHARD = 32, 1000
COLOURS = {"red": (220, 40, 40), "green": (40, 190, 60), "blue": (50, 80, 220), "white": (240, 240, 240)}


def draw(folder, start, stop):
    """Draw images `start` to `stop`; return their rows."""
    rows = []
    y, x = np.mgrid[:SIDE, :SIDE] + 0.5
    for number in range(start, stop):
        rng = np.random.default_rng([7, number])
        pixels = rng.integers(0, 120, (SIDE, SIDE, 3), dtype=np.uint8)
        names = sorted(rng.choice(list(COLOURS), rng.integers(1, 3), replace=False))
        for name in names:
            centre, radius = rng.uniform(6, SIDE - 6, 2), rng.uniform(3, 6)
            pixels[(x - centre[0]) ** 2 + (y - centre[1]) ** 2 < radius**2] = COLOURS[name]
        Image.fromarray(pixels).save(folder / f"{number:07}.png", compress_level=1)
        rows.append((f"{number:07}.png", " ".join(names), *centre.round(2), round(radius, 3), number % 5 == 0))
    return rows


def write(folder, n):
    """Write `n` images and their table; return the table's path."""
    (folder / "images").mkdir(parents=True)
    starts = range(0, n, SHARD)
    with ProcessPoolExecutor() as pool:
        parts = pool.map(draw, [folder / "images"] * len(starts), starts, [min(n, at + SHARD) for at in starts])
        frame = pd.DataFrame(
            [row for part in parts for row in part], columns=["fname", "labels", "x", "y", "size", "is_valid"]
        )
    frame.to_csv(folder / "table.csv", index=False)
    return folder / "table.csv"


def write_ratings(folder, n):
    """Write `n` ratings of n / 100 users and n / 500 items; return the table's path."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(n)
    user, item = rng.integers(0, max(2, n // 100), n), rng.integers(0, max(2, n // 500), n)
    rating = np.clip(np.round(3 + (user % 7 - 3) / 4 + (item % 5 - 2) / 3 + rng.normal(0, 0.7, n)), 1, 5).astype(int)
    pd.DataFrame({"user": user, "item": item, "rating": rating}).to_csv(folder / "ratings.csv", index=False)
    return folder / "ratings.csv"


def run(*words):
    """Run the command; return its seconds and the peak memory of the process in MiB."""
    began = time.perf_counter()
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src"), "PYTHONWARNINGS": "ignore"}
    with tempfile.TemporaryFile() as printed:
        command = [sys.executable, "-P", "-m", "foveal", *map(str, words)]
        process = subprocess.Popen(command, env=environment, stdout=printed, stderr=subprocess.STDOUT)
        _, status, used = os.wait4(process.pid, 0)
        printed.seek(0)
        assert os.waitstatus_to_exitcode(status) in {0, 1}, printed.read().decode()[-3000:]
    return time.perf_counter() - began, used.ru_maxrss / 1024


def weights(folder):
    """Write random weights of a small backbone."""
    import torch
    from safetensors.torch import save_file

    from foveal.models import zoo

    torch.manual_seed(0)
    save_file(zoo.build("test_resnet").state_dict(), folder / "weights.safetensors")
    return folder / "weights.safetensors"


def jobs_on_images(folder, task, options, small):
    """Yield job, seconds, MiB and bytes of what was written."""
    table, out = folder / "table.csv", folder / f"run-{task}"
    source = [table, "--images", folder / "images", "--task", task, *options]
    yield "check", *run("check", *source, "--html", folder / "audit.html"), (folder / "audit.html").stat().st_size
    how = ["--arch", "test_resnet", "--weights", small, "--size", SIDE, "--epochs", 1, "--precision", "fp32"]
    figures = *run("train", *source, *how, "--out", out), (out / "report.html").stat().st_size
    name, value = next(iter(json.loads((out / "summary.json").read_text())["metrics"].items()))
    yield f"train ({name.replace('_', ' ')} {value:.3g})", *figures
    model = out / "model.safetensors"
    yield "evaluate", *run("evaluate", model, table, "--images", folder / "images", *options, "--split", "all"), 0
    yield "report", *run("report", out, "--out", folder / "again.html"), (folder / "again.html").stat().st_size
    yield "predict", *run("predict", model, folder / "images", "--out", folder / f"{task}.csv"), 0


def jobs_on_ratings(folder, table):
    """Yield the same for ratings."""
    out = folder / "run"
    yield "check", *run("check", table, "--task", "rating"), 0
    how = ["--epochs", 1, "--factors", 20, "--batch-size", 8192]
    yield "train", *run("train", table, "--task", "rating", *how, "--out", out), (out / "report.html").stat().st_size
    yield "recommend", *run("recommend", out / "model.safetensors", 1), 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="*", default=[1000, 10_000, 100_000])
    parser.add_argument("--ratings", type=int, nargs="*", default=[50_000, 5_000_000])
    parser.add_argument("--tasks", nargs="*", default=["multi-label", "points", "regression"])
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    commit = subprocess.run(
        ["git", "-C", ROOT, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True
    )
    n_processors = len(os.sched_getaffinity(0))
    where = f"{n_processors} processors, Python {platform.python_version()}, commit {commit.stdout.strip()}."
    lines = [
        f"# Large sets, {dt.datetime.now(dt.UTC).date()}",
        "",
        where + " Drawn images of 32 px, one epoch of `test_resnet`; each job is a process (`benchmarks/sizes.py`).",
        "",
        "| task | rows | job | s | ms a row | peak MiB | page, KB |",
        "|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    options = {"multi-label": [], "points": ["--points", "x,y"], "regression": ["--targets", "size"]}

    def note(task, n, job, seconds, mib, size):
        page = f"{size / 1000:.0f}" if size else ""
        lines.append(f"| {task} | {n:,} | {job} | {seconds:.1f} | {1000 * seconds / n:.2f} | {mib:.0f} | {page} |")
        print(lines[-1], flush=True)

    with tempfile.TemporaryDirectory() as place:
        os.environ["FOVEAL_HOME"] = str(Path(place) / "home")
        small = weights(Path(place))
        for n in arguments.rows:
            folder = Path(place) / f"images-{n}"
            write(folder, n)
            for task in arguments.tasks:
                for job, *figures in jobs_on_images(folder, task, options[task], small):
                    note(task, n, job, *figures)
        for n in arguments.ratings:
            folder = Path(place) / f"ratings-{n}"
            for job, *figures in jobs_on_ratings(folder, write_ratings(folder, n)):
                note("rating", n, job, *figures)
    if arguments.out:
        arguments.out.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
