"""Metrics agree with scikit-learn wherever it defines them, and say "not defined" where it does not."""

import math
import os
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from foveal.core.errors import InputError, UnknownNameError
from foveal.losses import IGNORED
from foveal.metrics import bootstrap, numbers, one_label, pixels, several_labels
from foveal.tasks.multi_label import MultiLabel
from foveal.tasks.points import Points
from foveal.tasks.single_label import SingleLabel
from foveal.tasks.vocab import Vocab

CASES = settings(max_examples=int(os.environ.get("FOVEAL_EXAMPLES", "200")))
CLOSE = {"abs": 1e-12, "rel": 1e-12}


@st.composite
def labelled(draw, most_classes=5):
    """Scores with ties, and rare, common, missing or ubiquitous labels."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n, classes = draw(st.integers(1, 30)), draw(st.integers(1, most_classes))
    scores = rng.random((n, classes))
    if draw(st.booleans()):
        scores = np.round(scores * draw(st.sampled_from([1, 2, 10]))) / 10
    shares = rng.choice([0.0, 0.1, 0.5, 1.0], classes)
    return scores, (rng.random((n, classes)) < shares).astype(int)


def tensors(scores, truth):
    return torch.from_numpy(scores), torch.from_numpy(truth).double()


@CASES
@given(labelled())
def test_ranking_metrics_of_several_labels(case):
    scores, truth = case
    pair = tensors(scores, truth)
    aps, aucs = several_labels.average_precision(*pair), several_labels.roc_auc(*pair)
    for at in range(truth.shape[1]):
        column = truth[:, at], scores[:, at]
        if column[0].any():
            assert float(aps[at]) == pytest.approx(sk.average_precision_score(*column), **CLOSE)
        else:
            assert aps[at].isnan()
        if 0 < column[0].sum() < len(truth):
            assert float(aucs[at]) == pytest.approx(sk.roc_auc_score(*column), **CLOSE)
        else:
            assert aucs[at].isnan()
    if truth.any(axis=0).all() and truth.shape[1] > 1:
        for average in ("macro", "micro", "weighted"):
            found = float(several_labels.mean_average_precision(*pair, average=average))
            assert found == pytest.approx(sk.average_precision_score(truth, scores, average=average), **CLOSE)
    if truth.shape[1] > 1 and all(0 < n < len(truth) for n in truth.sum(axis=0)):
        for average in ("macro", "micro", "weighted"):
            found = float(several_labels.mean_roc_auc(*pair, average=average))
            assert found == pytest.approx(sk.roc_auc_score(truth, scores, average=average), **CLOSE)
    if truth.shape[1] > 1:
        found = float(several_labels.label_ranking_loss(*pair))
        assert found == pytest.approx(sk.label_ranking_loss(truth, scores), **CLOSE)
        assert float(several_labels.coverage_error(*pair)) == pytest.approx(sk.coverage_error(truth, scores), **CLOSE)


@CASES
@given(labelled(), st.sampled_from([0.1, 0.25, 0.5, 0.9]))
def test_metrics_of_several_labels_at_a_threshold(case, thresh):
    scores, truth = case
    pair, found = tensors(scores, truth), (scores > thresh).astype(int)
    call = {"thresh": thresh, "sigmoid": False}
    assert float(several_labels.accuracy_multi(*pair, **call)) == pytest.approx((found == truth).mean(), **CLOSE)
    if truth.shape[1] > 1:
        expected = sk.hamming_loss(truth, found)
        assert float(several_labels.hamming_loss(*pair, **call)) == pytest.approx(expected, **CLOSE)
        assert float(several_labels.exact_match(*pair, **call)) == pytest.approx(sk.accuracy_score(truth, found))
    defined = {
        "precision": found.any(axis=0),
        "recall": truth.any(axis=0),
        "f1": truth.any(axis=0),
    }
    for name, where in defined.items():
        ours, theirs = getattr(several_labels, f"{name}_multi"), getattr(sk, f"{name}_score")
        if where.any():
            kept = theirs(truth, found, average=None, zero_division=0)[where] if truth.shape[1] > 1 else None
            if kept is not None:
                assert float(ours(*pair, **call)) == pytest.approx(kept.mean(), **CLOSE)
        else:
            assert math.isnan(float(ours(*pair, **call)))
        if truth.shape[1] > 1 and truth.any() and found.any():
            expected = theirs(truth, found, average="micro", zero_division=0)
            assert float(ours(*pair, **call, average="micro")) == pytest.approx(expected, **CLOSE)
    if truth.shape[1] > 1 and truth.any():
        expected = sk.f1_score(truth, found, average="weighted", zero_division=0)
        assert float(several_labels.f1_multi(*pair, **call, average="weighted")) == pytest.approx(expected, **CLOSE)


@CASES
@given(st.integers(0, 2**32 - 1), st.integers(1, 30), st.integers(2, 6), st.booleans())
def test_metrics_of_one_label(seed, n, classes, ties):
    rng = np.random.default_rng(seed)
    scores = rng.random((n, classes))
    scores = np.round(scores, 1) if ties else scores
    truth = rng.integers(0, classes, n)
    pair, answer = (torch.from_numpy(scores), torch.from_numpy(truth)), scores.argmax(axis=1)
    assert float(one_label.accuracy(*pair)) == pytest.approx(sk.accuracy_score(truth, answer), **CLOSE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = sk.balanced_accuracy_score(truth, answer)
        for k in (1, 2, classes) if classes > 2 else ():
            share = sk.top_k_accuracy_score(truth, scores, k=k, labels=range(classes))
            assert float(one_label.top_k_accuracy(*pair, k=k)) == pytest.approx(share, **CLOSE)
    assert float(one_label.balanced_accuracy(*pair)) == pytest.approx(expected, **CLOSE)
    expected = sk.confusion_matrix(truth, answer, labels=range(classes))
    assert np.array_equal(one_label.confusion_matrix(*pair).numpy(), expected)
    assert float(one_label.f1_score(*pair)) == pytest.approx(sk.f1_score(truth, answer, average="macro"), **CLOSE)


@CASES
@given(st.integers(0, 2**32 - 1), st.integers(2, 30), st.integers(1, 3))
def test_metrics_of_numbers(seed, n, columns):
    rng = np.random.default_rng(seed)
    output, target = rng.normal(0, 100, (2, n, columns))
    pair = torch.from_numpy(output), torch.from_numpy(target)
    assert float(numbers.mae(*pair)) == pytest.approx(sk.mean_absolute_error(target, output), **CLOSE)
    expected = math.sqrt(sk.mean_squared_error(target.ravel(), output.ravel()))
    assert float(numbers.rmse(*pair)) == pytest.approx(expected, **CLOSE)
    assert float(numbers.r2_score(*pair)) == pytest.approx(sk.r2_score(target, output), **CLOSE)


def test_the_calibration_error_of_known_confidences():
    output = torch.tensor([[0.8, 0.2]] * 5 + [[0.4, 0.6]] * 5).double()
    target = torch.tensor([0, 0, 0, 0, 1, 1, 0, 0, 0, 0])
    assert float(one_label.expected_calibration_error(output, target)) == pytest.approx((0 * 5 + 0.4 * 5) / 10)
    assert float(one_label.expected_calibration_error(torch.eye(3).double(), torch.arange(3))) == 0


def test_unknown_targets_are_left_out_of_every_metric():
    generator = torch.Generator().manual_seed(0)
    output, target = torch.rand(40, 4, generator=generator), torch.rand(40, 4, generator=generator).round()
    masked = target.clone()
    masked[30:] = torch.nan
    for name in (
        "accuracy_multi",
        "exact_match",
        "precision_multi",
        "recall_multi",
        "f1_multi",
        "mean_average_precision",
    ):
        metric = getattr(several_labels, name)
        if name != "exact_match":  # an image of which nothing is known has no wrong answer
            assert float(metric(output, masked)) == pytest.approx(float(metric(output[:30], target[:30])), **CLOSE)
    classes = torch.randint(0, 4, (40,), generator=generator)
    hidden = classes.clone()
    hidden[30:] = IGNORED
    for metric in (one_label.accuracy, one_label.balanced_accuracy, one_label.f1_score, one_label.top_k_accuracy):
        options = {"k": 2} if metric is one_label.top_k_accuracy else {}
        assert float(metric(output, hidden, **options)) == float(metric(output[:30], classes[:30], **options))


def test_points_are_judged_in_pixels():
    true = torch.tensor([[[0.0, 0.0], [10.0, 0.0]], [[5.0, 5.0], [torch.nan, torch.nan]]])
    found = torch.tensor([[[3.0, 4.0], [10.0, 1.0]], [[5.0, 7.0], [1.0, 1.0]]])
    off = pixels.distances(found, true)
    assert off[~off.isnan()].tolist() == [5.0, 1.0, 2.0]
    assert float(pixels.mean_error(found, true)) == pytest.approx(8 / 3)
    assert float(pixels.median_error(found, true)) == 2.0
    assert float(pixels.pck(found, true, 2.0)) == pytest.approx(2 / 3)
    assert float(pixels.failure_rate(found, true, 2.0)) == pytest.approx(1 / 3)
    assert float(pixels.normalised_error(found, true, torch.tensor([10.0, 20.0]))) == pytest.approx(
        (0.5 + 0.1 + 0.1) / 3
    )
    apart = pixels.pair_distance(true, 0, 1)
    assert apart[0] == 10
    assert apart[1].isnan()
    assert float(pixels.pck(found, true, 0.2 * apart)) == pytest.approx(1 / 2)


def test_intervals_hold_the_truth_about_as_often_as_they_say():
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(60):
        values = torch.from_numpy(rng.normal(3, 1, 60))
        found = bootstrap.interval(lambda x: x.mean(), values, n_samples=200)
        assert found.value == float(values.mean())
        held += found.low <= 3 <= found.high
    assert 50 <= held <= 60
    outside = bootstrap.interval_of(1.0, [2.0, 3.0, 4.0])
    assert (outside.low, outside.value) == (1.0, 1.0)
    again = [bootstrap.interval(lambda x: x.mean(), values, n_samples=50) for _ in range(2)]
    assert again[0] == again[1]
    with pytest.raises(InputError, match="one length"):
        bootstrap.interval(several_labels.mean_average_precision, torch.ones(3, 1), torch.ones(2, 1))
    nothing = bootstrap.interval(several_labels.mean_average_precision, torch.rand(5, 1), torch.zeros(5, 1))
    assert all(math.isnan(value) for value in nothing)


def test_metrics_refuse_what_they_are_not_made_for():
    with pytest.raises(InputError, match="accuracy_multi"):
        one_label.accuracy(torch.zeros(3, 2), torch.zeros(3, 2))
    with pytest.raises(InputError, match="one shape"):
        several_labels.accuracy_multi(torch.zeros(3, 2), torch.zeros(3))
    with pytest.raises(InputError, match="between 1 and the number of classes, 2"):
        one_label.top_k_accuracy(torch.zeros(3, 2), torch.zeros(3, dtype=torch.long))
    with pytest.raises(UnknownNameError, match="Did you mean `macro`"):
        several_labels.f1_multi(torch.zeros(3, 2), torch.ones(3, 2), average="marco")
    nan = torch.tensor([[torch.nan, 1.0]])
    for call in (
        lambda: several_labels.average_precision(nan, torch.ones(1, 2)),
        lambda: several_labels.roc_auc(nan, torch.ones(1, 2)),
        lambda: several_labels.f1_multi(nan, torch.ones(1, 2)),
        lambda: one_label.accuracy(nan, torch.zeros(1, dtype=torch.long)),
        lambda: numbers.rmse(nan, torch.ones(1, 2)),
        lambda: pixels.mean_error(nan[None], torch.ones(1, 1, 2)),
    ):
        with pytest.raises(InputError, match="NaN"):
            call()


@CASES
@given(labelled(), st.integers(0, 2**32 - 1))
def test_figures_do_not_depend_on_the_order_of_images(case, seed):
    scores, truth = case
    order = np.random.default_rng(seed).permutation(len(truth))
    vocab = Vocab(tuple(f"c{at}" for at in range(truth.shape[1])))
    points, values = Points(truth.shape[1]), torch.from_numpy(scores)
    answers = torch.stack([values, values.flip(0)], dim=2)
    where = torch.stack([values.flip(0), values], dim=2)
    for figures, comparable, target in (
        (MultiLabel(vocab).report_metrics(), *tensors(scores, truth)),
        (SingleLabel(vocab).report_metrics(), torch.softmax(values, dim=1), torch.from_numpy(truth.argmax(axis=1))),
        (points.report_metrics(), answers, where),
    ):
        for name, figure in figures.items():
            before, after = float(figure(comparable, target)), float(figure(comparable[order], target[order]))
            assert after == pytest.approx(before, **CLOSE, nan_ok=True), name
