"""The course's losses have the values of torch's and of the papers, and a learner answers as they say."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torchvision.ops import sigmoid_focal_loss

from foveal.core.errors import InputError
from foveal.course.losses import (
    BaseLoss,
    BCELossFlat,
    DiceLoss,
    FocalLoss,
    L1LossFlat,
    LabelSmoothingCrossEntropy,
    LabelSmoothingCrossEntropyFlat,
)
from foveal.learner.learner import Learner
from foveal.learner.vision import vision_learner
from foveal.losses import IGNORED, BCEWithLogitsLossFlat, CrossEntropyLossFlat, FocalLossFlat, MSELossFlat
from foveal.tasks.single_label import CategoryBlock

WEIGHT = torch.tensor([0.2, 1.0, 3.0])


@pytest.fixture
def scores():
    return torch.randn(12, 3, generator=torch.Generator().manual_seed(0))


INDICES = torch.arange(12) % 3
HOT = (torch.arange(36).reshape(12, 3) % 2).float()


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("weight", [None, WEIGHT])
def test_smoothed_cross_entropy_is_torchs_and_the_papers(scores, reduction, weight):
    theirs = nn.CrossEntropyLoss(weight, label_smoothing=0.2, reduction=reduction)(scores, INDICES)
    for loss in (LabelSmoothingCrossEntropy(0.2, weight, reduction),
                 LabelSmoothingCrossEntropyFlat(eps=0.2, weight=weight, reduction=reduction),
                 CrossEntropyLossFlat(weight, label_smoothing=0.2, reduction=reduction)):  # fmt: skip
        torch.testing.assert_close(loss(scores, INDICES), theirs)
    if weight is None and reduction == "mean":
        share = 0.8 * F.one_hot(INDICES, 3) + 0.2 / 3
        torch.testing.assert_close(theirs, -(share * scores.log_softmax(dim=1)).sum(dim=1).mean())


def test_the_classes_may_lie_along_another_axis(scores):
    maps, targets = scores.reshape(2, 6, 3).movedim(-1, 1), INDICES.reshape(2, 6)
    for loss in (
        CrossEntropyLossFlat(axis=1),
        FocalLossFlat(axis=1, gamma=0.0),
        LabelSmoothingCrossEntropy(0.0, axis=1),
    ):
        torch.testing.assert_close(loss(maps, targets), F.cross_entropy(maps, targets))
        assert loss.decodes(loss.activation(maps)).shape == (2, 6)
    torch.testing.assert_close(
        BCEWithLogitsLossFlat(axis=1, pos_weight=WEIGHT)(maps, HOT.reshape(2, 6, 3).movedim(-1, 1)),
        F.binary_cross_entropy_with_logits(scores, HOT, pos_weight=WEIGHT),
    )


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("weight", [None, WEIGHT])
def test_focal_loss_of_one_label_is_the_papers(scores, gamma, weight):
    p = scores.softmax(dim=1)[torch.arange(12), INDICES]
    alpha = 1.0 if weight is None else weight[INDICES]
    expected = -(alpha * (1 - p) ** gamma * p.log()).mean()
    for loss in (FocalLossFlat(gamma=gamma, weight=weight), FocalLoss(gamma, weight)):
        torch.testing.assert_close(loss(scores, INDICES), expected)
        torch.testing.assert_close(loss(scores.reshape(4, 3, 3), INDICES.reshape(4, 3)), expected)
    partly = INDICES.clone()
    partly[5:] = IGNORED
    torch.testing.assert_close(
        FocalLossFlat(gamma=gamma, weight=weight)(scores, partly),
        FocalLossFlat(gamma=gamma, weight=weight)(scores[:5], INDICES[:5]),
    )


def test_focal_loss_of_several_labels_is_torchvisions(scores):
    theirs = sigmoid_focal_loss(scores, HOT, alpha=-1, gamma=2, reduction="none")
    torch.testing.assert_close(FocalLossFlat()(scores, HOT), theirs.mean())
    torch.testing.assert_close(FocalLossFlat(weight=WEIGHT)(scores, HOT), (theirs * WEIGHT).mean())


def test_losses_of_numbers_and_probabilities(scores):
    target = torch.rand(12, 3, 1)
    torch.testing.assert_close(L1LossFlat()(scores, target), F.l1_loss(scores, target.squeeze(2)))
    torch.testing.assert_close(
        MSELossFlat(reduction="sum")(scores, target), F.mse_loss(scores, target[..., 0], reduction="sum")
    )
    target[3:] = torch.nan
    torch.testing.assert_close(L1LossFlat()(scores, target), F.l1_loss(scores[:3], target[:3, :, 0]))
    p = scores.sigmoid()
    torch.testing.assert_close(BCELossFlat()(p, HOT), F.binary_cross_entropy(p, HOT))
    torch.testing.assert_close(BCELossFlat(WEIGHT)(p, HOT), F.binary_cross_entropy(p, HOT, weight=WEIGHT))
    with pytest.raises(InputError, match="one number per class, 3"):
        BCELossFlat([1, 2])(p, HOT)
    with pytest.raises(InputError, match="one shape"):
        L1LossFlat()(scores, torch.rand(7))


def test_what_a_loss_says_of_outputs(scores):
    one, several = CrossEntropyLossFlat(), BCEWithLogitsLossFlat(thresh=0.3)
    torch.testing.assert_close(one.activation(scores), scores.softmax(dim=1))
    assert torch.equal(one.decodes(scores), scores.argmax(dim=1))
    torch.testing.assert_close(several.activation(scores), scores.sigmoid())
    assert torch.equal(several.decodes(scores.sigmoid()), scores.sigmoid() > 0.3)
    assert torch.equal(MSELossFlat().activation(scores), scores)
    assert repr(one) == "FlattenedLoss of CrossEntropyLoss()"


def test_a_loss_of_a_class_is_flattened(scores):
    loss = BaseLoss(nn.CrossEntropyLoss, weight=WEIGHT, label_smoothing=0.1)
    expected = nn.CrossEntropyLoss(WEIGHT, label_smoothing=0.1)(scores, INDICES)
    torch.testing.assert_close(loss(scores.reshape(4, 3, 3), INDICES.reshape(4, 3)), expected)
    assert loss.reduction == "mean"
    loss.reduction = "none"
    assert loss(scores, INDICES).shape == (12,)
    numbers = BaseLoss(nn.MSELoss, is_2d=False, floatify=True)
    torch.testing.assert_close(
        numbers(scores, INDICES.repeat(3)), F.mse_loss(scores.flatten(), INDICES.repeat(3).float())
    )
    axis = BaseLoss(nn.CrossEntropyLoss, axis=1)
    torch.testing.assert_close(axis(scores.T[None], INDICES[None]), F.cross_entropy(scores, INDICES))


def test_losses_that_do_not_suit_are_refused(scene_loaders):
    with pytest.raises(InputError, match="no segmentation"):
        DiceLoss()
    learn = vision_learner(scene_loaders(size=32), "test_resnet", pretrained=False, loss_func=CrossEntropyLossFlat())
    with pytest.raises(InputError, match="Cross-entropy is for one label per image"):
        learn.fit(1)


@pytest.mark.parametrize("loss", [FocalLossFlat(), LabelSmoothingCrossEntropyFlat(), BaseLoss(nn.CrossEntropyLoss)])
def test_one_label_is_trained_by_them(loss, scene_loaders):
    dls = scene_loaders(size=32, target=CategoryBlock, get_y=lambda r: "ab"[len(r["labels"]) % 2])
    learn = vision_learner(dls, "test_resnet", pretrained=False, loss_func=loss)
    learn.recorder.silent = True
    learn.fit(1)
    preds, _, losses = learn.get_preds(with_loss=True)
    torch.testing.assert_close(preds.sum(dim=1), torch.ones(len(preds)))
    assert float(losses.mean()) == pytest.approx(learn.validate()[0], rel=1e-5)


def test_the_threshold_of_a_loss_decides_until_thresholds_are_tuned(scene_loaders):
    dls = scene_loaders(size=32)
    learn = vision_learner(dls, "test_resnet", pretrained=False, loss_func=BCEWithLogitsLossFlat(thresh=0.9))
    image = dls.valid.dataset.images[0]
    answer = learn.predict(image)
    assert torch.equal(answer.decoded.bool(), answer.values >= 0.9)
    learn.loss_func = BCEWithLogitsLossFlat(thresh=0.0)
    assert len(learn.predict(image).label) == dls.task.n_outputs
    learn.recorder.silent = True
    learn.tune_thresholds(per_class=False)
    assert learn.task.decision.thresholds == learn.tuned.thresholds
    with pytest.raises(InputError, match=r"between 0 and 1; got 7"):
        vision_learner(dls, "test_resnet", pretrained=False, loss_func=BCEWithLogitsLossFlat(thresh=7)).predict(image)


def test_probabilities_are_left_as_they_are(scene_loaders):
    dls = scene_loaders(size=32)
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, dls.task.n_outputs), nn.Sigmoid()
    )
    learn = Learner(dls, model, BCELossFlat())
    x, _ = dls.valid.one_batch()
    with torch.no_grad():
        torch.testing.assert_close(learn.get_preds()[0][: len(x)], learn.model.eval()(x))
    with pytest.raises(InputError, match="takes probabilities from 0 to 1"):
        Learner(dls, model[:-1], BCELossFlat()).validate()
