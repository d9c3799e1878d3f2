"""Losses with weights per class are torch's, and the loss of an item is that of training."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from foveal.core.errors import InputError, UnknownNameError
from foveal.course.losses import (
    BCELossFlat,
    FocalLoss,
    L1LossFlat,
    LabelSmoothingCrossEntropy,
    LabelSmoothingCrossEntropyFlat,
)
from foveal.learner.vision import vision_learner
from foveal.losses import (
    IGNORED,
    BCEWithLogitsLossFlat,
    CrossEntropyLossFlat,
    FocalLossFlat,
    HuberLossFlat,
    MSELossFlat,
    WingLossFlat,
    asymmetric_loss,
    binary_cross_entropy,
    cross_entropy,
    focal_loss,
    huber_loss,
    wing_loss,
)
from foveal.tasks.single_label import CategoryBlock
from foveal.training.checked_loss import checked_loss

WEIGHT = torch.tensor([0.2, 1.0, 3.0])
WEIGHTED = [CrossEntropyLossFlat, BCEWithLogitsLossFlat, FocalLossFlat, BCELossFlat]
SOME = torch.zeros(2, 3), torch.zeros(2, 3)


@pytest.fixture
def scores():
    torch.manual_seed(0)
    return torch.randn(12, 3)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_weighted_cross_entropy_is_torchs(scores, reduction, smoothing):
    target = torch.arange(12) % 3
    target[4] = IGNORED
    ours = cross_entropy(scores, target, reduction=reduction, weight=WEIGHT.tolist(), label_smoothing=smoothing)
    theirs = nn.CrossEntropyLoss(WEIGHT, reduction=reduction, label_smoothing=smoothing)(scores, target)
    torch.testing.assert_close(ours, theirs)
    if reduction == "mean":
        flat = CrossEntropyLossFlat(weight=WEIGHT, label_smoothing=smoothing)
        torch.testing.assert_close(flat(scores.reshape(4, 3, 3), target.reshape(4, 3)), theirs)
    mixed = torch.rand(12, 3).softmax(dim=1)
    torch.testing.assert_close(
        cross_entropy(scores, mixed, reduction=reduction, weight=WEIGHT),
        F.cross_entropy(scores, mixed, weight=WEIGHT, reduction=reduction),
    )


def test_weighted_binary_cross_entropy_is_torchs(scores):
    target = (torch.arange(36).reshape(12, 3) % 2).float()
    for options in ({"weight": WEIGHT}, {"pos_weight": WEIGHT}, {"weight": WEIGHT, "pos_weight": WEIGHT.flip(0)}):
        expected = nn.BCEWithLogitsLoss(**options)(scores, target)
        torch.testing.assert_close(binary_cross_entropy(scores, target, **options), expected)
        torch.testing.assert_close(BCEWithLogitsLossFlat(**options)(scores, target), expected)


@pytest.mark.parametrize("loss", [CrossEntropyLossFlat(weight=[1, 2]), BCEWithLogitsLossFlat(pos_weight=[1, 2])])
def test_as_many_weights_as_classes_are_expected(loss, scores):
    target = torch.zeros(12, dtype=torch.long) if "Cross" in repr(loss) else torch.zeros(12, 3)
    with pytest.raises(InputError, match=r"`(pos_)?weight` has one number per class, 3; got \[2\]"):
        loss(scores, target)


@pytest.mark.parametrize(
    ("loss", "name", "values"),
    [
        (LabelSmoothingCrossEntropy, "eps", [2, -0.1, "0.1", None]),
        (LabelSmoothingCrossEntropyFlat, "eps", [2]),
        (CrossEntropyLossFlat, "label_smoothing", [-1, 1.1]),
        (FocalLossFlat, "gamma", [-1, "2"]),
        (FocalLoss, "gamma", [-1]),
        (HuberLossFlat, "delta", [0, -1]),
        (WingLossFlat, "width", [0]),
        (WingLossFlat, "curvature", [0, float("nan")]),
        (BCEWithLogitsLossFlat, "thresh", [5, "0.5"]),
        (BCELossFlat, "thresh", [-1]),
        *((loss, "weight", [[-1, 1], "ab", [[1, 2]], [1, float("nan")]]) for loss in WEIGHTED),
        (BCEWithLogitsLossFlat, "pos_weight", [[-1]]),
        (partial(asymmetric_loss, *SOME), "gamma_negative", [-1]),
        (partial(asymmetric_loss, *SOME), "margin", [1, -0.1]),
        (partial(focal_loss, *SOME), "gamma", [-1]),
        (partial(huber_loss, *SOME), "delta", [0]),
        (partial(wing_loss, *SOME), "curvature", [0]),
    ],
)
def test_an_argument_of_a_loss_is_refused_when_it_is_made(loss, name, values):
    for value in values:
        with pytest.raises(InputError, match=f"`{name}` (must be a number, |is a probability|is a list of numbers)"):
            loss(**{name: value})


@pytest.mark.parametrize("loss", [MSELossFlat, L1LossFlat, *WEIGHTED])
def test_a_reduction_is_refused_when_a_loss_is_made(loss):
    with pytest.raises(UnknownNameError, match="no reduction `means`. Did you mean `mean`"):
        loss(reduction="means")


@pytest.mark.parametrize("loss", [MSELossFlat(), L1LossFlat(), BCEWithLogitsLossFlat(), HuberLossFlat(), BCELossFlat()])
def test_a_loss_that_flattens_names_the_shapes_that_it_was_given(loss):
    with pytest.raises(InputError, match=r"one shape, or as many numbers; got \[2, 3\] and \[4\]") as error:
        loss(torch.zeros(2, 3), torch.zeros(4))
    assert "Flat" not in str(error.value)  # it is in use
    assert loss(torch.zeros(2, 3), torch.zeros(6)).isfinite()


@pytest.mark.parametrize("loss", [CrossEntropyLossFlat(), FocalLossFlat()])
def test_a_loss_of_classes_takes_an_index_per_row(loss):
    with pytest.raises(InputError, match=r"a class index for each row; got \[2, 3\] and \[6\]"):
        loss(torch.zeros(2, 3), torch.zeros(6, dtype=torch.long))
    assert loss(torch.zeros(2, 3), torch.zeros(2, 1, dtype=torch.long)).isfinite()


@pytest.mark.parametrize("loss", [CrossEntropyLossFlat(weight=WEIGHT), nn.CrossEntropyLoss(WEIGHT)])
def test_a_mean_of_shares_is_the_mean_of_all(loss, scores):
    """What processes do: each has a share of a batch, and counts by the weights of its targets."""
    target = torch.arange(12) % 3
    checked = checked_loss(loss, several_labels=False)
    shares = [slice(0, 5), slice(5, 12)]
    counts = torch.stack([checked.count(target[share]) for share in shares])
    values = torch.stack([checked(scores[share], target[share]) for share in shares])
    torch.testing.assert_close((values * counts).sum() / counts.sum(), checked(scores, target))


@pytest.mark.parametrize("loss", [CrossEntropyLossFlat(weight=[0.2, 1, 3]), nn.CrossEntropyLoss(WEIGHT), None])
def test_the_losses_of_items_are_those_of_training(scene_loaders, loss):
    dls = scene_loaders(target=CategoryBlock, get_y=lambda r: "abc"[len(r["labels"]) % 3])
    learn = vision_learner(dls, "test_resnet", pretrained=False, seed=0, loss_func=loss)
    learn.recorder.silent = True
    learn.fit(1)
    weight = WEIGHT if loss is not None else None
    preds, targets, losses = learn.get_preds(with_loss=True)
    expected = F.nll_loss(preds.log(), targets, weight=weight, reduction="none")
    torch.testing.assert_close(losses, expected, rtol=1e-4, atol=1e-5)
    divisor = len(targets) if weight is None else weight[targets].sum()
    assert float(losses.sum() / divisor) == pytest.approx(learn.validate()[0], rel=1e-4)
