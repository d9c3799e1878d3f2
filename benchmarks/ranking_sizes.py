"""Drawn ratings of growing size through `foveal train`: seconds by part, peak memory, and whether it still ranks.

    python benchmarks/ranking_sizes.py --rows 100000 1000000 --out FILE.json

Users and items have long tails, as in the MovieLens tables of the same size; what somebody had depends on two of 12
tastes, and what they rate on vectors, biases and noise. Every size is a process of its own, its memory limited.
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
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv

ROOT = Path(__file__).parents[1]
SIZES = {100_000: (1000, 1700), 1_000_000: (6000, 3700), 10_000_000: (70_000, 10_700)}  # MovieLens 100k, 1M, 10M
N_TASTES, N_FACTORS = 12, 6


def draw(n, seed=0):
    """Return users and items int32 [n], each pair once, and ratings int8 [n]."""
    n_users, n_items = SIZES.get(n, (max(10, n // 140), max(20, int(n**0.58))))
    rng = np.random.default_rng([seed, n])
    activity = np.cumsum(rng.lognormal(0, 1.1, n_users))
    appeal = rng.lognormal(0, 1.5, n_items)
    own = rng.normal(0, 2, (n_items, N_TASTES))
    by_taste = np.cumsum(appeal[:, None] * np.exp(own), axis=0).T
    tastes = rng.integers(0, N_TASTES, (n_users, 2))
    keys = np.empty(0, np.int64)
    while len(keys) < n:
        more = int(1.4 * (n - len(keys))) + 100
        users = np.searchsorted(activity, rng.random(more) * activity[-1]).astype(np.int64)
        taste = tastes[users, (rng.random(more) < 0.35).astype(int)]
        items = np.empty(more, np.int64)
        for at, appeals in enumerate(by_taste):
            chosen = np.flatnonzero(taste == at)
            items[chosen] = np.searchsorted(appeals, rng.random(len(chosen)) * appeals[-1])
        keys = np.sort(np.concatenate([keys, users * n_items + items]), kind="stable")  # np.unique: a minute
        keys = keys[np.append(True, keys[1:] != keys[:-1])]
    keys = rng.permutation(keys)[:n]
    users, items = (keys // n_items).astype(np.int32), (keys % n_items).astype(np.int32)
    of_users = rng.normal(0, 0.5, (n_users, N_FACTORS)).astype(np.float32)
    of_items = rng.normal(0, 0.5, (n_items, N_FACTORS)).astype(np.float32)
    exact = 3.5 + rng.normal(0, 0.4, n_users).astype(np.float32)[users]
    exact += rng.normal(0, 0.5, n_items).astype(np.float32)[items]
    for factor in range(N_FACTORS):
        exact += of_users[users, factor] * of_items[items, factor]
    exact += rng.normal(0, 0.8, n).astype(np.float32)
    return users, items, np.clip(np.round(exact), 1, 5).astype(np.int8)


def write(path, n):
    users, items, ratings = draw(n)
    table = pa.table({"user": users, "item": items, "rating": ratings})
    pyarrow.csv.write_csv(table, path)


def train(table, out, memory, limit, log):
    """Run the command; return its seconds, processor seconds, peak MiB and how it ended."""
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src"), "PYTHONWARNINGS": "ignore"}
    limits = ["prlimit", f"--as={memory}", "timeout", str(limit)]
    command = [*limits, sys.executable, "-P", "-m", "foveal", "train", str(table), "--out", str(out)]
    began = time.perf_counter()
    with log.open("wb") as printed:
        process = subprocess.Popen(command, env=environment, stdout=printed, stderr=printed)
        _, status, used = os.wait4(process.pid, 0)
    return {
        "seconds": round(time.perf_counter() - began, 1),
        "processor_seconds": round(used.ru_utime + used.ru_stime, 1),
        "peak_MiB": round(used.ru_maxrss / 1024),
        "exit": os.waitstatus_to_exitcode(status),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="*", default=list(SIZES))
    parser.add_argument("--limit", type=int, default=900, help="seconds of a run")
    parser.add_argument("--memory", type=float, default=14, help="GB of address space of a run")
    parser.add_argument("--folder", type=Path, help="where tables and runs are kept; a temporary one by default")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    commit = subprocess.run(
        ["git", "-C", ROOT, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True
    )
    rows = json.loads(arguments.out.read_text()) if arguments.out.exists() else []
    with tempfile.TemporaryDirectory() as place:
        folder = arguments.folder or Path(place)
        for n in arguments.rows:
            table, out = folder / f"ratings-{n}.csv", folder / f"run-{n}-{int(time.time())}"
            began = time.perf_counter()
            write(table, n)
            row = {
                "rows": n,
                "date": dt.datetime.now(dt.UTC).date().isoformat(),
                "commit": commit.stdout.strip(),
                "processors": len(os.sched_getaffinity(0)),
                "python": platform.python_version(),
                "drawing_seconds": round(time.perf_counter() - began, 1),
            }
            row |= train(table, out, int(arguments.memory * 1e9), arguments.limit, folder / f"log-{n}.txt")
            if (out / "summary.json").exists():
                summary = json.loads((out / "summary.json").read_text())
                row |= {name: summary[name] for name in ("timings", "metrics", "rankings", "left_out")}
            else:
                row["log"] = (folder / f"log-{n}.txt").read_text()[-1500:]
            rows.append(row)
            arguments.out.write_text(json.dumps(rows, indent=1) + "\n")
            print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
