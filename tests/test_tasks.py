"""Every task keeps the contract of `foveal.testing`; losses and metrics agree with their oracles."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from foveal import losses, metrics
from foveal.errors import InputError, UnknownNameError
from foveal.geometry.homography import Homography
from foveal.tasks.multi_label import MultiLabel
from foveal.tasks.points import Points
from foveal.tasks.single_label import SingleLabel
from foveal.tasks.vocab import Vocab
from foveal.testing import check_task

VOCAB = Vocab(("ant", "bee", "cat dog"))


@pytest.mark.parametrize(
    ("task", "labels"),
    [
        (MultiLabel(VOCAB), [["ant", "cat dog"], [], ["bee"]]),
        (SingleLabel(VOCAB), ["bee", "ant", "cat dog"]),
        (Points(1), [[[3.0, 4.0]], [[-5.0, 200.0]], [[math.nan, math.nan]]]),
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
    with pytest.raises(InputError, match="finite"):
        Points(1).encode([1.0, math.inf])


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


def test_a_loss_never_broadcasts():
    with pytest.raises(InputError, match=r"\[64\] and \[64, 1\]"):
        losses.mean_squared_error(torch.zeros(64), torch.zeros(64, 1))


@given(st.data())
def test_average_precision_agrees_with_scikit_learn(data):
    n = data.draw(st.integers(1, 40))
    truth = data.draw(st.lists(st.integers(0, 1), min_size=n, max_size=n))
    score = data.draw(st.lists(st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.9]) | st.floats(0, 1), min_size=n, max_size=n))
    found = metrics.average_precision(torch.tensor([score], dtype=torch.float64).T, torch.tensor([truth]).float().T)
    if sum(truth) == 0:
        assert found.isnan().all()
    else:
        assert float(found[0]) == pytest.approx(average_precision_score(truth, score), abs=1e-12)


def test_metrics_refuse_targets_of_another_kind():
    with pytest.raises(InputError, match="accuracy_multi"):
        metrics.accuracy(torch.zeros(3, 2), torch.zeros(3, 2))
    with pytest.raises(InputError, match="one shape"):
        metrics.accuracy_multi(torch.zeros(3, 2), torch.zeros(3))
    with pytest.raises(InputError, match="NaN"):
        metrics.average_precision(torch.tensor([[torch.nan]]), torch.ones(1, 1))


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
