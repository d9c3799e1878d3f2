"""Training: the golden schedules, the loop and its hooks."""

import itertools
import math

import pytest
import torch
from torch import nn

from foveal import runtime
from foveal.errors import InputError, TrainingError, UnknownNameError
from foveal.train import loop
from foveal.train.groups import Freeze
from foveal.train.hooks import EVENTS, Hooks
from foveal.train.optim import adamw, follow
from foveal.train.schedule import constant, flat_cosine, one_cycle, rates_of
from foveal.train.state import FitState, SmoothLoss


def sequence(schedule, n=12):
    points = [schedule(k / n) for k in range(n)]
    return [p.lr_factor for p in points], [p.momentum for p in points]


def test_one_cycle_is_the_books_to_the_digit(golden):
    lrs, moms = sequence(one_cycle())
    assert lrs == pytest.approx(golden["onecycle_lr_pct0.25_div25_final1e5_N12"], abs=1e-6)
    assert moms == pytest.approx(golden["onecycle_mom_N12"], abs=1e-6)
    first, _ = sequence(one_cycle(pct_start=0.99))
    assert first == pytest.approx(golden["finetune_phase1_lr_pct0.99_div25_N12"], abs=1e-6)
    second, _ = sequence(one_cycle(pct_start=0.3, div=5.0))
    assert second == pytest.approx(golden["finetune_phase2_lr_pct0.3_div5_N12"], abs=1e-6)


def test_flat_cosine_is_flat_then_falls():
    lrs, moms = sequence(flat_cosine(), 100)
    assert lrs[:76] == [1.0] * 76
    assert all(a > b for a, b in itertools.pairwise(lrs[75:]))
    assert moms == [None] * 100
    with pytest.raises(InputError, match="pct_start"):
        one_cycle(pct_start=0)


def test_rates_of_groups(golden):
    assert rates_of(slice(1e-6, 1e-4), 3) == pytest.approx(golden["even_mults"]["slice(1e-6,1e-4),3"])
    assert rates_of(slice(1e-2), 3) == pytest.approx([1e-3, 1e-3, 1e-2])
    assert rates_of(0.1, 2) == [0.1, 0.1]
    assert rates_of([1, 2], 2) == [1.0, 2.0]
    for wrong, message in (([1.0], "one for each of the 3 groups"), (-1.0, "positive"), (slice(None), "slice")):
        with pytest.raises(InputError, match=message):
            rates_of(wrong, 3)


def test_the_smoothed_loss_is_debiased():
    smooth = SmoothLoss()
    assert math.isnan(smooth.value)
    total = 0.0
    for step, loss in enumerate((3.0, 1.0, 2.0), start=1):
        smooth.add(torch.tensor(loss))
        total = 0.98 * total + 0.02 * loss
        assert smooth.value == pytest.approx(total / (1 - 0.98**step), rel=1e-5)


class TinyBatch:
    def __init__(self, inputs, targets):
        self.inputs, self.targets, self.indices = inputs, targets, range(len(inputs))


def tiny(n_epochs=2, schedule=None):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
    inputs = torch.randn(32, 3)
    batches = [TinyBatch(x, x.sum(1, keepdim=True)) for x in inputs.split(8)]
    state = FitState(
        model=model,
        optimizer=adamw(model, [0.05]),
        schedule=schedule or constant(),
        freeze=Freeze(),
        device=torch.device("cpu"),
        precision="fp32",
        scaler=runtime.gradient_scaler("fp32", torch.device("cpu")),
        n_epochs=n_epochs,
        steps_per_epoch=len(batches),
    )
    plan = loop.Plan(lambda _, first: batches[first:], lambda: batches, nn.functional.mse_loss, dict)
    return state, plan


class Diary:
    def __init__(self):
        self.events = []

    def __getattr__(self, name):
        if name not in EVENTS:
            raise AttributeError(name)
        return lambda _: self.events.append(name)

    def __dir__(self):
        return list(EVENTS)


def test_hooks_see_every_event_in_order():
    state, plan = tiny()
    diary = Diary()
    loop.fit(state, plan, Hooks([diary]))
    step = ["before_step", "after_loss", "after_backward", "after_step"]
    epoch = ["before_epoch", *step * 4, "after_epoch"]
    assert diary.events == ["before_fit", *epoch * 2, "after_fit"]


def test_training_learns_and_records():
    state, plan = tiny(n_epochs=40)
    loop.fit(state, plan, Hooks())
    assert state.results[-1].valid_loss < 0.05 * state.results[0].valid_loss
    assert [r.epoch for r in state.results] == list(range(40))


def test_a_hook_stops_by_saying_why():
    class Stop:
        def after_step(self, state):
            if state.step == 5:
                state.stop = "enough"

    state, plan = tiny(n_epochs=9)
    loop.fit(state, plan, Hooks([Stop()]))
    assert (state.step, state.epoch, state.stop) == (5, 2, "enough")


def test_wrong_hooks_are_refused():
    class Typo:
        def after_batch(self, state): ...

    with pytest.raises(InputError, match="`after_batch`, which is no event"):
        Hooks([Typo()])
    with pytest.raises(InputError, match="is no hook"):
        Hooks([object()])


def test_nothing_trains_on_nothing():
    state, plan = tiny()
    with pytest.raises(TrainingError, match="no batch"):
        loop.fit(state, loop.Plan(lambda _: [], plan.valid, plan.loss, plan.metrics), Hooks())


def test_evaluation_leaves_the_modes_alone():
    state, plan = tiny()
    state.model.train()
    state.model[1].eval()
    loop.evaluate(state.model, plan.valid(), precision="fp32", device=state.device)
    assert [m.training for m in state.model] == [True, False, True]


def test_the_optimizer_decays_weights_alone():
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    optimizer = adamw(model, [0.1], wd=0.3)
    decay = {id(p): g["weight_decay"] for g in optimizer.param_groups for p in g["params"]}
    assert [decay[id(p)] for p in model.parameters()] == [0.3, 0.0, 0.0, 0.0]
    follow(optimizer, one_cycle()(0.0))
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.1 / 25)
    assert optimizer.param_groups[0]["betas"] == (0.95, 0.99)


def test_precision_is_checked():
    cpu = torch.device("cpu")
    assert runtime.check_precision("bf16", cpu) == "bf16"
    with pytest.raises(UnknownNameError, match="Did you mean `bf16`"):
        runtime.check_precision("bf-16", cpu)
    with pytest.raises(InputError, match="GPU"):
        runtime.check_precision("fp16", cpu)
