"""foveal beside other work: alone, beside one and three busy processes, two side by side, on one processor, in a quota.

    python benchmarks/busy.py --data DATA --before CHECKOUT --out FILE.md

DATA holds `voc2012_mini`; CHECKOUT is another state of this project, which takes turns with this one, round by round.
Jobs: the whole command (`foveal train`, 64 px, one epoch), a frozen and an unfrozen epoch (256 images of 128 px), and
five epochs of 16,000 ratings in batches of 64, these also with one thread (`OMP_NUM_THREADS`). Busy processes are loops
that end by themselves. A quota needs the right to make a control group.
"""

import argparse
import contextlib
import datetime as dt
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).parents[1]
BUSY = "import time; end = time.time() + 900\nwhile time.time() < end: pass"
EPOCHS = """
import contextlib, io, json, sys, time
from foveal.vision.all import *
data = Path(sys.argv[1]) / "voc2012_mini"
block = DataBlock(
    blocks=(ImageBlock, MultiCategoryBlock), get_x=ColReader("fname", pref=data / "train"),
    get_y=ColReader("labels", label_delim=" "), splitter=RandomSplitter(.1, seed=1),
    item_tfms=RandomResizedCrop(128, min_scale=.5), batch_tfms=aug_transforms(),
)
learn = vision_learner(block.dataloaders(pd.read_csv(data / "train.csv")[:256], bs=64), "tf_efficientnet_lite0", seed=0)
found = {}
for name in ("frozen", "unfrozen"):
    if name == "unfrozen":
        learn.unfreeze()
    for _ in range(2):
        began, own = time.perf_counter(), time.process_time()
        with contextlib.redirect_stdout(io.StringIO()):
            learn.fit(1, 1e-4)
    found[name] = [time.perf_counter() - began, time.process_time() - own]
print(json.dumps(found))
"""
RATINGS = """
import contextlib, io, json, time
from foveal.collab.all import *
rng = np.random.default_rng(0)
columns = {"user": (0, 943), "item": (0, 1682), "rating": (1, 6)}
frame = pd.DataFrame({name: rng.integers(*ends, 20_000) for name, ends in columns.items()})
learn = collab_learner(CollabDataLoaders.from_df(frame, bs=64, seed=0), 50, y_range=(0, 5.5))
for _ in range(2):
    began, own = time.perf_counter(), time.process_time()
    with contextlib.redirect_stdout(io.StringIO()):
        learn.fit_one_cycle(5, 5e-3, wd=.1)
print(json.dumps({"ratings": [time.perf_counter() - began, time.process_time() - own]}))
"""
DECIDED = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "PYTHON_CPU_COUNT")


class Side:
    """One state of the project, and what it is asked to do."""

    def __init__(self, name, folder, data, **environment):
        clean = {key: value for key, value in os.environ.items() if key not in DECIDED}
        self.name, self.data = name, data
        self.environment = clean | {"PYTHONPATH": str(folder / "src"), "MPLBACKEND": "Agg"} | environment

    def commands(self, job, place):
        """Return what runs in a process; its output, if it is JSON, has the seconds."""
        if job == "train":
            data = self.data / "voc2012_mini"
            options = ["--images", data / "train", "--size", "64", "--epochs", "1", "--out", place / "run"]
            return ["-P", "-m", "foveal", "train", data / "train.csv", *options]
        return ["-c", EPOCHS if job == "epochs" else RATINGS, self.data]

    def run(self, job, n=1, prepare=None):
        """Run a job `n` times at once; return seconds and processor seconds by what was measured, means over the n."""
        with tempfile.TemporaryDirectory() as folder:
            began, started = time.perf_counter(), []
            for at in range(n):
                words = [sys.executable, *map(str, self.commands(job, Path(folder) / str(at)))]
                streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
                how = {"env": self.environment, "cwd": folder, "preexec_fn": prepare}
                started.append(subprocess.Popen(words, **streams, **how))

            def finish(process):
                printed, wrong = process.communicate()
                assert process.returncode == 0, wrong
                last = printed.strip().splitlines()[-1]
                seconds = time.perf_counter() - began
                return json.loads(last) if last.startswith("{") else {job: [seconds, float("nan")]}

            with ThreadPoolExecutor(n) as pool:  # each is waited for by itself
                found = list(pool.map(finish, started))
        return {name: [statistics.fmean(one[name][at] for one in found) for at in (0, 1)] for name in found[0]}


@contextlib.contextmanager
def busy(n):
    """Run `n` loops for the time of the block."""
    loops = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(n)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


@contextlib.contextmanager
def quota():
    """Yield what puts a process into a control group with a quota of one processor; None where that is not allowed."""
    version_1 = Path("/sys/fs/cgroup/cpu")
    folder = (version_1 if version_1.is_dir() else Path("/sys/fs/cgroup")) / "foveal-benchmark"
    try:
        folder.mkdir(exist_ok=True)
        if version_1.is_dir():
            (folder / "cpu.cfs_quota_us").write_text("100000")
        else:
            (folder / "cpu.max").write_text("100000 100000")
    except OSError:
        with contextlib.suppress(OSError):
            folder.rmdir()
        yield None
        return
    try:
        yield lambda: (folder / "cgroup.procs").write_text(str(os.getpid()))
    finally:
        folder.rmdir()


def measure(sides, jobs, rounds):
    """Return seconds by place, job and side, one for each round."""
    first = min(os.sched_getaffinity(0))
    found = {}

    def take(place, n=1, prepare=None):
        for _ in range(rounds):
            for side in sides:
                for job in jobs if side.name != "one thread" else ["ratings"]:
                    for name, seconds in side.run(job, n, prepare).items():
                        found.setdefault((name, place), {}).setdefault(side.name, []).append(seconds)
                        print(f"{place:<24}{name:<10}{side.name:<12}{seconds[0]:8.2f} s", file=sys.stderr, flush=True)

    take("alone")
    for n in (1, 3):
        with busy(n):
            take(f"beside {n} busy")
    take("two side by side", n=2)
    take("one processor", prepare=lambda: os.sched_setaffinity(0, {first}))
    with quota() as prepare:
        if prepare is not None:
            take("a quota of one", prepare=prepare)
    return found


def table(found, names):
    """Return the medians as Markdown, each with its ratio to the same side alone."""
    lines = [
        "| job | where | " + " | ".join(f"{name}, s | x alone" for name in names) + " |",
        "|---|---|" + "---|---|" * len(names),
    ]
    medians = {
        key: {name: statistics.median(one[0] for one in rounds) for name, rounds in sides.items()}
        for key, sides in found.items()
    }
    for (job, place), sides in sorted(medians.items(), key=lambda entry: entry[0][0]):
        cells = []
        for name in names:
            alone = medians[job, "alone"].get(name)
            cells += [f"{sides[name]:.2f}", f"{sides[name] / alone:.2f}"] if name in sides else ["", ""]
        lines.append(f"| {job} | {place} | " + " | ".join(cells) + " |")
    return lines


def output(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--before", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--jobs", nargs="*", default=["train", "epochs", "ratings"])
    arguments = parser.parse_args()
    data = arguments.data.absolute()
    sides = [Side("before", arguments.before.absolute(), data)] if arguments.before else []
    sides += [Side("now", ROOT, data), Side("one thread", ROOT, data, OMP_NUM_THREADS="1")]
    if "ratings" not in arguments.jobs:
        sides.pop()
    found = measure(sides, arguments.jobs, arguments.rounds)
    places = {"before": arguments.before, "now": ROOT} if arguments.before else {"now": ROOT}
    commits = {side: output("git", "-C", place, "rev-parse", "--short", "HEAD") for side, place in places.items()}
    models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    processor = models[0].partition(":")[2].strip() if models else platform.machine()
    lines = [
        f"# Beside other work, {dt.datetime.now(dt.UTC).date()}",
        "",
        f"{len(os.sched_getaffinity(0))} processors ({processor}), Python {platform.python_version()}; commits: "
        + ", ".join(f"{side} {commit}" for side, commit in commits.items())
        + f". Medians of {arguments.rounds} rounds in turn; `train` is the whole command, the others as they say "
        "(`benchmarks/busy.py`).",
        "",
        *table(found, [side.name for side in sides]),
    ]
    print("\n".join(lines))
    if arguments.out:
        arguments.out.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
