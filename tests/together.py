"""What the processes of a test run: a training that writes all that must agree. `together.py OUT SCENES OPTIONS`."""

import json
import os
import signal
import sys
from pathlib import Path

import pandas as pd
import torch
from torch import nn

from foveal.core import distributed, storage
from foveal.data.block import DataBlock
from foveal.data.image_block import ImageBlock
from foveal.data.labels import ColReader
from foveal.data.splits.splitters import ColSplitter
from foveal.geometry.resize import RandomResizedCrop
from foveal.learner.learner import Learner
from foveal.learner.vision import vision_learner
from foveal.metrics.several_labels import accuracy_multi
from foveal.tasks.multi_label import MultiCategoryBlock
from foveal.tasks.points import PointBlock
from foveal.training.callbacks.extras import EMA, EarlyStopping, GradientClip
from foveal.training.checkpoint import FILE, Checkpoints
from foveal.training.hooks import CancelBatchException

_GIVEN = sys.argv[1:] if __name__ == "__main__" else ["", "", "{}"]
OUT, SCENES, OPTIONS = Path(_GIVEN[0]), Path(_GIVEN[1]), json.loads(_GIVEN[2])


class Die:
    """Kill one process, once in the life of the test."""

    def after_step(self, state):
        mark = OUT / "killed"
        rank, step = OPTIONS["kill"]
        if distributed.rank() == rank and state.step == step and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)


class Fail:
    """Raise in one process."""

    def after_step(self, state):
        if distributed.rank() == OPTIONS["fail"] and state.step == 2:
            raise ValueError("this one failed")


class Ask:
    """Ask one process to end, and keep the others in step."""

    def after_step(self, state):
        if distributed.rank() == OPTIONS["ask"] and state.step == 3:
            signal.raise_signal(signal.SIGTERM)


def loaders(*, points=False):
    frame = pd.read_csv(SCENES / ("balloons.csv" if points else "scenes.csv"), keep_default_na=False)
    block = DataBlock(
        (ImageBlock, PointBlock if points else MultiCategoryBlock),
        get_x=ColReader("fname", pref=SCENES / "scenes"),
        get_y=(lambda r: [r["x"], r["y"]]) if points else ColReader("labels", label_delim=" "),
        splitter=ColSplitter(),
        item_tfms=RandomResizedCrop(32, min_scale=0.5),
    )
    sampling = "uniform" if points else OPTIONS.get("sampling", "uniform")
    return block.dataloaders(frame, bs=OPTIONS.get("bs", 7), seed=5, num_workers=0, sampling=sampling)


def probed(*, points):
    """Return all weights after a probe."""
    torch.manual_seed(3)
    dls, head = loaders(points=points), "spatial" if points else "linear"
    learn = vision_learner(dls, "test_resnet", pretrained=False, head=head, seed=3)
    learn.recorder.silent = True
    learn.probe()
    return learn.model.state_dict()


class Leave:
    """Leaves the first batch of each validation, whichever process has it."""

    def after_valid_batch(self, state):
        if 0 in state.indices:
            raise CancelBatchException


def check_what_is_gathered(learn, preds):
    """What all processes find together is what each finds alone."""
    (mine, _) = learn.get_preds(only_first=True)
    assert torch.equal(mine, preds if distributed.is_first() else torch.empty(0))
    for n in range(9):  # fewer than there are processes included
        numbers = [torch.arange(at * at, dtype=torch.float64) / 7 for at in range(n)]
        gathered = distributed.all_gather_ordered(distributed.shard(numbers))
        assert len(gathered) == n
        assert all(torch.equal(one, other) for one, other in zip(numbers, gathered, strict=True))
    for points in (False, True):
        together = probed(points=points)
        with distributed.single_process():
            for name, tensor in probed(points=points).items():
                torch.testing.assert_close(together[name], tensor, rtol=1e-4, atol=1e-5)


def steps_of(recorder):
    return {name: value for name, value in recorder.state_dict().items() if isinstance(value, torch.Tensor)}


def build():
    dls = loaders()
    torch.manual_seed(3 + distributed.rank())  # the first one's weights count
    if OPTIONS.get("arch"):
        return vision_learner(dls, OPTIONS["arch"], pretrained=False, seed=3, metrics=accuracy_multi)
    if distributed.rank() == 0:
        torch.manual_seed(3)
    plain = nn.Sequential(
        nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, len(dls.vocab))
    )
    return Learner(dls, plain, metrics=[accuracy_multi])


def main():
    learn = build()
    learn.recorder.silent = OPTIONS.get("silent", True)
    hooks = [Checkpoints(OUT / "run", every_seconds=0.0), GradientClip(5.0)]
    hooks += [EMA(0.5)] if OPTIONS.get("ema") else []
    hooks += [EarlyStopping(patience=1, min_delta=10.0)] if OPTIONS.get("early") else []
    for name, hook in (("kill", Die), ("fail", Fail), ("ask", Ask), ("leave", Leave)):
        hooks += [hook()] if name in OPTIONS else []
    found = (
        {"found": [float(rate) for rate in learn.lr_find(1e-5, 1e-1, num_it=20, show_plot=False)]}
        if OPTIONS.get("find")
        else {}
    )
    if OPTIONS.get("auto"):
        learn.to_precision("auto")
    going_on = (OUT / "run" / FILE).exists()
    minutes = OPTIONS.get("minutes")
    learn.fit(
        None if minutes else OPTIONS.get("epochs", 2),
        1e-2,
        minutes=minutes,
        accumulate=OPTIONS.get("accumulate", 1),
        cbs=hooks,
        resume=OUT / "run" if going_on else None,
    )
    preds, targets = learn.get_preds()
    tensors = {f"model/{name}": tensor for name, tensor in learn.model.state_dict().items()}
    tensors |= {"preds": preds, "targets": targets} | steps_of(learn.recorder)
    if OPTIONS.get("find"):
        check_what_is_gathered(learn, preds)
    history = [[one.train_loss, one.valid_loss, *one.metrics.values()] for one in learn.recorder.history]
    said = {"history": history, "measured": learn.measured, "resumed": going_on} | found
    with distributed.single_process():  # each writes its own, to be compared
        number = os.environ.get("RANK", "0")
        storage.write_tensors(OUT / f"{number}.safetensors", tensors, {"said": json.dumps(said)})


if __name__ == "__main__":
    main()
