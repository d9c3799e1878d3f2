"""A run that was stopped anywhere goes on to the bit: weights, optimizer, averages, random state, history."""

import json
import random
import signal
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from foveal.core.errors import InputError, ModelFileError, TrainingError
from foveal.core.storage import read_tensors, write_tensors
from foveal.data.block import DataBlock
from foveal.data.image_block import ImageBlock
from foveal.data.labels import ColReader
from foveal.data.splits.splitters import ColSplitter
from foveal.geometry.resize import RandomResizedCrop
from foveal.images.augment import aug_transforms
from foveal.learner.vision import vision_learner
from foveal.tasks.multi_label import MultiCategoryBlock
from foveal.training.callbacks.extras import EMA, GradientClip, MixUp
from foveal.training.checkpoint import FILE, Checkpoints, read


class CrashError(Exception):
    """What a kill looks like from inside."""


class Crash:
    """Ends the run at the n-th of its events, in steps, epochs and between."""

    def __init__(self, at):
        self.left = at

    def _count(self, _):
        self.left -= 1
        if self.left < 0:
            raise CrashError

    before_epoch = before_step = after_loss = after_backward = after_epoch = _count


class Interrupt:
    """Asks the run to end, as a signal does, after a step."""

    def __init__(self, at):
        self.at = at

    def after_step(self, state):
        if state.step == self.at:
            signal.raise_signal(signal.SIGTERM)


@pytest.fixture
def build(scenes):
    frame = pd.read_csv(scenes / "scenes.csv", keep_default_na=False)

    def make(workers=0, seed=7):
        block = DataBlock(
            (ImageBlock, MultiCategoryBlock),
            get_x=ColReader("fname", pref=scenes / "scenes"),
            get_y=ColReader("labels", label_delim=" "),
            splitter=ColSplitter(),
            item_tfms=RandomResizedCrop(32, min_scale=0.5),
            batch_tfms=aug_transforms(),
        )
        torch.manual_seed(seed)
        dls = block.dataloaders(frame, bs=8, seed=5, num_workers=workers)
        learn = vision_learner(dls, "test_resnet", pretrained=False, seed=seed)
        learn.recorder.silent = True
        return learn

    return make


def everything(learn):
    """All that must agree, exactly."""
    history = [(r.epoch, r.train_loss, r.valid_loss, r.metrics) for r in learn.recorder.history]
    return dict(learn.model.state_dict()), history, torch.get_rng_state()


def assert_same(one, other):
    for name, tensor in one[0].items():
        assert torch.equal(tensor, other[0][name]), name
    assert one[1] == other[1]
    assert torch.equal(one[2], other[2])


OPTIONS = [
    ({}, list),
    ({"accumulate": 4}, lambda: [GradientClip(0.5), EMA(0.9)]),
    ({"accumulate": 2}, lambda: [MixUp(seed=3)]),
]


@pytest.mark.parametrize(("options", "extras"), OPTIONS)
def test_a_run_that_crashed_anywhere_goes_on_to_the_bit(options, extras, build, tmp_path):
    whole = build()
    whole.fine_tune(2, freeze_epochs=1, cbs=extras(), **options)
    expected = everything(whole)
    rng = random.Random(str(options))
    for attempt in range(3):
        folder = tmp_path / str(attempt)
        seconds = rng.choice([0.0, 0.0, 1e9])
        crash = Crash(rng.randrange(1, 60))
        learn = build(workers=rng.randrange(3))
        with pytest.raises(CrashError):
            learn.fine_tune(
                2, freeze_epochs=1, cbs=[*extras(), crash, Checkpoints(folder, every_seconds=seconds)], **options
            )
        again = build(workers=rng.randrange(3), seed=99)  # fresh weights, another number of threads
        if not (folder / FILE).exists():
            with pytest.raises(ModelFileError, match="no checkpoint"):
                again.fine_tune(2, freeze_epochs=1, resume=folder)
            continue
        again.fine_tune(2, freeze_epochs=1, cbs=extras(), resume=folder, **options)
        assert_same(everything(again), expected)


def test_a_run_that_was_asked_to_end_goes_on_to_the_bit(build, tmp_path):
    whole = build()
    whole.fit_one_cycle(2, 1e-3)
    expected = everything(whole)
    learn = build()
    with pytest.raises(SystemExit) as stopped:
        learn.fit_one_cycle(2, 1e-3, cbs=[Interrupt(8), Checkpoints(tmp_path)])
    assert stopped.value.code == 143
    assert read(tmp_path).position["step"] == 8
    assert not learn.recorder.history[1:]
    again = build(seed=1)
    again.fit_one_cycle(2, 1e-3, resume=tmp_path)
    assert_same(everything(again), expected)


def test_a_second_interrupt_leaves_at_once_with_the_old_checkpoint(build, tmp_path):
    seen = []

    class Twice:
        def after_step(self, state):
            if state.step == 12:
                seen.append((tmp_path / FILE).read_bytes())
                signal.raise_signal(signal.SIGINT)
                seen.append(state.signal)
                signal.raise_signal(signal.SIGINT)
                seen.append("went on")

    learn = build()
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        learn.fit(3, cbs=[Checkpoints(tmp_path), Twice()])
    assert seen == [(tmp_path / FILE).read_bytes(), "SIGINT"]
    assert signal.getsignal(signal.SIGINT) is handler
    build().fit(3, resume=tmp_path)


def test_another_run_is_refused_by_name(build, tmp_path):
    build().fit(1, cbs=[Checkpoints(tmp_path)])
    with pytest.raises(InputError, match="epochs was 1, is 2"):
        build().fit(2, resume=tmp_path)
    learn = build()
    learn.freeze()
    with pytest.raises(InputError, match="frozen groups was 0, is 2"):
        learn.fit(1, resume=tmp_path)
    with pytest.raises(ModelFileError, match="no checkpoint"):
        build().fit(1, resume=tmp_path / "elsewhere")
    (tmp_path / FILE).write_bytes(b"nonsense")
    with pytest.raises(ModelFileError, match="is no file of tensors by foveal"):
        build().fit(1, resume=tmp_path)


def test_a_checkpoint_that_cannot_be_written_says_so_and_leaves_the_old_one(build, tmp_path, monkeypatch):
    build().fit(1, cbs=[Checkpoints(tmp_path)])
    before = (tmp_path / FILE).read_bytes()

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("foveal.core.storage.sync", full)
    with pytest.raises(TrainingError, match=r"No space left on device.*is unchanged"):
        build().fit(1, cbs=[Checkpoints(tmp_path)])
    assert (tmp_path / FILE).read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == [FILE]


def test_a_loss_that_is_not_finite_stops_with_step_rate_and_files(build, tmp_path):
    class Poison:
        def before_step(self, state):
            if state.step == 8:
                state.inputs = state.inputs * float("nan")

    learn = build()
    with pytest.raises(
        TrainingError, match=r"(?s)loss is nan at step 8 of epoch 1, at a learning rate of 0\.001.*scene_\d+"
    ):
        learn.fit(3, cbs=[Poison(), Checkpoints(tmp_path)])
    tensors = load_file(tmp_path / FILE)
    assert all(t.isfinite().all() for t in tensors.values() if t.is_floating_point())


def test_a_killed_process_goes_on_to_the_bit(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "scripts")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1] / "scripts"))
    from promises import Report, resume

    report = Report("")
    resume.stops(tmp_path, report, {signal.SIGKILL: 3, signal.SIGTERM: 1}, seed=4)
    assert not report.broken


def damaged(folder, change):
    """Change what a checkpoint holds, as one who leaves out its hash."""
    file = folder / FILE
    tensors, metadata = read_tensors(file)
    values = json.loads(metadata["checkpoint"])
    change(values, tensors)
    write_tensors(file, tensors, {"checkpoint": json.dumps(values)})


@pytest.mark.parametrize(
    "change",
    [
        lambda v, _: v.update(step=10**9),
        lambda v, _: v.update(step=-1),
        lambda v, _: v.update(epoch=10**6),
        lambda v, _: v.update(step="x"),
        lambda v, _: v.update(count=None),
        lambda v, _: v.pop("history"),
        lambda v, _: v["results"][0].pop("train_loss"),
        lambda v, _: v.update(hooks={"0-Recorder": {"epochs": 0}}),
        lambda _, t: t.pop(next(name for name in t if name.startswith("model/"))),
        lambda _, t: t.update({name: torch.ones(2, 5) for name in t if name.startswith("model/")}),
        lambda _, t: t.update({name: torch.ones(3, 3, 3) for name in t if name.endswith("/exp_avg")}),
        lambda _, t: t.update({"random/cpu": torch.zeros(3)}),
    ],
)
def test_a_checkpoint_that_no_fit_can_have_written_is_refused(change, build, tmp_path):
    build().fit_one_cycle(2, 1e-3, cbs=[Checkpoints(tmp_path)])
    damaged(tmp_path, change)
    with pytest.raises(ModelFileError, match="is damaged"):
        build().fit_one_cycle(2, 1e-3, resume=tmp_path)


def test_a_checkpoint_in_which_one_number_differs_is_refused(build, tmp_path):
    build().fit_one_cycle(1, 1e-3, cbs=[Checkpoints(tmp_path)])
    data = bytearray((tmp_path / FILE).read_bytes())
    data[-1] ^= 1
    (tmp_path / FILE).write_bytes(data)
    with pytest.raises(ModelFileError, match="was changed or damaged"):
        build().fit_one_cycle(1, 1e-3, resume=tmp_path)
