"""Callbacks by the course's events and names: each event comes where the course says, and sees what is at work."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from foveal.core.errors import InputError, MissingDependencyError
from foveal.course import callbacks as c
from foveal.course.events import COURSE_EVENTS, Callback
from foveal.course.trackers import WandbCallback
from foveal.learner.vision import vision_learner
from foveal.metrics.several_labels import accuracy_multi
from foveal.training.callbacks.extras import EMA, CutMix, EarlyStopping, GradientClip, KeepBest, MixUp
from foveal.training.hooks import CancelBatchException, CancelEpochException, CancelFitException


@pytest.fixture
def make(scene_loaders):
    def build(**options):
        dls = scene_loaders(num_workers=0, seed=0)
        torch.manual_seed(0)
        learn = vision_learner(dls, "test_resnet", pretrained=False, metrics=[])
        learn.recorder.silent = True
        for name, value in options.items():
            setattr(learn, name, value)
        return learn

    return build


def weights(learn):
    return {name: tensor.clone() for name, tensor in learn.model.state_dict().items() if tensor.is_floating_point()}


def same(a, b):
    return all(torch.equal(a[name], b[name]) for name in a)


class Notes(Callback):
    """Notes every event of the course."""

    def __init__(self):
        self.events = []

    def note(self, name):
        self.events.append((name, self.training, self.epoch))


for event in [
    "before_fit",
    "before_epoch",
    "before_train",
    "before_batch",
    "after_pred",
    "after_loss",
    "before_backward",
    "after_backward",
    "before_step",
    "after_step",
    "after_batch",
    "after_train",
    "before_validate",
    "after_validate",
    "after_epoch",
    "after_fit",
]:
    setattr(Notes, event, lambda self, event=event: self.note(event))


def test_the_events_come_in_the_courses_order(make):
    learn, notes = make(), Notes()
    learn.fit(2, 1e-3, cbs=notes)
    n_train, n_valid = len(learn.dls.train), len(learn.dls.valid)
    of_batch = "before_batch after_pred after_loss before_backward after_backward before_step after_step after_batch"
    of_valid = "before_batch after_pred after_loss after_batch"
    epoch = ["before_epoch", "before_train", *of_batch.split() * n_train, "after_train", "before_validate"]
    epoch += [*of_valid.split() * n_valid, "after_validate", "after_epoch"]
    assert [name for name, _, _ in notes.events] == ["before_fit", *epoch * 2, "after_fit"]
    assert [epoch for name, _, epoch in notes.events if name == "after_epoch"] == [0, 1]
    trained = [training for name, training, _ in notes.events if name == "after_pred"]
    assert trained == ([True] * n_train + [False] * n_valid) * 2


def test_what_a_callback_sees_is_what_the_step_uses(make):
    seen = []

    class Look(Callback):
        def after_loss(self):
            expected = self.learn.loss_func(self.pred.float(), self.yb[0])
            assert torch.equal(self.loss, expected.detach() if not self.training else expected)
            seen.append((self.iter, self.n_iter, self.train_iter, self.opt.hypers[-1]["lr"], len(self.xb[0])))

    learn = make()
    learn.fit(1, 1e-3, cbs=Look)  # a class in place of an instance
    n = len(learn.dls.train)
    assert [one[0] for one in seen[:n]] == list(range(n))
    assert [one[1] for one in seen] == [n] * n + [len(learn.dls.valid)] * len(learn.dls.valid)
    assert all(one[3] == pytest.approx(1e-3) for one in seen)
    assert sum(one[4] for one in seen[n:]) == learn.dls.valid.n


def test_what_a_callback_assigns_through_the_learner_is_what_trains(make):
    class NoLoss(Callback):
        def after_loss(self):
            if self.training:
                self.learn.loss = self.loss * 0

    class NoInputs(Callback):
        def before_batch(self):
            if self.training:
                self.learn.xb = (torch.zeros_like(self.x),)

    frozen = make(wd=0.0, opt_func=torch.optim.SGD)
    before = [p.clone() for p in frozen.model.parameters()]
    frozen.fit(1, 0.1, cbs=NoLoss())
    assert all(torch.equal(a, b) for a, b in zip(before, frozen.model.parameters(), strict=True))
    black, plain = make(), make()
    black.fit(1, 1e-3, cbs=NoInputs())
    plain.fit(1, 1e-3)
    assert not same(weights(black), weights(plain))


def test_in_validation_nothing_may_be_assigned(make):
    class Cheat(Callback):
        def after_pred(self):
            if not self.training:
                self.learn.pred = self.pred * 0

    with pytest.raises(InputError, match="in training only"):
        make().fit(1, cbs=Cheat())


@pytest.mark.parametrize(
    ("exception", "steps", "lines"),
    [(CancelBatchException, 0, 2), (CancelEpochException, 0, 2), (CancelFitException, 0, 0)],
)
def test_a_cancelled_part_does_not_move_the_weights(make, exception, steps, lines):
    class Cancel(Callback):
        def after_loss(self):
            if self.training:
                raise exception

        def after_step(self):
            self.steps = getattr(self, "steps", 0) + 1

    learn, cancel = make(), Cancel()
    before = [p.clone() for p in learn.model.parameters()]
    learn.fit(2, 0.1, cbs=cancel)
    assert all(torch.equal(a, b) for a, b in zip(before, learn.model.parameters(), strict=True))
    assert len(learn.recorder.history) == lines


IN_TRAINING = ["before_backward", "after_backward", "before_step"]
IN_BOTH = ["before_batch", "after_pred", "after_loss"]
MAY_CANCEL = {
    CancelBatchException: [*IN_BOTH, *IN_TRAINING],
    CancelEpochException: [
        *("before_epoch", "before_train", *IN_BOTH, *IN_TRAINING, "after_step", "after_batch"),
        *("after_train", "before_validate", "after_validate"),
    ],
    CancelFitException: [event for event in COURSE_EVENTS if event not in {"begin_fit", "after_fit"}],
}


@pytest.mark.parametrize("event", [event for event in COURSE_EVENTS if event != "begin_fit"])
@pytest.mark.parametrize("exception", MAY_CANCEL)
def test_what_is_cancelled_in_any_event_is_left_or_refused(make, exception, event):
    class Cancel(Callback):
        ends = 0

    def cancel(self):
        raise exception

    class Ends(Callback):
        order = 1

        def after_fit(self):
            Cancel.ends += 1

    setattr(Cancel, event, cancel)
    learn = make()
    if event not in MAY_CANCEL[exception]:
        with pytest.raises(InputError, match=f"^`{event}` of Cancel raised {exception.__name__}, which means nothing"):
            learn.fit(2, 1e-3, cbs=[Cancel(), Ends()])
        return
    learn.fit(2, 1e-3, cbs=[Cancel(), Ends()])
    assert Cancel.ends == 1
    lines = 2 if exception is not CancelFitException else int(event == "after_epoch")
    assert len(learn.recorder.history) == lines


def test_a_callback_by_foveals_events_may_cancel_as_little(make):
    class Late:
        def after_fit(self, state):
            raise CancelFitException

    with pytest.raises(InputError, match="`after_fit` of Late raised CancelFitException"):
        make().fit(1, 1e-3, cbs=Late())


def test_a_batch_that_validation_leaves_does_not_count(scene_loaders, make):
    class Leave(Callback):
        def after_pred(self):
            if not self.training and self.iter in self.left:
                raise CancelBatchException

    leave, losses = Leave(), {}
    for left in ([], [0], [1, 2], [0, 1, 2]):
        learn, leave.left = make(), left
        learn.dls = scene_loaders(num_workers=0, seed=0, bs=4)
        learn.metrics = [accuracy_multi]
        learn.fit(1, 1e-3, cbs=leave)
        losses[tuple(left)] = learn.recorder.final_record
    batches = list(learn.dls.valid)
    assert len(batches) == 3
    learn.model.eval()
    with torch.no_grad():
        of_batch = [float(learn.loss_func(learn.model(x), y)) for x, y in batches]
    for left, (train_loss, valid_loss, accuracy) in losses.items():
        counted = [loss for at, loss in enumerate(of_batch) if at not in left]
        assert math.isfinite(train_loss)
        assert math.isnan(accuracy) is not bool(counted)
        assert valid_loss == pytest.approx(np.mean(counted) if counted else math.nan, rel=1e-4, nan_ok=True)


@pytest.mark.parametrize(
    ("event", "trains", "validates"),
    [
        ("before_epoch", False, True),
        ("before_train", False, True),
        ("after_train", True, False),
        ("before_validate", True, False),
        ("after_validate", True, True),
    ],
)
def test_a_cancelled_epoch_leaves_the_rest_of_its_training_or_of_its_validation(make, event, trains, validates):
    def cancel(self):
        raise CancelEpochException

    learn = make()
    before = weights(learn)
    learn.fit(1, 1e-2, cbs=type("Cancel", (Callback,), {event: cancel}))
    (line,) = learn.recorder.history
    assert same(before, weights(learn)) is not trains
    assert math.isfinite(line.train_loss) is trains
    assert math.isfinite(line.valid_loss) is validates


def test_what_follows_a_number_takes_an_open_one_for_no_improvement(make):
    class NoValidation(Callback):
        def before_validate(self):
            if self.epoch > 0:
                raise CancelEpochException

    learn = make(metrics=[accuracy_multi])
    keep = KeepBest("accuracy_multi")
    learn.fit(9, 1e-3, cbs=[NoValidation(), EarlyStopping("accuracy_multi", patience=2), keep])
    assert len(learn.recorder.history) == 3
    assert keep.epoch == 0


def test_callbacks_of_both_kinds_follow_their_order(make):
    calls = []

    class Late(Callback):
        order = 10

        def before_fit(self):
            calls.append("late")

    class Early(Callback):
        order = -5

        def before_fit(self, state):  # foveal's own form
            calls.append(f"early {state.n_epochs}")

    make().fit(1, cbs=[Late(), Early()])
    assert calls == ["early 1", "late"]


def test_a_misspelt_event_is_refused_before_training(make):
    class Typo(Callback):
        def after_bacth(self):
            pass

    learn = make()
    with pytest.raises(InputError, match="after_batch"):
        learn.fit(1, cbs=Typo())
    assert not learn.recorder.history


def test_callbacks_of_the_learner_are_called_in_every_fit(make):
    notes = Notes()
    learn = make()
    learn.add_cb(notes)
    learn.fit(1, 1e-3)
    n = len(notes.events)
    learn.fit(1, 1e-3)
    assert len(notes.events) == 2 * n
    learn.remove_cb(Notes)
    learn.fit(1, 1e-3)
    assert len(notes.events) == 2 * n


class Losses(Callback):
    """Makes the table's validation loss what it is told, epoch by epoch."""

    order = -100

    def __init__(self, losses):
        self.losses = losses

    def after_epoch(self, state):
        state.results[-1].valid_loss = self.losses[state.epoch]


def test_early_stopping_counts_epochs_without_improvement(make):
    learn = make()
    learn.fit(6, 1e-4, cbs=[Losses([3, 2, 2.5, 1.95, 1.94, 9]), c.EarlyStoppingCallback(min_delta=0.1, patience=2)])
    assert len(learn.recorder.history) == 4  # 2.5 and 1.95 are no better than 2 by more than .1
    learn.fit(2, 1e-4, cbs=c.EarlyStoppingCallback(monitor="train_loss", comp=np.greater, patience=1))
    assert len(learn.recorder.history) == 6  # a fresh fit has a best of its own, and its first epoch sets it


def test_the_rate_is_divided_on_a_plateau(make):
    rates = []

    class Rates(Callback):
        def before_epoch(self):
            rates.append(0.0)

        def after_batch(self):
            if self.training:
                rates[-1] = self.opt.hypers[-1]["lr"]

    plateau = c.ReduceLROnPlateau(patience=1, factor=10, min_lr=5e-4)
    make().fit(5, 1e-2, cbs=[Losses([1, 2, 0.5, 0.6, 0.7]), plateau, Rates()])
    assert rates == pytest.approx([1e-2, 1e-2, 1e-3, 1e-3, 5e-4])


WRONG_NUMBERS = {
    GradientClip: {"max_norm": [0, -1, "1", float("nan")]},
    EMA: {"decay": [1, -0.1, "0.9"]},
    MixUp: {"alpha": [0, -1, "0.4", None]},
    CutMix: {"alpha": [0, -1, float("inf")]},
    EarlyStopping: {"patience": [0, -1, 1.5, "3"], "min_delta": [-0.1, "0"]},
    c.EarlyStoppingCallback: {"patience": [0, 1.5], "min_delta": [-0.1]},
    c.ReduceLROnPlateau: {"factor": [0.1, 1, -2, "10"], "patience": [0], "min_delta": [-1], "min_lr": [-1e-5]},
    c.GradientAccumulation: {"n_acc": [0, 1.5, "32"]},
    c.ActivationStats: {"every": [0, -1, 1.5]},
}


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [(kind, name, value) for kind, of in WRONG_NUMBERS.items() for name, values in of.items() for value in values],
)
def test_a_number_out_of_its_bounds_is_refused_when_a_callback_is_made(kind, name, value):
    with pytest.raises(InputError, match=f"`{name}` must be a (whole )?number, .*; got {value!r}"):
        kind(**{name: value})


def test_a_plateau_is_followed_in_the_right_direction_or_refused_before_training(make):
    with pytest.raises(InputError, match="`factor` must be a number, above 1; got 0.1. The rate is divided by it"):
        c.ReduceLROnPlateau(factor=0.1)
    with pytest.raises(InputError, match="reset_on_fit=True only"):
        c.ReduceLROnPlateau(reset_on_fit=False)
    for kind in (c.ReduceLROnPlateau, c.EarlyStoppingCallback):
        with pytest.raises(InputError, match="`comp` is np.less where less is better.*got 'min'"):
            kind(comp="min")
    learn = make()
    with pytest.raises(InputError, match="Did you mean `valid_loss`"):
        learn.fit(1, 1e-3, cbs=c.ReduceLROnPlateau(monitor="vald_loss"))
    assert not learn.recorder.history


def test_the_best_weights_are_written_and_brought_back(make, tmp_path):
    kept = []

    class Keep(Callback):
        order = -50

        def after_epoch(self):
            kept.append(weights(self.learn))

    learn = make(path=tmp_path)
    learn.fit(3, 1e-2, cbs=[Losses([2, 1, 3]), Keep(), c.SaveModelCallback(fname="best")])
    assert same(weights(learn), kept[1])
    assert (tmp_path / "models" / "best.safetensors").exists()
    again = make(path=tmp_path)
    again.load("best")
    assert same(weights(again), kept[1])
    learn.fit(2, 1e-2, cbs=[Losses([2, 1]), c.SaveModelCallback(fname="each", every_epoch=True)])
    assert {f.name for f in (tmp_path / "models").glob("each*")} == {"each_0.safetensors", "each_1.safetensors"}
    with pytest.raises(InputError, match="min_delta=0"):
        c.SaveModelCallback(min_delta=0.1)


def test_accumulated_gradients_are_those_of_fewer_steps(make):
    ends = []
    for options in ({"cbs": c.GradientAccumulation(32)}, {"accumulate": 2}, {}):  # batches of 16
        learn = make()
        learn.fit(1, 1e-3, **options)
        ends.append(weights(learn))
    assert same(ends[0], ends[1])
    assert not same(ends[0], ends[2])


def test_the_csv_file_is_the_table(make, tmp_path):
    learn = make(path=tmp_path / "runs")
    logger = c.CSVLogger(fname="table.csv")
    learn.fit(2, 1e-3, cbs=logger)
    learn.fit(1, 1e-3, cbs=logger)
    table = logger.read_log()
    assert table.equals(pd.read_csv(tmp_path / "runs" / "table.csv"))
    assert list(table["valid_loss"]) == pytest.approx([r.valid_loss for r in learn.recorder.history])
    with pytest.raises(InputError, match="append"):
        c.CSVLogger(append=True)


def test_activation_stats_are_those_of_the_layers(make):
    learn, found = make(), []
    first = next(m for m in learn.model.modules() if isinstance(m, nn.Conv2d))
    first.register_forward_hook(
        lambda module, inputs, output: found.append(output.detach().double()) if module.training else None
    )
    stats = c.ActivationStats(with_hist=True)
    learn.unfreeze()
    learn.fit(1, 1e-3, cbs=stats)
    index = next(i for i, layer in enumerate(stats.layers) if layer is first)
    measured = stats.layer_stats(index)
    assert measured["mean"] == pytest.approx([float(o.mean()) for o in found], abs=1e-5)
    assert measured["std"] == pytest.approx([float(o.std(correction=0)) for o in found], abs=1e-5)
    assert measured["near_zero"] == pytest.approx([float((o.abs() <= 0.05).double().mean()) for o in found], abs=1e-5)
    assert learn.activation_stats is stats
    stats.plot_layer_stats(index)
    stats.color_dim(index)


def test_the_graph_is_drawn_when_a_fit_ends(make, monkeypatch):
    learn, drawn = make(), []
    monkeypatch.setattr(learn.recorder, "plot_loss", lambda **options: drawn.append(options))
    learn.fit(1, 1e-3, cbs=c.ShowGraphCallback)
    assert len(drawn) == 1


def test_a_name_of_a_callback_is_the_courses():
    assert c.GradientAccumulation().name == "gradient_accumulation"
    assert Notes().name == "notes"


class Kept:
    """A tracker that keeps what it is told."""

    def __init__(self):
        self.lines = []

    def log(self, values):
        self.lines.append(values)


def test_a_tracker_gets_each_step_and_each_line_of_the_table(make):
    learn, run = make(), Kept()
    learn.fit_one_cycle(2, 1e-2, cbs=WandbCallback(run))
    n = len(learn.dls.train)
    steps = [line for line in run.lines if "lr" in line]
    assert [line["epoch"] for line in steps] == pytest.approx([(at + 1) / n for at in range(2 * n)])
    assert [line["lr"] for line in steps] == pytest.approx(learn.recorder.lrs)
    table = [line for line in run.lines if "valid_loss" in line]
    assert [(line["epoch"], line["valid_loss"]) for line in table] == [
        (at + 1, result.valid_loss) for at, result in enumerate(learn.recorder.history)
    ]
    with pytest.raises(InputError, match=r"learn.report\(\)"):
        WandbCallback(run, log_preds=True)
    with pytest.raises(MissingDependencyError, match=r"foveal\[wandb\]"):
        learn.fit(1, cbs=WandbCallback())
