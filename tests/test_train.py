"""Training: the golden schedules, the loop and its hooks."""

import itertools
import math
import subprocess
import sys

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from foveal.core import runtime
from foveal.core.errors import InputError, TrainingError, UnknownNameError
from foveal.data.block import DataBlock
from foveal.data.image_block import ImageBlock
from foveal.data.labels import ColReader
from foveal.data.splits.splitters import ColSplitter
from foveal.geometry.resize import Resize
from foveal.learner.vision import vision_learner
from foveal.tasks.multi_label import MultiCategoryBlock
from foveal.tasks.points import Points
from foveal.tasks.single_label import SingleLabel
from foveal.tasks.vocab import Vocab
from foveal.training import loop, lr_finder
from foveal.training.callbacks.extras import EMA, CutMix, EarlyStopping, GradientClip, KeepBest, MixUp
from foveal.training.groups import Freeze
from foveal.training.hooks import EVENTS, Hooks
from foveal.training.optim import build_optimizer, set_rates
from foveal.training.schedule import constant, flat_cosine, one_cycle, rates_of
from foveal.training.state import EpochResult, FitState, SmoothLoss


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
        optimizer=build_optimizer(model, [0.05]),
        schedule=schedule or constant(),
        freeze=Freeze(),
        device=torch.device("cpu"),
        precision="fp32",
        scaler=runtime.gradient_scaler("fp32", torch.device("cpu")),
        n_epochs=n_epochs,
        steps_per_epoch=len(batches),
    )
    plan = loop.FitInputs(lambda _, first: batches[first:], lambda: batches, nn.functional.mse_loss, dict)
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
    step = ["before_step", "after_pred", "after_loss", "after_backward", "after_step"]
    valid = ["before_validate", *["after_valid_batch"] * 4, "after_validate"]
    epoch = ["before_epoch", *step * 4, *valid, "after_epoch"]
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
    assert (state.step, state.epoch, state.epochs_done, state.stop) == (5, 1, 2, "enough")


def test_wrong_hooks_are_refused():
    class Typo:
        def after_batch(self, state): ...

    with pytest.raises(InputError, match="`after_batch`, which is no event"):
        Hooks([Typo()])
    with pytest.raises(InputError, match="is no callback"):
        Hooks([object()])


def test_nothing_trains_on_nothing():
    state, plan = tiny()
    with pytest.raises(TrainingError, match="no batch"):
        loop.fit(state, loop.FitInputs(lambda _, first: [], plan.valid, plan.loss, plan.metrics), Hooks())


def test_evaluation_leaves_the_modes_alone():
    state, plan = tiny()
    state.model.train()
    state.model[1].eval()
    loop.evaluate(state.model, plan.valid(), precision="fp32", device=state.device)
    assert [m.training for m in state.model] == [True, False, True]


def test_the_optimizer_decays_weights_alone():
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    optimizer = build_optimizer(model, [0.1], wd=0.3)
    decay = {id(p): g["weight_decay"] for g in optimizer.param_groups for p in g["params"]}
    assert [decay[id(p)] for p in model.parameters()] == [0.3, 0.0, 0.0, 0.0]
    set_rates(optimizer, one_cycle()(0.0))
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.1 / 25)
    assert optimizer.param_groups[0]["betas"] == (0.95, 0.99)


def test_precision_is_checked():
    cpu = torch.device("cpu")
    assert runtime.check_precision("bf16", cpu) == "bf16"
    with pytest.raises(UnknownNameError, match="Did you mean `bf16`"):
        runtime.check_precision("bf-16", cpu)
    with pytest.raises(InputError, match="GPU"):
        runtime.check_precision("fp16", cpu)


# The learning-rate finder


def test_suggestions_on_the_golden_curve(golden):
    curve = golden["lr_suggest_curve"]
    rates, losses = np.array(curve["lrs"]), np.array(curve["losses"])
    for function in (lr_finder.valley, lr_finder.slide, lr_finder.minimum, lr_finder.steep):
        assert function(rates, losses) == pytest.approx(curve[function.__name__], rel=1e-6)
        assert function(rates.tolist(), losses.tolist()) == function(rates, losses)
        for wrong in (([], []), ([1.0], [1.0]), ([1.0, 2.0], [1.0]), ("ab", "ab"), ([[1.0, 2.0]], [[1.0, 2.0]])):
            with pytest.raises(InputError, match="takes rates and the loss at each, two at least; got"):
                function(*wrong)
    grid = lr_finder.geometric(1e-7, 10.0)
    assert grid(0.01).lr_factor == pytest.approx(golden["lr_find_grid"]["i=1"])
    assert grid(0.99).lr_factor == pytest.approx(golden["lr_find_grid"]["i=99"])


def test_the_finder_leaves_everything_as_it_was(scenes, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    frame = pd.read_csv(scenes / "scenes.csv", keep_default_na=False)
    block = DataBlock(
        (ImageBlock, MultiCategoryBlock),
        get_x=ColReader("fname", pref=scenes / "scenes"),
        get_y=ColReader("labels", label_delim=" "),
        splitter=ColSplitter(),
        item_tfms=Resize(32),
    )
    learn = vision_learner(block.dataloaders(frame, bs=16), "test_resnet", pretrained=False)
    before = {name: tensor.clone() for name, tensor in learn.model.state_dict().items()}
    random_state = torch.get_rng_state()
    rates = learn.lr_find(suggest_funcs=(lr_finder.minimum, lr_finder.steep, lr_finder.valley, lr_finder.slide))
    assert rates._fields == ("minimum", "steep", "valley", "slide")
    assert all(1e-7 <= rate <= 10 for rate in rates)
    assert len(plt.gcf().axes[0].lines) == 5
    plt.close("all")
    assert repr(learn.lr_find(show_plot=False, num_it=60)).startswith("SuggestedLRs(valley=")
    assert torch.equal(random_state, torch.get_rng_state())
    for name, tensor in learn.model.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    assert all(p.grad is None for p in learn.model.parameters())
    assert not learn.recorder.history
    assert not list(tmp_path.iterdir())
    with pytest.raises(InputError, match="both positive"):
        learn.lr_find(start_lr=0.1, end_lr=0.01)


class Note:
    """Keeps something of every step."""

    def __init__(self, what):
        self.what, self.seen = what, []

    def after_step(self, state):
        self.seen.append(self.what(state))


def test_accumulated_batches_are_one_large_one():
    """Without batch normalisation the gradients of four batches of 8 are those of one of 32."""
    results = []
    for size, accumulate in ((8, 4), (32, 1)):
        torch.manual_seed(0)
        model = nn.Linear(3, 1)
        inputs = torch.randn(32, 3)
        batches = [TinyBatch(x, x.sum(1, keepdim=True)) for x in inputs.split(size)]
        state, _ = tiny(n_epochs=3)
        state.model, state.optimizer = model, build_optimizer(model, [0.05])
        state.steps_per_epoch, state.accumulate = len(batches), accumulate
        plan = loop.FitInputs(lambda _, first, b=batches: b[first:], lambda b=batches: b, nn.functional.mse_loss, dict)
        loop.fit(state, plan, Hooks())
        results.append(model.weight.detach().clone())
    torch.testing.assert_close(*results)


def test_early_stopping_and_the_best_weights():
    state, plan = tiny(n_epochs=30)
    kept = KeepBest()
    losses = iter([5.0, 3.0, 4.0, 2.0, *[6.0] * 30])

    class Say:
        def after_epoch(self, state):
            state.results[-1].valid_loss = next(losses)
            if state.epoch == 3:
                self.weight = state.model[0].weight.detach().clone()

    say = Say()
    loop.fit(state, plan, Hooks([say, EarlyStopping(patience=5), kept]))
    assert state.epoch == 8
    assert state.stop == "valid_loss has not improved for 5 epochs"
    assert kept.epoch == 3
    assert torch.equal(state.model[0].weight, say.weight)
    with pytest.raises(UnknownNameError, match="Did you mean `valid_loss`"):
        loop.fit(tiny()[0], plan, Hooks([EarlyStopping("vald_loss")]))


def test_the_weights_of_the_start_may_be_the_best():
    state, plan = tiny(n_epochs=2)
    state.history.append(EpochResult(0, 0.0, 1e-9, {}, 0.0))
    before = state.model[0].weight.detach().clone()
    loop.fit(state, plan, Hooks([KeepBest(from_start=True)]))
    assert torch.equal(state.model[0].weight, before)


def test_gradients_are_clipped_once_a_step_of_the_optimizer():
    state, plan = tiny()
    norms = Note(lambda s: torch.stack([p.grad.norm() for p in s.model.parameters() if p.grad is not None]).norm())

    class After:
        def after_backward(self, state):
            norms.after_step(state)

    loop.fit(state, plan, Hooks([GradientClip(0.01), After()]))
    assert max(norms.seen) <= 0.01 + 1e-6


@pytest.mark.parametrize("mixer", [MixUp(seed=1), CutMix(seed=1)])
def test_mixed_batches_mix_targets_by_the_same_shares(mixer):
    """An image that is all its target: what is mixed must still be."""
    task = SingleLabel(Vocab(("a", "b", "c")))
    state, _ = tiny()
    state.mix = task.mix
    state.targets = torch.tensor([0, 1, 2, 1] * 4)
    state.inputs = torch.eye(3)[state.targets][:, :, None, None].expand(16, 3, 20, 20).contiguous()
    mixer.before_step(state)
    torch.testing.assert_close(state.inputs.mean(dim=(2, 3)), state.targets, atol=1e-6, rtol=0)
    assert ((state.targets > 0.01) & (state.targets < 0.99)).any()
    state.mix = Points().mix
    with pytest.raises(InputError, match="cannot be mixed"):
        mixer.before_step(state)


def test_an_average_of_weights_is_validated_and_kept():
    state, plan = tiny(n_epochs=3)
    seen = Note(lambda s: s.model[0].weight.detach().clone())
    loop.fit(state, plan, Hooks([seen, EMA(0.5)]))
    plain, plan = tiny(n_epochs=3)
    alone = Note(lambda s: s.model[0].weight.detach().clone())
    loop.fit(plain, plan, Hooks([alone]))
    for one, other in zip(seen.seen, alone.seen, strict=True):
        assert torch.equal(one, other)  # the weights that train do not know of it
    average = tiny()[0].model[0].weight.detach()
    for weight in alone.seen:
        average = average * 0.5 + weight * 0.5
    torch.testing.assert_close(state.model[0].weight.detach(), average)


def test_the_optimizer_steps_as_torchs_does_and_needs_no_compiler(tmp_path):
    code = """
import sys
import torch
from torch import nn
from foveal.training.optim import BETAS, EPS, build_optimizer

torch.manual_seed(0)
ours, theirs = (nn.Sequential(nn.Linear(5, 7), nn.BatchNorm1d(7), nn.Linear(7, 1)) for _ in range(2))
theirs.load_state_dict(ours.state_dict())
same = dict(zip(map(id, ours.parameters()), theirs.parameters()))
first = build_optimizer(ours, [1e-2], wd=0.1)
batches = torch.randn(20, 8, 5)
for batch in batches:
    ours(batch).pow(2).mean().backward()
    first.step()
    first.zero_grad()
kept = first.state_dict()
assert "torch._dynamo" not in sys.modules
groups = [{**group, "params": [same[id(p)] for p in group["params"]]} for group in first.param_groups]
second = torch.optim.AdamW(groups, lr=1e-2, betas=BETAS, eps=EPS, fused=True)
for batch in batches:
    theirs(batch).pow(2).mean().backward()
    second.step()
    second.zero_grad()
assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters()))
assert str(kept) == str(second.state_dict())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
