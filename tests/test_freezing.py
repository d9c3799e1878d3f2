"""What a user freezes or thaws by hand holds in every fit, until the learner is told to freeze or to thaw."""

import pytest
import torch
from torch import nn

from foveal.core.errors import InputError, UnknownNameError
from foveal.learner.vision import vision_learner
from foveal.training.checkpoint import Checkpoints
from foveal.training.groups import Freeze, Freezer


@pytest.fixture
def build(scene_loaders):
    def make(pretrained=False):
        learn = vision_learner(scene_loaders(num_workers=0), "test_resnet", pretrained=pretrained, seed=0)
        learn.recorder.silent = True
        return learn

    return make


def weights(module):
    return [parameter.detach().clone() for parameter in module.parameters()]


def same(one, other):
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("train", [lambda learn: learn.fit(1, 0.01), lambda learn: learn.fine_tune(1, 0.01)])
def test_what_is_frozen_by_hand_stays_frozen(build, train):
    learn = build()
    first = learn.model[0].network.conv1
    first.requires_grad_(False)
    before, rest = weights(first), weights(learn.model[1])
    train(learn)
    assert same(before, weights(first))
    assert not same(rest, weights(learn.model[1]))
    assert not any(p.requires_grad for p in first.parameters())
    learn.unfreeze()
    assert all(p.requires_grad for p in learn.model.parameters())
    learn.fit(1, 0.01)
    assert not same(before, weights(first))


def test_the_last_block_alone_trains_with_the_head(build):
    learn = build()
    learn.freeze()
    block = learn.model[0].network.layer4
    block.requires_grad_(True)
    frozen = [p for p in learn.model[0].parameters() if not p.requires_grad]
    before, of_block = [p.detach().clone() for p in frozen], weights(block)
    learn.fit(1, 0.01)
    assert frozen
    assert same(before, frozen)
    assert not same(of_block, weights(block))
    learn.freeze()
    assert not any(p.requires_grad for p in block.parameters())


def test_only_what_differs_from_what_was_applied_counts_as_set_by_hand():
    model, freezer = nn.Linear(2, 2), Freezer()
    freezer.apply(model, Freeze())
    assert freezer.by_hand == {}
    model.bias.requires_grad_(False)
    freezer.apply(model, Freeze())
    assert freezer.by_hand == {"bias": False}
    model.bias.requires_grad_(True)
    freezer.apply(model, Freeze())
    assert freezer.by_hand == {"bias": True}
    freezer.reset(model, Freeze())
    assert freezer.by_hand == {}


def test_nothing_to_train_is_refused(build):
    learn = build()
    learn.model.requires_grad_(False)
    with pytest.raises(InputError, match="every parameter has requires_grad=False"):
        learn.fit(1)


def test_the_optimizer_goes_with_what_trains(build, tmp_path, monkeypatch):
    """Its averages go by number among what trains: they are dropped where something else trains, and saved with it."""
    monkeypatch.chdir(tmp_path)
    learn = build()
    learn.fit(1)
    learn.model[0].network.conv1.requires_grad_(False)
    learn.fit(1)
    learn.save("half")
    again = build()
    again.load("half")
    assert [p.requires_grad for p in again.model.parameters()] == [p.requires_grad for p in learn.model.parameters()]
    again._training.data_epoch = 2
    for one in (learn, again):
        torch.manual_seed(0)  # dropout
        one.fit(1)
    assert same(weights(learn.model), weights(again.model))


def test_a_checkpoint_of_other_frozen_parameters_is_refused(build, tmp_path):
    learn = build()
    first = learn.model[0].network.conv1
    first.requires_grad_(False)
    learn.fit(1, cbs=Checkpoints(tmp_path))
    with pytest.raises(InputError, match="set by hand was"):
        build().fit(1, resume=tmp_path)


def test_a_refused_freeze_changes_nothing(build):
    learn = build()
    learn.freeze()
    block = learn.model[0].network.layer4
    block.requires_grad_(True)
    for n in (7, -8):
        with pytest.raises(InputError, match=r"The model has 3 groups; between 0 and 2 can be frozen"):
            learn.freeze_to(n)
    with pytest.raises(UnknownNameError, match="way to freeze normalisation `frosen`.*Did you mean `frozen`"):
        learn.freeze(norm="frosen")
    learn.fit(1, 0.01)
    frozen = [name for name, p in learn.model.named_parameters() if not p.requires_grad]
    assert frozen
    assert not any("layer4" in name for name in frozen)
