"""The course's optimizers step as their papers and torch say; what ends in log-probabilities is activated by its loss."""

import subprocess
import sys
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from foveal.core.errors import InputError
from foveal.course.callbacks import ProgressCallback, TerminateOnNaNCallback
from foveal.course.splits import EndSplitter
from foveal.data.block import DataBlock
from foveal.data.image_block import ImageBlock
from foveal.geometry.resize import Resize
from foveal.learner.learner import Learner
from foveal.tasks.single_label import CategoryBlock
from foveal.training.optim import SGD, Adam, OptimWrapper, RMSProp, build_optimizer, ranger

X = torch.randn(8, 5, generator=torch.Generator().manual_seed(0))


def after_steps(build, n, *, seed=1):
    """Return a weight after n steps on a fixed loss."""
    weight = nn.Parameter(torch.randn(5, generator=torch.Generator().manual_seed(seed)))
    optimizer = build([{"params": [weight]}])
    for _ in range(n):
        ((X @ weight) ** 2).mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    return weight.detach()


def decayed(optimizer, lr, wd, **options):
    """Return torch's optimizer, whose weights shrink by lr * wd before each step."""

    class Apart(optimizer):
        def step(self, closure=None):
            with torch.no_grad():
                for group in self.param_groups:
                    for parameter in group["params"]:
                        parameter.mul_(1 - lr * wd)
            return super().step(closure)

    return partial(Apart, lr=lr, **options)


def test_adam_is_torchs_adamw():
    ours = after_steps(partial(Adam, lr=0.01, mom=0.9, sqr_mom=0.99, eps=1e-5, wd=0.1), 7)
    theirs = after_steps(partial(torch.optim.AdamW, lr=0.01, betas=(0.9, 0.99), eps=1e-5, weight_decay=0.1), 7)
    assert torch.allclose(ours, theirs, atol=1e-7)


@pytest.mark.parametrize("optimizer", [Adam, SGD, RMSProp, ranger])
def test_parameters_are_one_group_however_they_are_given(optimizer):
    model = nn.Linear(3, 2)
    names = ("weight", "bias")
    forms = [
        model.parameters(),
        list(model.parameters()),
        [{"params": model.parameters()}],
        [{"params": list(model.parameters()), "lr": 0.1}],
        model.named_parameters(),
    ]
    for form in forms:
        (group,) = optimizer(form, lr=0.1).param_groups
        assert all(ours is getattr(model, name) for ours, name in zip(group["params"], names, strict=True))
        assert group["lr"] == 0.1
    both = optimizer([{"params": model.weight, "lr": 0.2}, {"params": [model.bias]}], lr=0.1)
    assert [group["lr"] for group in both.param_groups] == [0.2, 0.1]
    for nothing in ([], [{"params": []}], [{"lr": 0.1}], nn.Parameter(torch.ones(1))):
        with pytest.raises(InputError, match="`params` is a list of parameters"):
            optimizer(nothing)


@pytest.mark.parametrize("optimizer", [Adam, SGD, RMSProp, ranger])
@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("lr", [-1, "0.1", None, float("nan")]),
        ("mom", [-0.1, 1, "0.9"]),
        ("sqr_mom", [1.5, -1]),
        ("eps", [-1]),
        ("wd", [-1]),
    ],
)
def test_numbers_of_an_optimizer_are_in_their_bounds(optimizer, name, values):
    if optimizer is SGD and name in {"sqr_mom", "eps"}:
        return
    for value in values:
        with pytest.raises(InputError, match=f"`{name}` must be a number, at least 0.*got {value!r}"):
            optimizer(nn.Linear(2, 2).parameters(), **{name: value})


def test_what_a_fit_builds_is_checked_too():
    with pytest.raises(InputError, match="`wd` must be a number, at least 0; got -1"):
        build_optimizer(nn.Linear(2, 2), [0.1], wd=-1)
    with pytest.raises(InputError, match="`opt` is a class of torch's optimizers.*got 3"):
        OptimWrapper(nn.Linear(2, 2).parameters(), opt=3)


def test_no_optimizer_waits_for_what_compiles():
    """The import of `torch._dynamo` takes longer than many a small fit."""
    code = """
import sys, torch
from foveal.training import optim
for name in ("Adam", "SGD", "RMSProp", "ranger"):
    weight = torch.nn.Parameter(torch.ones(2))
    opt = getattr(optim, name)([weight], lr=0.1)
    weight.sum().backward()
    opt.step()
    opt.zero_grad()
    opt.load_state_dict(opt.state_dict())
    assert "torch._dynamo" not in sys.modules, name
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_closure_is_called_with_gradients():
    for build in (Adam, SGD, RMSProp, ranger):
        weight = nn.Parameter(torch.ones(1))
        optimizer = build([weight], lr=0.1)

        def closure(weight=weight, optimizer=optimizer):
            optimizer.zero_grad()
            loss = (3 * weight).sum()
            loss.backward()
            return loss

        assert float(optimizer.step(closure).detach()) == 3
        assert float(weight.detach()) < 1


@pytest.mark.parametrize("mom", [0.0, 0.9])
def test_sgd_and_rmsprop_decay_weights_apart_from_the_gradient(mom):
    ours = after_steps(partial(SGD, lr=0.1, mom=mom, wd=0.2), 5)
    assert torch.allclose(ours, after_steps(decayed(torch.optim.SGD, 0.1, 0.2, momentum=mom), 5), atol=1e-7)
    ours = after_steps(partial(RMSProp, lr=0.01, mom=mom, sqr_mom=0.9, wd=0.2), 5)
    theirs = after_steps(decayed(torch.optim.RMSprop, 0.01, 0.2, momentum=mom, alpha=0.9), 5)
    assert torch.allclose(ours, theirs, atol=1e-7)


@pytest.mark.parametrize("n", [5, 6, 7, 12])
def test_ranger_is_rectified_adam_that_goes_halfway_back_every_six_steps(n):
    options = {"lr": 0.05, "betas": (0.95, 0.99), "eps": 1e-6, "weight_decay": 0.01, "decoupled_weight_decay": True}
    weight = nn.Parameter(torch.randn(5, generator=torch.Generator().manual_seed(1)))
    slow = weight.detach().clone()
    optimizer = torch.optim.RAdam([weight], **options)
    for step in range(1, n + 1):
        ((X @ weight) ** 2).mean().backward()
        optimizer.step()
        optimizer.zero_grad()
        if step % 6 == 0:
            slow = slow + 0.5 * (weight.detach() - slow)
            with torch.no_grad():
                weight.copy_(slow)
    assert torch.allclose(after_steps(partial(ranger, lr=0.05), n), weight.detach(), atol=1e-6)


def test_any_optimizer_of_torch_is_built_with_its_options():
    model = nn.Linear(3, 2)
    optimizer = build_optimizer(model, [0.5], wd=0.1, opt_func=partial(OptimWrapper, opt=torch.optim.NAdam, eps=1e-3))
    assert isinstance(optimizer, torch.optim.NAdam)
    assert [(g["lr"], g["weight_decay"], g["eps"]) for g in optimizer.param_groups] == [
        (0.5, 0.1, 1e-3),
        (0.5, 0.0, 1e-3),
    ]
    with pytest.raises(InputError, match="builds an optimizer"):
        build_optimizer(model, [0.5], opt_func=lambda groups, lr: model)


def test_log_probabilities_are_answered_as_probabilities():
    images = [np.random.default_rng(i).integers(0, 256, (8, 8, 3), dtype=np.uint8) for i in range(16)]
    block = DataBlock((ImageBlock, CategoryBlock), get_x=lambda i: images[i], get_y=lambda i: i % 2,
                      splitter=EndSplitter(0.25), item_tfms=Resize(8))  # fmt: skip
    dls = block.dataloaders(list(range(16)), bs=4)
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 2), nn.LogSoftmax(dim=1))
    learn = Learner(dls, model, loss_func=nn.NLLLoss())
    assert learn.add_cbs([ProgressCallback, TerminateOnNaNCallback()]) is learn
    with learn.no_mbar():
        learn.fit(1, 1e-3)
    probabilities, targets = learn.get_preds()
    x, _ = dls.valid.one_batch()
    with torch.no_grad():
        assert torch.allclose(probabilities, model(x).exp(), atol=1e-6)
    assert torch.allclose(learn.predict(images[12]).values, probabilities[0], atol=1e-6)
    assert learn.validate()[0] == pytest.approx(
        float(-probabilities.gather(1, targets[:, None]).log().mean()), abs=1e-5
    )
