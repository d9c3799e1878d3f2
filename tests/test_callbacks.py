"""Metrics know their direction, callbacks follow it; epochs have one number; what would never work is refused first."""

import json
from functools import partial
from pathlib import Path

import pytest
import torch

from foveal.collab import ranking
from foveal.core.errors import InputError, UnknownNameError
from foveal.learner.vision import vision_learner
from foveal.metrics import common, numbers, one_label, pixels, several_labels
from foveal.metrics.common import Metric, higher_is_better, metric_name, named_metrics, takes_activated
from foveal.metrics.numbers import mae, rmse
from foveal.metrics.one_label import accuracy, expected_calibration_error
from foveal.metrics.several_labels import accuracy_multi, f1_multi, hamming_loss
from foveal.training.callbacks.extras import EMA, CutMix, EarlyStopping, GradientClip, KeepBest, MixUp
from foveal.training.callbacks.logs import CSVLogger
from foveal.training.checkpoint import FILE, Checkpoints, read, restore, write
from foveal.training.hooks import EVENTS, Callback, Hooks
from foveal.training.loop import FitInputs, fit
from test_train import tiny


@pytest.fixture
def learn(scene_loaders):
    learn = vision_learner(
        scene_loaders(num_workers=0), "test_resnet", pretrained=False, seed=0, metrics=accuracy_multi
    )
    learn.recorder.silent = True
    return learn


def cost(output, target):
    return (output.sigmoid() - target).abs().mean()


# Metrics


def test_every_metric_declares_its_direction():
    errors = {"rmse", "mae", "error_rate", "expected_calibration_error", "mean_error", "median_error"}
    errors |= {"normalised_error", "failure_rate", "hamming_loss", "label_ranking_loss", "coverage_error"}
    no_metrics = {"declare_metric", "refuse_nan", "confusion_matrix", "counts_per_class", "distances", "pair_distance"}
    no_metrics |= {"average_classes", "sweep", "nan_value", "ranked_at_k", "first_items"}
    for module in (numbers, one_label, pixels, several_labels, ranking):
        for name, function in vars(module).items():
            public = callable(function) and not isinstance(function, type) and not name.startswith("_")
            if public and getattr(function, "__module__", "").startswith("foveal.") and name not in no_metrics:
                assert higher_is_better(function) is (name not in errors), name
    assert higher_is_better(partial(accuracy_multi, thresh=0.2)) is True
    assert higher_is_better(cost) is None
    assert takes_activated(rmse)
    assert not takes_activated(accuracy_multi)


def test_a_metric_of_ones_own_is_the_function_with_a_name_and_a_direction():
    output, target = torch.randn(4, 3), torch.ones(4, 3)
    metric = Metric(cost, "mean cost", higher_is_better=False)
    assert float(metric(output, target)) == float(cost(output, target))
    assert (metric_name(metric), higher_is_better(metric), takes_activated(metric)) == ("mean cost", False, False)
    with pytest.raises(UnknownNameError, match="Did you mean `activated`"):
        Metric(cost, "cost", higher_is_better=False, takes="activate")
    with pytest.raises(UnknownNameError, match="^`takes` is 'logits' .* or 'activated' .*; got 'probs'"):
        Metric(cost, "cost", higher_is_better=False, takes="probs")


def test_two_partials_of_one_metric_have_two_names(learn):
    half, fifth = partial(f1_multi, thresh=0.5), partial(f1_multi, thresh=0.2)
    assert list(named_metrics([fifth])) == ["f1_multi"]
    assert list(named_metrics([half, fifth, accuracy_multi])) == [
        "f1_multi(thresh=0.5)",
        "f1_multi(thresh=0.2)",
        "accuracy_multi",
    ]
    assert list(named_metrics([cost, cost])) == ["cost", "cost_2"]
    learn.metrics = [half, fifth]
    learn.recorder.silent = False
    learn.fit(1)
    assert list(learn.recorder.history[0].metrics) == ["f1_multi(thresh=0.5)", "f1_multi(thresh=0.2)"]


def test_a_metric_gets_the_outputs_that_it_takes(learn):
    def largest(output, target):
        return output.max()

    learn.metrics = [
        Metric(largest, "raw", higher_is_better=True),
        Metric(largest, "activated", higher_is_better=True, takes="activated"),
    ]
    _, raw, activated = learn.validate()
    assert activated == pytest.approx(torch.tensor(raw).sigmoid().item(), abs=1e-6)
    assert takes_activated(expected_calibration_error)


def test_metrics_use_the_tuned_thresholds_as_predictions_do(learn, capsys):
    half = partial(accuracy_multi, thresh=0.5)
    learn.metrics = [accuracy_multi, half, hamming_loss]
    before = learn.validate()
    assert before[1] == before[2]
    with pytest.warns(UserWarning, match="thresholds are uncertain"):
        learn.tune_thresholds()
    learn.calibrate()
    preds, targets = learn.get_preds()
    thresholds = torch.tensor(learn.task.decision.thresholds)
    expected = float(accuracy_multi(preds, targets, thresholds, sigmoid=False))
    assert learn.validate() == [pytest.approx(v) for v in (before[0], expected, before[2], 1 - expected)]
    learn.recorder.silent = False
    learn.fit(1, 1e-9)
    assert "accuracy_multi(thresh=0.5)" in learn.recorder.history[-1].metrics
    assert "accuracy_multi, hamming_loss: at the tuned thresholds" in capsys.readouterr().out


# Directions


def run_with(values, *hooks, name="rmse", metric=rmse):
    """A fit whose epochs have these values of a metric."""
    state, inputs = tiny(n_epochs=len(values))
    left = iter(values)
    valued = Metric(lambda o, t: next(left), name, higher_is_better(metric))
    inputs = FitInputs(inputs.train, inputs.valid, inputs.loss, lambda: {name: valued})
    lines = []
    state.say = lines.append
    fit(state, inputs, Hooks(hooks))
    return state, lines


@pytest.mark.parametrize(("metric", "best"), [(rmse, 1), (mae, 1), (accuracy, 2), (accuracy_multi, 2)])
def test_the_best_epoch_is_best_by_the_metrics_own_direction(metric, best):
    kept = KeepBest(metric.__name__)
    _, lines = run_with([2.0, 1.0, 3.0, 2.5], kept, name=metric.__name__, metric=metric)
    assert kept.epoch == best
    assert lines == [f"KeepBest ended with the weights of epoch {best}: {metric.__name__} {kept.best:.6g}."]


def test_stopping_follows_the_metrics_own_direction_and_says_what_it_did():
    state, lines = run_with([3.0, 2.0, 2.5, 2.6, 1.0], EarlyStopping("rmse", patience=2))
    assert (state.epoch, state.stop) == (3, "rmse has not improved for 2 epochs")
    assert lines == ["EarlyStopping stopped after epoch 3; the best rmse was 2, at epoch 1."]
    _, lines = run_with([3.0, 2.0, 1.0], EarlyStopping("rmse"))
    assert lines == ["EarlyStopping did not stop the fit; the best rmse was 1, at epoch 2."]


def test_a_stopping_callback_forgets_an_earlier_fit():
    stopping = EarlyStopping("rmse", patience=2)
    run_with([1.0, 2.0, 3.0, 4.0], stopping)
    state, _ = run_with([9.0, 8.0, 7.0], stopping)
    assert state.stop is None


@pytest.mark.parametrize("callback", [EarlyStopping, KeepBest])
def test_what_to_monitor_is_refused_before_training(callback, learn):
    with pytest.raises(UnknownNameError, match=r"no mode `smaller`.*Did you mean `min`"):
        callback("valid_loss", mode="smaller")
    with pytest.raises(UnknownNameError, match="no mode `mx`"):
        callback("valid_loss", mode="mx")
    with pytest.raises(UnknownNameError, match="Did you mean `accuracy_multi`"):
        learn.fit(1, cbs=callback("acuracy_multi"))
    learn.metrics = cost
    with pytest.raises(InputError, match="Whether a higher `cost` is better is not known: give mode='min'"):
        learn.fit(1, cbs=[callback("cost")])
    assert not learn.recorder.history
    learn.fit(1, cbs=callback("cost", mode="min"))
    learn.metrics = Metric(cost, "my cost", higher_is_better=False)
    learn.fit(1, cbs=(kept for kept in [callback("my cost")]))


def test_a_monitor_is_refused_before_the_probe(scene_loaders, monkeypatch):
    learn = vision_learner(scene_loaders(num_workers=0), "test_resnet", pretrained=False, head="linear")
    monkeypatch.setattr(type(learn), "probe", lambda _: pytest.fail("the probe ran"))
    with pytest.raises(UnknownNameError, match="value to monitor `los`"):
        learn.fine_tune(1, probe=True, cbs=KeepBest("los"))


# The base class


def test_the_base_class_documents_every_event():
    assert [name for name in vars(Callback) if name.startswith(("before", "after"))] == list(EVENTS)
    assert all(getattr(Callback, name).__doc__ for name in EVENTS)


def test_a_callback_is_called_at_what_it_overrides():
    class Ends(Callback):
        def after_step(self, state):
            if state.step == 3:
                state.stop = "three steps are enough"

    state, inputs = tiny()
    hooks = Hooks([Ends()])
    assert [event for event in EVENTS if hooks._listeners[event]] == ["after_step"]
    fit(state, inputs, hooks)
    assert (state.step, state.stop) == (3, "three steps are enough")
    with pytest.raises(InputError, match="is no callback"):
        Hooks([Callback()])

    class Typo(Callback):
        def after_epochs(self, state): ...

    with pytest.raises(InputError, match=r"`after_epochs`, which is no event\. Did you mean `after_epoch`"):
        Hooks([Typo()])


def test_callbacks_print_as_one_line_with_their_arguments(tmp_path):
    kept = KeepBest("rmse")
    stopping = EarlyStopping("rmse", patience=2)
    state, _ = run_with([1.0, 2.0], kept, stopping, average := EMA(0.5))
    assert repr(kept) == "KeepBest(monitor='rmse', mode=None, from_start=False)"
    assert repr(stopping) == "EarlyStopping(monitor='rmse', patience=2, min_delta=0.0, mode=None)"
    assert repr(average) == "EMA(decay=0.5)"
    assert repr(Checkpoints("run")) == "Checkpoints('run', every_seconds=120.0)"
    assert repr(state) == "FitState(epoch 1 of 2, step 8 of 8)"
    for callback in (GradientClip(), MixUp(), CutMix(), CSVLogger()):
        assert len(repr(callback)) < 80
        assert isinstance(callback, Callback)


# One number of an epoch


class Numbers(Callback):
    def __init__(self):
        self.seen = []

    def _note(self, state):
        self.seen.append(state.epoch)

    before_fit = before_epoch = before_step = after_step = after_epoch = after_fit = _note


def test_an_epoch_has_the_number_of_the_table_in_every_event():
    state, inputs = tiny(n_epochs=2)
    numbers_seen = Numbers()
    fit(state, inputs, Hooks([numbers_seen]))
    assert numbers_seen.seen == [0, *[0] * 10, *[1] * 10, 1]
    assert [result.epoch for result in state.results] == [0, 1]
    assert (state.epoch, state.epochs_done, state.data_epoch) == (1, 2, 1)


def test_a_checkpoint_at_the_end_of_an_epoch_resumes_with_the_next(tmp_path):
    state, inputs = tiny(n_epochs=3)
    state.epochs_before = 5
    positions = []

    class Keep(Callback):
        def after_epoch(self, state):
            write(tmp_path / FILE, state)
            positions.append({name: read(tmp_path).position[name] for name in ("epoch", "data_epoch", "step")})

    fit(state, inputs, Hooks([Keep()]))
    assert positions == [{"epoch": n, "data_epoch": 5 + n, "step": 4 * n} for n in (1, 2, 3)]
    again, _ = tiny(n_epochs=3)
    restore(read(tmp_path), again)
    assert (again.epoch, again.epochs_done, again.epochs_before, again.data_epoch) == (2, 3, 5, 7)


# State


class Counter:
    """By the protocol of version 0.1."""

    def __init__(self):
        self.total, self.steps = torch.zeros(2), 0

    def after_step(self, state):
        self.total, self.steps = self.total + 1, self.steps + 1

    def tensors(self):
        return {"total": self.total}

    def values(self):
        return {"steps": self.steps}

    def restore(self, tensors, values):
        self.total, self.steps = tensors["total"], values["steps"]


class NewCounter(Counter):
    def state_dict(self):
        return {"total": self.total, "steps": self.steps}

    def load_state_dict(self, state):
        self.total, self.steps = state["total"], state["steps"]


def test_state_goes_by_torchs_protocol_and_for_one_version_by_the_old_one(tmp_path):
    state, inputs = tiny()
    old = Counter()
    fit(state, inputs, Hooks([old]))
    with pytest.warns(DeprecationWarning, match="Counter has `tensors`, `values` and `restore`.*`load_state_dict`"):
        write(tmp_path / FILE, state, [old])
    again = Counter()
    with pytest.warns(DeprecationWarning, match="go with the next version"):
        restore(read(tmp_path), tiny()[0], [again])
    assert (again.total.tolist(), again.steps) == ([8.0, 8.0], 8)
    stored = read(tmp_path)
    assert set(stored.part("hook/0-Counter")) == {"total"}
    assert stored.position["hooks"] == {"0-Counter": {"steps": 8}}
    new = NewCounter()
    write(tmp_path / FILE, state, [new])  # a warning would be an error
    restore(read(tmp_path), tiny()[0], [new])


def test_a_checkpoint_of_version_0_1_still_loads(tmp_path):
    """Its best weights had no prefix, its stopping no best epoch; names within the file are the same."""
    state, inputs = tiny()
    kept, stopping = KeepBest(), EarlyStopping()
    fit(state, inputs, Hooks([kept, stopping]))
    weights = {f"hook/0-KeepBest/{name}": tensor for name, tensor in kept._weights.items()}
    write(tmp_path / FILE, state, [kept, stopping])
    stored = read(tmp_path)
    position = json.loads(json.dumps(dict(stored.position)))
    assert {"version", "scaler", "count", "phase", "data_epoch", "epoch", "step", "stop", "plan"} <= set(position)
    tensors = {name: t for name, t in stored.tensors.items() if not name.startswith("hook/0-KeepBest")} | weights
    del position["hooks"]["1-EarlyStopping"]["best_epoch"]
    again, fresh = KeepBest(), EarlyStopping()
    restore(type(stored)(stored.path, tensors, position), tiny()[0], [again, fresh])
    assert (again.epoch, again.best) == (kept.epoch, kept.best)
    assert all(torch.equal(again._weights[name], tensor) for name, tensor in kept._weights.items())
    assert fresh._best == stopping._best


def test_old_names_of_the_state_warn():
    state, _ = tiny()
    for old, new in (("plan", "run_fingerprint"), ("asked", "signal")):
        with pytest.warns(DeprecationWarning, match=f"`FitState.{old}` is now `{new}`"):
            assert getattr(state, old) == getattr(state, new)


def test_loaders_in_order(scene_loaders):
    loader = scene_loaders(num_workers=0).train.in_order()
    assert [at for group in loader.groups(3) for at in group] == list(range(loader.n))
    assert (loader.shuffle, loader.drop_last) == (False, False)


def test_an_unknown_direction_is_refused_where_it_is_needed():
    with pytest.raises(InputError, match=r"Whether a higher `cost` is better is not known. Wrap the function: Metric"):
        common.require_direction(cost, "cost")
    assert common.require_direction(partial(rmse), "rmse") is False


def test_a_checkpoint_that_version_0_1_wrote_resumes():
    """It was written by that version after 6 of 12 steps, with gradients that wait for their step."""
    ends = []
    for stored in (None, read(Path(__file__).parent / "golden" / "checkpoint-0.1.safetensors")):
        state, inputs = tiny(n_epochs=3)
        state.accumulate, state.run_fingerprint = 3, {"epochs": 3}
        hooks = [EMA(0.5), KeepBest(), EarlyStopping()]
        if stored is not None:
            restore(stored, state, hooks)
            assert (state.step, state.epoch, state.epochs_done, hooks[1].epoch) == (6, 1, 1, 0)
        fit(state, inputs, Hooks(hooks))
        ends.append((state, hooks))
    (whole, _), (resumed, _) = ends
    for one, other in zip(whole.model.parameters(), resumed.model.parameters(), strict=True):
        torch.testing.assert_close(one, other)
    assert [r.valid_loss for r in resumed.results] == pytest.approx([r.valid_loss for r in whole.results])
    assert [r.epoch for r in resumed.results] == [0, 1, 2]
