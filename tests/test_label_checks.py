"""Labels that are wrong with a probability: planted errors are found, counted, and clean labels left alone."""

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score

from foveal.metrics.bootstrap import share
from foveal.metrics.label_noise import (
    mixture_share,
    noise_floor,
    student_density,
    student_scale,
    wrong_where_absent,
    wrong_where_given,
)
from foveal.tasks.label_checks import check_numbers, check_one_class, check_points, check_several_classes

N, CLASSES = 3_000, 5
NAMES = tuple("abcde")


def answers_and_truth(seed, several):
    """Probabilities, and labels that follow them."""
    rng = torch.Generator().manual_seed(seed)
    logits = torch.randn(N, CLASSES, generator=rng) * 5 - (2 if several else 0)
    if several:
        values = logits.sigmoid()
        return values, torch.bernoulli(values, generator=rng)
    values = logits.softmax(dim=1)
    return values, torch.multinomial(values, 1, generator=rng)[:, 0]


def learned(values, rate):
    """What a model that learned from labels of which a share is wrong answers: less certain by as much."""
    return values * (1 - rate) + rate / (CLASSES - 1) * (1 - values)


@pytest.mark.parametrize("rate", [0.05, 0.1, 0.2])
def test_wrong_labels_of_one_class_are_counted_and_come_first(rate):
    values, truth = answers_and_truth(0, several=False)
    rng = np.random.default_rng(0)
    given = truth.clone()
    wrong = torch.from_numpy(rng.random(N) < rate)
    given[wrong] = (truth[wrong] + torch.from_numpy(rng.integers(1, CLASSES, int(wrong.sum())))) % CLASSES
    check = check_one_class(learned(values, rate), given, NAMES)
    assert check.n_wrong.low <= int(wrong.sum()) <= check.n_wrong.high
    assert check.n_wrong.value == pytest.approx(int(wrong.sum()), rel=0.25)
    assert average_precision_score(wrong, check.probabilities[:, 0]) > 0.8
    called = (check.probabilities[:, 0] > 0.5) & wrong
    assert int(called.sum()) > 0.8 * int((check.probabilities > 0.5).sum())
    found = check.likeliest(0.5, 20)
    assert sum(one.suggested == NAMES[int(truth[one.position])] for one in found) >= 16
    assert all(one.given == NAMES[int(given[one.position])] for one in found)


@pytest.mark.parametrize("kind", ["missing", "extra"])
def test_missing_and_extra_labels_are_told_apart(kind):
    values, truth = answers_and_truth(1, several=True)
    rng = np.random.default_rng(0)
    from_value = 1.0 if kind == "missing" else 0.0
    wrong = torch.from_numpy(rng.random((N, CLASSES)) < (0.1 if kind == "missing" else 0.03)) & (truth == from_value)
    given = torch.where(wrong, 1 - truth, truth)
    seen = values * 0.9 if kind == "missing" else values * 0.97 + 0.03 * (1 - values)
    check = check_several_classes(seen, given, NAMES)
    assert check.n_wrong.low <= int(wrong.sum()) <= check.n_wrong.high
    assert sum((one.given == "") == (kind == "missing") for one in check.likeliest(0.0, 100)) >= 90
    assert average_precision_score(wrong.flatten(), check.probabilities.flatten()) > 0.5


@pytest.mark.parametrize("seed", range(5))
def test_right_labels_are_left_alone(seed):
    values, truth = answers_and_truth(seed, several=False)
    check = check_one_class(values, truth, NAMES)
    assert check.n_wrong.value < 0.01 * N
    assert check.n_wrong.low == 0
    assert len(check.likeliest(0.5, None)) < 0.004 * N
    values, truth = answers_and_truth(seed, several=True)
    check = check_several_classes(values, truth, NAMES)
    assert check.n_wrong.value < 0.01 * N * CLASSES
    assert len(check.likeliest(0.5, None)) < 0.002 * N * CLASSES


def test_unknown_labels_are_not_counted():
    values, truth = answers_and_truth(2, several=True)
    truth[:, 0] = torch.nan
    check = check_several_classes(values, truth, NAMES)
    assert check.probabilities[:, 0].isnan().all()
    assert not check.probabilities[:, 1:].isnan().any()
    assert {one.output for one in check.likeliest(0, None)} == {1, 2, 3, 4}
    values, truth = answers_and_truth(2, several=False)
    truth[:7] = -100
    check = check_one_class(values, truth, NAMES)
    assert check.probabilities[:7].isnan().all()
    assert {one.position for one in check.likeliest(0, None)} == set(range(7, N))


def test_a_handful_of_labels_is_checked_without_an_error():
    one = check_one_class(torch.tensor([[0.9, 0.1]]), torch.tensor([1]), ("a", "b"))
    assert one.n_wrong.low == 0
    assert check_one_class(torch.tensor([[1.0]]), torch.tensor([0]), ("a",)).likeliest(0.5, None) == []
    none = check_several_classes(torch.rand(4, 2), torch.full((4, 2), torch.nan), ("a", "b"))
    assert none.likeliest(0, None) == []
    points = check_points(torch.zeros(2, 1, 2), torch.full((2, 1, 2), torch.nan), ("p",))
    assert points.likeliest(0, None) == []
    assert check_numbers(torch.zeros(1, 1), torch.ones(1, 1), ("x",)).n_wrong.value <= 1


def test_points_that_were_moved_or_changed_places():
    rng = np.random.default_rng(0)
    truth = torch.from_numpy(np.stack([rng.uniform(40, 60, (500, 2)), rng.uniform(90, 110, (500, 2))], axis=1))
    spread = torch.from_numpy(rng.uniform(1, 6, (500, 2)))
    answers = truth + spread[..., None] * torch.from_numpy(rng.standard_t(3, (500, 2, 2)))
    given = truth.clone()
    given[:15] = truth[:15].flip(1)
    given[15:40, 0] = torch.from_numpy(rng.uniform(0, 150, (25, 2)))
    given[60, 1] = torch.nan
    check = check_points(answers, given, ("left", "right"), spread=spread)
    wrong = torch.zeros(500, 2, dtype=torch.bool)
    wrong[:15] = True
    wrong[15:40, 0] = True
    known = ~check.probabilities.isnan()
    assert int((~known).sum()) == 1
    assert average_precision_score(wrong[known], check.probabilities[known]) > 0.9
    swapped = {(one.position, one.output): one for one in check.likeliest(0.5, None) if one.position < 15}
    assert len(swapped) == 30
    assert swapped[3, 0].value == tuple(given[3, 1].tolist())
    moved = next(one for one in check.likeliest(0.5, None) if one.position == 20)
    assert moved.value == pytest.approx(tuple(answers[20, 0].tolist()))
    assert moved.given == f"left ({given[20, 0, 0]:.0f}, {given[20, 0, 1]:.0f})"
    clean = check_points(answers, truth, ("left", "right"), spread=spread)
    assert len(clean.likeliest(0.5, None)) <= 6  # of 1,000; three degrees of freedom have long tails
    assert clean.n_wrong.value < 20


def test_numbers_that_were_mistyped():
    rng = np.random.default_rng(0)
    truth = torch.from_numpy(rng.uniform(20, 60, (400, 2))).float()
    answers = truth + torch.from_numpy(rng.standard_t(3, (400, 2))).float()
    given = truth.clone()
    given[:20, 1] = given[:20, 1] * 10
    check = check_numbers(answers, given, ("age", "height"))
    found = check.likeliest(0.5, None)
    assert {(one.position, one.output) for one in found} >= {(at, 1) for at in range(20)}
    assert len(found) <= 25
    assert found[0].given.startswith("height ")
    assert check.n_wrong.low <= 20 <= check.n_wrong.high


def test_bayes_by_hand():
    likely = torch.tensor([0.0905, 0.9])
    # of things that are there 10% have no label, of others 1% have one: 0.0905 is seen where 9.05% are there
    present = (likely - 0.01) / 0.89
    assert wrong_where_given(likely, 0.1, 0.01).tolist() == pytest.approx(
        ((1 - present) * 0.01 / ((1 - present) * 0.01 + present * 0.9)).tolist(), rel=0.1, abs=1e-4
    )
    assert float(wrong_where_absent(likely[:1], 0.1, 0.01)) == pytest.approx(0.0905 * 0.1 / 0.9095, rel=0.1)


def test_floors_and_shares():
    assert share(0, 0) == (0.0, 0.0, 1.0)
    assert share(5, 100).low < 0.05 < share(5, 100).high
    assert noise_floor(torch.zeros(0, dtype=torch.bool)) == (0.0, 0.0, 1.0)
    flat = noise_floor(torch.arange(1_000) % 10 == 0)
    assert flat.low <= flat.value <= flat.high
    assert flat.value == pytest.approx(0.1, abs=0.015)
    assert flat.low > 0.05
    rising = noise_floor(torch.rand(1_000, generator=torch.Generator().manual_seed(0)) < torch.linspace(0, 0.4, 1_000))
    assert rising.low == 0
    assert rising.high < 0.12


def test_students_t_is_scipys():
    from scipy.stats import multivariate_t, t

    errors = torch.tensor([0.1, 1.0, 7.0])
    assert student_density(errors, 2.0, 1).tolist() == pytest.approx(t(3, scale=2).pdf(errors).tolist())
    flat = multivariate_t(shape=np.eye(2) * 4, df=3)
    assert student_density(errors, 2.0, 2).tolist() == pytest.approx(
        [float(flat.pdf([float(one), 0.0])) for one in errors]
    )
    rng = np.random.default_rng(0)
    assert student_scale(torch.from_numpy(np.abs(rng.standard_t(3, 20_000)) * 5), 1) == pytest.approx(5, rel=0.03)
    drawn = np.linalg.norm(multivariate_t(shape=np.eye(2) * 9, df=3).rvs(20_000, random_state=0), axis=1)
    assert student_scale(torch.from_numpy(drawn), 2) == pytest.approx(3, rel=0.03)
    right, wrong = torch.tensor([1.0, 1.0, 1.0, 1e-9]), torch.tensor([1e-3] * 4)
    assert mixture_share(right, wrong) == pytest.approx(0.25, abs=0.01)
