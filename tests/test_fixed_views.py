"""Views: a frozen body sees each drawn image once, and the head is trained on what it returned."""

import pytest
import torch

from foveal.core.errors import InputError
from foveal.training.checkpoint import Checkpoints
from foveal.vision.all import *


@pytest.fixture
def photos(tmp_path):
    """Return a table of drawn discs on noise, the colour being the label."""
    rows = []
    for at in range(26):
        rng = np.random.default_rng(at)
        pixels = rng.integers(0, 90, (40, 52, 3), dtype=np.uint8)
        pixels[10:30, 10 + at % 9 : 30 + at % 9, at % 2] = 230
        Image.fromarray(pixels).save(tmp_path / f"{at}.png")
        rows.append((str(tmp_path / f"{at}.png"), ("red", "green")[at % 2], at % 4 == 0))
    return pd.DataFrame(rows, columns=["fname", "label", "is_valid"])


def learner(photos, sampling="uniform", **options):
    block = DataBlock(
        (ImageBlock, CategoryBlock),
        get_x=ColReader("fname"),
        get_y=ColReader("label"),
        splitter=ColSplitter(),
        item_tfms=RandomResizedCrop(32, min_scale=0.5),
        batch_tfms=aug_transforms(),
    )
    dls = block.dataloaders(photos, bs=8, seed=3, sampling=sampling)
    torch.manual_seed(1)  # the body has random weights
    learn = vision_learner(dls, "test_resnet", pretrained=False, seed=0, **options)
    learn.freeze()
    return learn


class Counting:
    """Counts the images that a body sees."""

    def __init__(self, learn):
        self.n = 0
        learn.model.body.register_forward_hook(self)

    def __call__(self, module, inputs, output):
        self.n += len(inputs[0])


def trained(learn, n_epochs, **options):
    torch.manual_seed(5)
    with learn.no_logging():
        learn.fit_one_cycle(n_epochs, 1e-2, **options)
    return {name: tensor.clone() for name, tensor in learn.model.state_dict().items()}, learn.recorder.history


@pytest.mark.parametrize("sampling", ["uniform", "balanced"])
def test_with_a_view_for_each_epoch_a_fit_is_the_plain_one_to_the_bit(photos, sampling):
    plain, plain_table = trained(learner(photos, sampling), 3)
    viewed, table = trained(learner(photos, sampling), 3, views=3)
    assert all(torch.equal(plain[name], viewed[name]) for name in plain)
    assert [(one.train_loss, one.valid_loss) for one in table] == [
        (one.train_loss, one.valid_loss) for one in plain_table
    ]


def test_the_body_sees_each_view_and_each_validation_image_once(photos):
    learn = learner(photos)
    counting = Counting(learn)
    trained(learn, 7, views=2)
    assert counting.n == 2 * learn.dls.train.n + learn.dls.valid.n
    assert len(learn.recorder.history) == 7


def test_later_epochs_are_those_of_the_views_in_another_order(photos):
    seen = []

    class Note(Callback):
        def before_step(self, state):
            seen.append((state.epoch, tuple(state.indices), state.inputs.sum(dim=1)))

    trained(learner(photos), 4, views=2, cbs=Note())
    by_epoch = [
        {i: round(float(v), 4) for e, at, values in seen if e == epoch for i, v in zip(at, values, strict=True)}
        for epoch in range(4)
    ]
    assert len(by_epoch[0]) == 16  # two batches of eight; the other three images are left out, others in each epoch
    for later, view in ((2, 0), (3, 1)):
        shared = by_epoch[later].keys() & by_epoch[view].keys()
        assert shared
        assert all(by_epoch[later][i] == by_epoch[view][i] for i in shared)
        assert list(by_epoch[later]) != list(by_epoch[view])


@pytest.mark.parametrize("stop_after", [2, 3, 5, 9])
def test_a_fit_with_views_resumes_to_the_bit(photos, tmp_path, stop_after):
    whole, _ = trained(learner(photos), 5, views=2)

    class Stop(Callback):
        def after_step(self, state):
            if state.step == stop_after:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained(learner(photos), 5, views=2, cbs=[Checkpoints(tmp_path, every_seconds=0), Stop()])
    resumed, _ = trained(learner(photos), 5, views=2, resume=tmp_path)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    with pytest.raises(InputError, match="views"):
        trained(learner(photos), 5, views=3, resume=tmp_path)


def test_fine_tune_takes_views_for_its_first_part(photos):
    learn = learner(photos)
    counting = Counting(learn)
    with learn.no_logging():
        learn.fine_tune(1, freeze_epochs=5, views=1)
    whole_epoch = len(learn.dls.train) * 8 + learn.dls.valid.n
    assert counting.n == learn.dls.train.n + learn.dls.valid.n + whole_epoch


def test_views_are_refused_where_the_body_moves_or_images_are_mixed(photos):
    learn = learner(photos)
    with pytest.raises(InputError, match="MixUp mixes images"):
        trained(learn, 1, views=1, cbs=MixUp())
    with pytest.raises(InputError, match="at least one view; got views=0"):
        trained(learn, 1, views=0)
    with pytest.raises(InputError, match="freeze_epochs is 0"):
        learn.fine_tune(1, freeze_epochs=0, views=1)
    next(learn.model.body.parameters()).requires_grad_(True)
    with pytest.raises(InputError, match="the body changes"):
        trained(learn, 1, views=1)
    learn.unfreeze()
    with pytest.raises(InputError, match=r"learn.freeze\(\)"):
        trained(learn, 1, views=1)
    with pytest.raises(InputError, match="a probe fits the head at once"):
        learner(photos, recipe="best").fine_tune(1, views=1)


def test_features_that_memory_does_not_hold_are_refused(photos, monkeypatch):
    monkeypatch.setattr("foveal.core.runtime.free_memory", lambda _: 1000.0)
    with pytest.raises(InputError, match="take fewer `views`"):
        trained(learner(photos), 2, views=1)
