"""Runs that were killed or stopped: what comes after a resume is the same to the bit."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import tempfile
import time
from pathlib import Path

import pandas as pd
import torch
from safetensors.torch import load_file, save_file

from foveal.core.errors import ModelFileError
from foveal.data.block import DataBlock, ImageBlock
from foveal.data.labels import ColReader
from foveal.data.splits.splitters import ColSplitter
from foveal.geometry.resize import RandomResizedCrop
from foveal.images.augment import aug_transforms
from foveal.learner.vision import vision_learner
from foveal.sources.synthetic import write_scenes
from foveal.tasks.multi_label import MultiCategoryBlock
from foveal.training.checkpoint import FILE, Checkpoints, read
from promises import Report

EPOCHS, FREEZE_EPOCHS, ACCUMULATE = 3, 1, 2


def run(full: bool) -> Report:
    """Stop runs at random moments, half with a kill, half with SIGTERM, and compare what they become."""
    n_each = 200 if full else 20
    report = Report(
        f"resume: {n_each} times kill -9 and {n_each} times SIGTERM at random moments, then the same to the bit"
    )
    with tempfile.TemporaryDirectory() as folder:
        how_often = stops(Path(folder), report, {signal.SIGKILL: n_each, signal.SIGTERM: n_each})
    report.table.append(("where the run was stopped", "times"))
    report.table += sorted(how_often.items())
    return report


def stops(folder: Path, report: Report, counts: dict[signal.Signals, int], *, seed: int = 0) -> dict[str, int]:
    """Stop runs as often as `counts` says, by signal; return where they stood."""
    write_scenes(folder / "data", n=40)
    rng = random.Random(seed)
    began = time.monotonic()
    _in_child(train, folder, "whole", 0, None)
    seconds = time.monotonic() - began
    expected = load_file(folder / "whole.safetensors")
    how_often: dict[str, int] = {}
    for number, kind in enumerate(kind for kind, count in counts.items() for _ in range(count)):
        name = f"run{number}"
        process = _start(train, folder, name, rng.randrange(3), name)
        process.join(rng.uniform(0.05, 0.9) * seconds)
        if process.is_alive():
            os.kill(process.pid or 0, kind)
        process.join(60)
        where = _where(folder / name, ended=(folder / f"{name}.safetensors").exists())
        how_often[where] = how_often.get(where, 0) + 1
        code = process.exitcode
        report.require(code in {0, -signal.SIGKILL, 128 + signal.SIGTERM, -signal.SIGTERM}, f"{name}: exit code {code}")
        if where == "in a run":
            _in_child(train, folder, name, rng.randrange(3), name)
        if where != "before the first checkpoint":
            found = load_file(folder / f"{name}.safetensors")
            same = found.keys() == expected.keys() and all(torch.equal(found[key], expected[key]) for key in expected)
            report.require(same, f"{name} ({kind.name}, {where}): not the same to the bit")
    return how_often


def train(folder: Path, name: str, workers: int, save: str | None) -> None:
    """Train from the beginning, or from the checkpoint that is there, and write all that must agree."""
    torch.set_num_threads(1)
    frame = pd.read_csv(folder / "data" / "scenes.csv", keep_default_na=False)
    block = DataBlock(
        (ImageBlock, MultiCategoryBlock),
        get_x=ColReader("fname", pref=folder / "data" / "scenes"),
        get_y=ColReader("labels", label_delim=" "),
        splitter=ColSplitter(),
        item_tfms=RandomResizedCrop(32, min_scale=0.5),
        batch_tfms=aug_transforms(),
    )
    torch.manual_seed(11)
    learn = vision_learner(
        block.dataloaders(frame, bs=8, seed=5, num_workers=workers), "test_resnet", pretrained=False, seed=3
    )
    learn.recorder.silent = True
    there = save is not None and (folder / save / FILE).exists()
    learn.fine_tune(
        EPOCHS,
        freeze_epochs=FREEZE_EPOCHS,
        accumulate=ACCUMULATE,
        cbs=[Checkpoints(folder / save, every_seconds=0.05)] if save is not None else [],
        resume=folder / save if save is not None and there else None,
    )
    losses = [[r.train_loss, r.valid_loss, *r.metrics.values()] for r in learn.recorder.history]
    result = dict(learn.model.state_dict()) | {"history": torch.tensor(losses), "random": torch.get_rng_state()}
    save_file({key: value.contiguous() for key, value in result.items()}, folder / f"{name}.safetensors")


def _where(folder: Path, *, ended: bool) -> str:
    if ended:
        return "after its end"
    try:
        read(folder)
    except ModelFileError:
        return "before the first checkpoint" if not (folder / FILE).exists() else "unreadable"
    return "in a run"


_server = multiprocessing.get_context("forkserver")
_server.set_forkserver_preload(["promises.resume", "timm"])


def _start(function: object, *arguments: object) -> multiprocessing.process.BaseProcess:
    process = _server.Process(target=function, args=arguments)
    process.start()
    return process


def _in_child(function: object, *arguments: object) -> None:
    process = _start(function, *arguments)
    process.join()
    if process.exitcode:
        raise RuntimeError(f"training ended with code {process.exitcode}")
