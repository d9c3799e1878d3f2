"""Processes that train together, one of them killed at a random moment: the weights are those of a run undisturbed."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from safetensors.torch import load_file

from foveal.sources.synthetic import write_scenes
from promises import Report

SCRIPT = Path(__file__).parents[2] / "tests" / "together.py"
OPTIONS = {"arch": "test_resnet", "bs": 8, "epochs": 6}


def run(full: bool) -> Report:
    """Kill one of two processes, again and again, and compare what torchrun's restart ends with."""
    n = 100 if full else 20
    report = Report(f"together: one of two processes killed at {n} random moments, then the same weights to the bit")
    rng = random.Random(0)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        write_scenes(folder / "data", n=60)
        began = time.monotonic()
        _start(folder, "whole").wait(300)
        seconds = time.monotonic() - began
        expected = load_file(folder / "whole" / "0.safetensors")
        resumed = 0
        for number in range(n):
            name = f"run{number}"
            process = _start(folder, name)
            time.sleep(rng.uniform(0.3, 0.95) * seconds)
            if workers := _children(process.pid):
                os.kill(rng.choice(workers), signal.SIGKILL)
            if process.wait(300):
                report.broken.append(f"{name} ended with {process.returncode}")
                continue
            found = load_file(folder / name / "0.safetensors")
            if differ := [key for key in expected if not torch.equal(expected[key], found[key])]:
                report.broken.append(f"{name} differs in {', '.join(differ[:3])}")
            resumed += _resumed(folder / name / "0.safetensors")
    report.table += [("what", "times"), ("killed and started again", n), ("went on from a checkpoint", resumed)]
    return report


def _start(folder: Path, name: str) -> subprocess.Popen[bytes]:
    (folder / name).mkdir()
    starting = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "--max-restarts=2"]
    command = [sys.executable, *starting, SCRIPT, folder / name, folder / "data", json.dumps(OPTIONS)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    quiet = subprocess.DEVNULL
    return subprocess.Popen(list(map(str, command)), env=environment, stdout=quiet, stderr=quiet)


def _children(pid: int) -> list[int]:
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def _resumed(file: Path) -> bool:
    from foveal.core import storage

    return bool(json.loads(storage.read_tensors(file)[1]["said"])["resumed"])
