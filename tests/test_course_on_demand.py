"""Names of the course that the star leaves out come where a cell reads them, and nowhere else; hooks keep what they say."""

import pytest
import torch
from torch import nn

import foveal.vision.all as star
from foveal.course import names
from foveal.course.hooks import Hook, hook_output, hook_outputs
from foveal.course.models import apply_init
from foveal.course.names import DihedralItem, FlipItem
from foveal.course.on_demand import bring, bring_names_on_demand
from foveal.geometry.moves import Dihedral, Flip


def brought(source, **names):
    namespace = dict.fromkeys(star.__all__) | names
    return dict(bring(source, namespace)), namespace


def test_a_name_that_a_cell_reads_is_brought():
    found, namespace = brought("apply_init(model)\nimage = FlipItem(p=0.5)")
    assert found == {"apply_init": "foveal.course.models", "FlipItem": "foveal.course.names"}
    assert namespace["apply_init"] is apply_init
    assert brought("class A(Callback):\n    def f(self):\n        return KeepBest()")[0] == {
        "KeepBest": "foveal.vision.all"
    }


@pytest.mark.parametrize(
    "source",
    [
        "apply_init = 3\nprint(apply_init)",
        "def apply_init(m): ...\napply_init(2)",
        "from torch.nn.init import kaiming_normal_ as apply_init\napply_init(3)",
        "def f(apply_init): return apply_init",
        "noop(1)",
        "course, annotations, TYPE_CHECKING, __name__",
        "unet_learner, wibble, print",
        "this is no Python apply_init",
    ],
)
def test_what_is_defined_or_not_the_courses_is_left_alone(source):
    assert brought(source)[0] == {}


def test_a_users_own_name_stays():
    assert brought("apply_init(1)", apply_init=print)[1]["apply_init"] is print


def test_outside_a_notebook_nothing_is_registered():
    assert bring_names_on_demand() is False


def test_hooks_keep_what_modules_return_and_their_gradients():
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    x = torch.randn(5, 3)
    with (
        hook_output(model[0]) as hook,
        hook_outputs([model[0], model[1]]) as both,
        hook_output(model[2], grad=True) as back,
    ):
        output = model(x)
        output.sum().backward()
    assert torch.equal(hook.stored, model[0](x).detach())
    assert torch.equal(both.stored[1], model[0](x).relu().detach())
    assert torch.equal(back.stored[0], torch.ones(5, 2))
    kept = hook.stored
    model(torch.zeros(5, 3))
    assert hook.stored is kept
    assert hook.removed
    counted = Hook(model[1], lambda module, inputs, outputs: (type(module), float((outputs > 0).float().mean())))
    model(x)
    assert counted.stored == (nn.ReLU, float((model[0](x) > 0).float().mean()))
    counted.remove()


def test_second_names_are_the_same_things():
    assert isinstance(FlipItem(p=0.25), Flip)
    assert FlipItem(p=0.25).p == 0.25
    assert isinstance(DihedralItem(), Dihedral)
    names.test_eq(torch.ones(2), torch.ones(2))
    names.test_eq([1, 2], [1, 2])
    with pytest.raises(AssertionError, match="=="):
        names.test_eq(torch.ones(2), torch.zeros(2))
