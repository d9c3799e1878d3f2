"""Every task keeps the contract of `foveal.testing`; losses and metrics agree with their oracles."""

import math

import numpy as np
import pytest
import torch
from torchvision.ops import sigmoid_focal_loss

from foveal import losses
from foveal.core.errors import InputError, NothingToLearnError, UnknownNameError
from foveal.course.transforms import Categorize, MultiCategorize
from foveal.data.block import DataBlock
from foveal.data.image_block import ImageBlock
from foveal.data.splits.splitters import IndexSplitter
from foveal.geometry.homography import Homography
from foveal.tasks import heatmaps
from foveal.tasks.multi_label import MultiCategoryBlock, MultiLabel
from foveal.tasks.points import PointBlock, Points
from foveal.tasks.regression import Regression, RegressionBlock
from foveal.tasks.single_label import CategoryBlock, SingleLabel
from foveal.tasks.vocab import Vocab
from foveal.testing import check_task

VOCAB = Vocab(("ant", "bee", "cat dog"))


@pytest.mark.parametrize(
    ("task", "labels"),
    [
        (MultiLabel(VOCAB), [["ant", "cat dog"], [], ["bee"]]),
        (SingleLabel(VOCAB), ["bee", "ant", "cat dog"]),
        (Points(1), [[[3.0, 4.0]], [[-5.0, 200.0]], [[math.nan, math.nan]]]),
        (Regression(("age",)), [3.5, 4, math.nan]),
        (Regression.of(("age", "weight"), [[1, 2000.0], [3, math.nan], [7, 5000]]), [[3, 2500.0], [math.nan, 1.0]]),
        (Points(2), [[[3.0, 4.0], [math.nan, math.nan]], [[1.0, 2.0], [30.0, 4.0]]]),
    ],
)
def test_every_task_keeps_the_contract(task, labels):
    check_task(task, labels)


def test_wrong_labels_are_named():
    with pytest.raises(InputError, match="list of names, got the text 'ant bee'"):
        MultiLabel(VOCAB).encode("ant bee")
    with pytest.raises(UnknownNameError, match="Did you mean `ant`"):
        SingleLabel(VOCAB).encode("Ant")
    with pytest.raises(InputError, match="MultiCategoryBlock"):
        SingleLabel(VOCAB).encode(["ant", "bee"])
    with pytest.raises(InputError, match="4 numbers"):
        Points(2).encode([1.0, 2.0])
    with pytest.raises(InputError, match="missing in both"):
        Points(1).encode([1.0, math.nan])
    with pytest.raises(InputError, match=r"2 number\(s\) an image are expected; got 1"):
        Regression(("a", "b")).encode(3.0)
    with pytest.raises(InputError, match="A number is expected for each of age; got 'old'"):
        Regression(("age",)).encode("old")
    with pytest.raises(InputError, match="`b` is not known for any image"):
        Regression.of(("a", "b"), [[1, math.nan], [2, math.nan]])
    with pytest.raises(InputError, match="finite"):
        Points(1).encode([1.0, math.inf])


@pytest.mark.parametrize(
    ("label", "message"),
    [
        ("a", "A point is .x, y., two numbers; got 'a'"),
        ([[1, 2], [3]], "two numbers; got"),
        ({"x": 1}, "two numbers; got"),
        (None, r"The label is missing \(None\).*\(nan, nan\)"),
        (math.nan, r"The label is missing \(nan\)"),
        ([1, 2, 3], r"3 numbers"),
    ],
)
def test_a_label_that_is_no_point_is_named_with_its_item(label, message):
    image = np.zeros((8, 8, 3), np.uint8)
    block = DataBlock((ImageBlock, PointBlock), get_x=lambda _: image, get_y=lambda i: i, splitter=IndexSplitter([2]))
    for at in range(3):  # the first of training, another one, and one of validation
        labels = [(1, 2), (3, 4), (5, 6)]
        labels[at] = label
        with pytest.raises(InputError, match=f"^item {at}: .*{message}"):
            block.datasets(labels)


@pytest.mark.parametrize(
    "block",
    [
        *(PointBlock(), PointBlock(names=["a", "b"]), PointBlock(n_points=2)),
        *(RegressionBlock(), RegressionBlock(2), RegressionBlock(names=["a", "b"])),
        *(CategoryBlock(), MultiCategoryBlock(), MultiCategoryBlock(encoded=True)),
    ],
)
def test_without_a_label_there_is_nothing_to_learn(block):
    with pytest.raises(NothingToLearnError, match="known|found"):
        block.bind([])


@pytest.mark.parametrize("kind", [CategoryBlock, MultiCategoryBlock, Categorize, MultiCategorize])
@pytest.mark.parametrize("vocab", ["ab", b"ab", 3])
def test_a_text_is_no_vocabulary(kind, vocab):
    with pytest.raises(InputError, match=f"`vocab` is a list of classes.*got {vocab!r}"):
        kind(vocab=vocab)


@pytest.mark.parametrize("kind", [PointBlock, RegressionBlock])
def test_a_text_is_no_list_of_names_and_a_count_is_a_number(kind):
    with pytest.raises(InputError, match="`names` is a list of names of .*got 'age'"):
        kind(names="age")
    count = "n_points" if kind is PointBlock else "n_out"
    for wrong in (0, 1.5, "2"):
        with pytest.raises(InputError, match=f"`{count}` must be a whole number, at least 1; got {wrong!r}"):
            kind(**{count: wrong})


@pytest.mark.parametrize("what", ["flip_pairs", "skeleton"])
@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ([("l", "r")], "names the point 'l', and these points have no names: give `names"),
        (["lr"], "holds pairs of points.*got 'lr'"),
        ([(0,)], r"holds pairs of points.*got \(0,\)"),
        ([(0, 1, 2)], "holds pairs of points"),
        ([(0, 5)], "holds pairs of point numbers from 0 to 1"),
        ("lr", "is a list of pairs"),
    ],
)
def test_pairs_of_points_are_pairs_of_those_there_are(what, pairs, message):
    with pytest.raises(InputError, match=f"`{what}` {message}"):
        PointBlock(**{what: pairs}).bind([[(1, 2), (3, 4)]])
    by_numbers = PointBlock(**{what: [(np.int64(0), 1)]}).bind([[(1, 2), (3, 4)]])
    assert getattr(by_numbers, what) == ((0, 1),)


def test_unknown_targets_add_nothing():
    output = torch.randn(3, 4, requires_grad=True)
    target = torch.tensor([[0.0, 1.0, torch.nan, 1.0]] * 3)
    known = losses.binary_cross_entropy(output[:, [0, 1, 3]], target[:, [0, 1, 3]])
    masked = losses.binary_cross_entropy(output, target)
    torch.testing.assert_close(masked, known)
    masked.backward()
    assert (output.grad[:, 2] == 0).all()
    torch.testing.assert_close(losses.mean_squared_error(output, target), ((output - target)[:, [0, 1, 3]] ** 2).mean())


def test_losses_agree_with_torch():
    output = torch.randn(5, 4)
    hot, index = torch.randint(0, 2, (5, 4)).float(), torch.randint(0, 4, (5,))
    torch.testing.assert_close(losses.binary_cross_entropy(output, hot), torch.nn.BCEWithLogitsLoss()(output, hot))
    torch.testing.assert_close(losses.cross_entropy(output, index), torch.nn.CrossEntropyLoss()(output, index))
    torch.testing.assert_close(losses.mean_squared_error(output, hot), torch.nn.MSELoss()(output, hot))


def test_losses_agree_with_their_formulas():
    output, target = torch.randn(6, 4) * 2, torch.randn(6, 4)
    expected = torch.nn.HuberLoss(delta=0.5)(output, target)
    torch.testing.assert_close(losses.huber_loss(output, target, delta=0.5), expected)
    hot, index = torch.randint(0, 2, (6, 4)).float(), torch.randint(0, 4, (6,))
    torch.testing.assert_close(losses.focal_loss(output, hot, gamma=0.0), losses.binary_cross_entropy(output, hot))
    torch.testing.assert_close(losses.focal_loss(output, index, gamma=0.0), losses.cross_entropy(output, index))
    torch.testing.assert_close(
        losses.focal_loss(output, hot), sigmoid_focal_loss(output, hot, alpha=-1, gamma=2, reduction="mean")
    )
    plain = losses.asymmetric_loss(output, hot, gamma_negative=0.0, margin=0.0)
    torch.testing.assert_close(plain, losses.binary_cross_entropy(output, hot), atol=1e-4, rtol=1e-4)
    easy = losses.asymmetric_loss(torch.full((1, 1), -5.0), torch.zeros(1, 1))
    assert float(easy) == 0.0
    zero, width = torch.zeros(1, 1), 0.1
    near, far = (float(losses.wing_loss(torch.full((1, 1), x), zero)) for x in (width - 1e-6, width + 1e-6))
    assert near == pytest.approx(far, abs=1e-5)
    assert near == pytest.approx(width * math.log1p(width / 0.02), abs=1e-5)
    assert float(losses.wing_loss(torch.full((1, 1), 0.3), zero)) == pytest.approx(far + 0.2, abs=1e-5)


@pytest.mark.parametrize("loss", [losses.huber_loss, losses.wing_loss, losses.focal_loss, losses.asymmetric_loss])
def test_unknown_targets_add_nothing_to_any_loss(loss):
    output = torch.randn(4, 3, requires_grad=True)
    target = torch.randint(0, 2, (4, 3)).float()
    known = loss(output[:, :2], target[:, :2])
    target[:, 2] = torch.nan
    torch.testing.assert_close(loss(output, target), known)
    torch.testing.assert_close(loss(output, target, reduction="sum"), known * 8)
    loss(output, target).backward()
    assert (output.grad[:, 2] == 0).all()


def test_a_heatmap_with_one_hot_cell_is_read_at_the_centre_of_that_cell():
    logits = torch.full((1, 2, 5, 10), -50.0)
    logits[0, 0, 0, 9] = logits[0, 1, 2, 4] = 50.0
    torch.testing.assert_close(heatmaps.soft_argmax(logits)[0], torch.tensor([[0.9, -0.8], [-0.1, 0.0]]))


def test_the_heatmap_around_a_point_has_its_mean_there_and_beyond_the_frame_its_border():
    points = torch.tensor([[[0.11, -0.33], [3.0, 0.0], [torch.nan, torch.nan]]])
    heat = heatmaps.heatmap_around(points, 40, 60, spread=1.5)
    found = heatmaps.soft_argmax(heat.log())
    torch.testing.assert_close(found[0, 0], points[0, 0], atol=1e-3, rtol=0)
    assert found[0, 1, 0] > 0.95
    assert heat[0, 2].isnan().all()
    logits = heat[:, :2].log().requires_grad_()
    at_best = heatmaps.heatmap_cross_entropy(logits, points[:, :2], spread=1.5)
    at_best.backward()
    assert logits.grad.abs().max() < 1e-6


def test_the_heatmap_loss_leaves_out_missing_points():
    logits = torch.randn(2, 2, 6, 6, requires_grad=True)
    points = torch.tensor([[[0.1, 0.2], [torch.nan, torch.nan]], [[-0.5, 0.5], [torch.nan, torch.nan]]])
    torch.testing.assert_close(
        heatmaps.heatmap_loss(logits, points), heatmaps.heatmap_loss(logits[:, :1], points[:, :1])
    )
    heatmaps.heatmap_loss(logits, points).backward()
    assert (logits.grad[:, 1] == 0).all()
    assert logits.grad.isfinite().all()


def test_a_loss_never_broadcasts():
    with pytest.raises(InputError, match=r"\[64\] and \[64, 1\]"):
        losses.mean_squared_error(torch.zeros(64), torch.zeros(64, 1))


def test_points_come_back_to_source_pixels():
    task, frame = Points(1), Homography.scaling(0.5, 0.25).then(Homography.unit_frame((60, 80)))
    target = task.move(task.encode([37.0, 55.0]), frame)
    back = Homography.stack([frame.inverse])
    np.testing.assert_allclose(task.decode(target[None], back)[0], [[37.0, 55.0]], atol=1e-3)
    with pytest.raises(InputError, match="not finite"):
        task.decode(torch.full((1, 1, 2), torch.nan), back)


def test_thresholds_and_temperature_decide():
    task = MultiLabel(Vocab(("a", "b")))
    strict = task.with_decision(type(task.decision)((0.9, 0.1), temperature=2.0))
    output = torch.tensor([[2.0, -2.0]])
    assert task.decode(task.activate(output), Homography()) == [["a"]]
    assert strict.decode(strict.activate(output), Homography()) == [["b"]]
    torch.testing.assert_close(strict.activate(output), torch.sigmoid(output / 2))
