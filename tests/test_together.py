"""Several processes train one model as one process does: real ones, started by torchrun."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from foveal.core import storage

SCRIPT = Path(__file__).with_name("together.py")


@pytest.fixture(scope="module")
def train(scenes, tmp_path_factory):
    """Train with so many processes; return what each of them found, and what was printed."""

    def run(n=1, *, folder=None, restarts=0, code=0, **options):
        folder = folder or tmp_path_factory.mktemp("run")
        starting = [] if n == 1 else _torchrun(n, restarts)
        command = [sys.executable, *starting, SCRIPT, folder, scenes, json.dumps(options)]
        done = subprocess.run(
            list(map(str, command)), capture_output=True, text=True, check=False, env=_environment(), timeout=300
        )
        assert done.returncode == code, f"{done.stdout[-3000:]}\n{done.stderr[-6000:]}"
        return [_read(file) for file in sorted(folder.glob("?.safetensors"))], done

    return run


def _torchrun(n, restarts):
    return ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={n}", f"--max-restarts={restarts}"]


def _environment():
    return os.environ | {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}


def _read(file):
    tensors, metadata = storage.read_tensors(file)
    return tensors, json.loads(metadata["said"])


def largest_difference(one, other):
    return max(float((one[name].double() - other[name].double()).abs().max()) for name in one)


@pytest.fixture(scope="module")
def one(train):
    return train(find=True)[0][0]


def test_two_processes_train_what_one_does(train, one):
    """Batches of 7 in parts of 3 and 4: losses, weights, predictions and probes; metrics of what is the same bits."""
    (first, second), done = train(2, find=True, silent=False)
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["epoch", "0", "1"]  # one of them prints
    assert largest_difference(one[0], first[0]) < 1e-5
    assert largest_difference(first[0], second[0]) == 0.0
    assert first[1] == second[1]
    torch.testing.assert_close(torch.tensor(first[1]["history"]), torch.tensor(one[1]["history"]), rtol=0, atol=1e-5)
    assert first[1]["found"] == pytest.approx(one[1]["found"], rel=1e-3)


def test_a_batch_of_validation_that_one_process_leaves_counts_in_none(train, one):
    (alone,), _ = train(leave=True)
    found, _ = train(2, leave=True)
    assert alone[1]["history"] != one[1]["history"]
    for _, said in found:
        torch.testing.assert_close(torch.tensor(said["history"]), torch.tensor(alone[1]["history"]), rtol=0, atol=1e-5)


def test_three_processes_with_accumulation_averages_and_early_stopping(train):
    options = {"accumulate": 3, "ema": True, "early": True, "epochs": 9}
    (alone,), _ = train(**options)
    found, _ = train(3, **options)
    assert len(found) == 3
    assert len(alone[1]["history"]) == 2
    for tensors, said in found:
        assert largest_difference(alone[0], tensors) < 1e-5
        assert len(said["history"]) == 2


def test_two_processes_draw_by_weight_what_one_does(train):
    (alone,), _ = train(sampling="balanced", find=True)
    (first, second), _ = train(2, sampling="balanced", find=True)
    assert largest_difference(alone[0], first[0]) < 1e-5
    assert largest_difference(first[0], second[0]) == 0.0


def test_a_process_that_is_killed_changes_nothing(train):
    """Dropout and batch normalisation included: the weights are those of an undisturbed run, to the bit."""
    options = {"arch": "test_resnet", "bs": 8}
    undisturbed, _ = train(2, **options)
    again, _ = train(2, restarts=1, kill=[1, 8], **options)
    assert again[0][1]["resumed"]
    assert largest_difference(undisturbed[0][0], again[0][0]) == 0.0
    assert undisturbed[0][1]["history"] == again[0][1]["history"]


def test_a_checkpoint_of_two_goes_on_in_three(train, one, tmp_path):
    train(2, folder=tmp_path, ask=1, code=1)
    (tensors, said), *_ = train(3, folder=tmp_path)[0]
    assert said["resumed"]
    assert largest_difference(one[0], tensors) < 1e-5


def test_a_process_that_fails_takes_the_others_down_with_its_own_message(train):
    _, done = train(2, fail=1, code=1)
    assert "ValueError: this one failed" in done.stderr
    assert "Another process of this run ended" in done.stderr or done.stderr.count("Traceback") < 3


def test_what_the_clock_decides_is_the_same_everywhere(train):
    found, _ = train(2, minutes=0.05, auto=True)
    assert found[0][1] == found[1][1]
    assert len(found[0][1]["history"]) >= 1


def test_the_command_trains_in_several_processes(scenes, tmp_path):
    words = [scenes / "scenes.csv", "--images", scenes / "scenes", "--size", 32, "--epochs", 1, "--batch-size", 8]
    train = [sys.executable, "-m", "foveal", "train", *words, "--processes", 2, "--out", tmp_path / "run"]
    wrong = subprocess.run(
        list(map(str, [*train, "--empty", "error"])), capture_output=True, text=True, check=False, env=_environment()
    )
    assert wrong.returncode == 2
    assert wrong.stderr.count("error: no label (") == 1
    good = [*train, "--empty", "none"]
    done = subprocess.run(list(map(str, good)), capture_output=True, text=True, check=False, env=_environment())
    assert done.returncode == 0, done.stderr
    assert "shared by 2 processes" in done.stdout
    assert done.stdout.count("Written to") == 1
    assert (tmp_path / "run" / "report.html").exists()
