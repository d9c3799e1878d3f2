"""Thresholds are the best there are, temperature is the best there is, and what is promised of them is honest."""

import itertools
import warnings

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from foveal.core.errors import InputError, UnknownNameError
from foveal.evaluation.predictions import Predictions, fit_temperature, predict_dataset
from foveal.evaluation.thresholds import best_temperature, best_threshold, scorer, tune_best_thresholds, tune_thresholds
from foveal.inference.loading import load_learner
from foveal.learner.vision import vision_learner
from foveal.losses import binary_cross_entropy, cross_entropy
from foveal.metrics.several_labels import f1_multi
from foveal.tasks.base import Decision
from foveal.tasks.multi_label import MultiLabel
from foveal.tasks.single_label import SingleLabel
from foveal.tasks.vocab import Vocab

CRITERIA = ["f1", "precision>=0.9", "recall>=.5", (1.0, 3.0)]


@pytest.mark.parametrize("metric", CRITERIA, ids=str)
@given(st.integers(0, 2**32 - 1), st.integers(1, 20))
def test_no_threshold_is_better_than_the_one_found(metric, seed, n):
    rng = np.random.default_rng(seed)
    probability = torch.from_numpy(np.round(rng.random(n), 1).clip(0.05, 0.95))
    truth = torch.from_numpy(rng.integers(0, 2, n)).double()
    if not truth.any():
        assert best_threshold(probability, truth, scorer(metric)) == 0.5
        return

    def at(thresh):
        found = probability > thresh
        hits, alarms = (found & (truth == 1)).sum().double(), (found & (truth == 0)).sum().double()
        return float(scorer(metric)(hits, alarms, truth.sum()))

    best = at(best_threshold(probability, truth, scorer(metric)))
    everything = [0.0, *(probability.unique() + 0.01).tolist()]
    assert best >= max(at(thresh) for thresh in everything) - 1e-9


def test_bounds_are_kept_where_they_can_be():
    generator = torch.Generator().manual_seed(0)
    truth = torch.randint(0, 2, (400,), generator=generator).double()
    probability = (2 * truth + torch.randn(400, generator=generator, dtype=torch.float64)).sigmoid()
    found = probability > best_threshold(probability, truth, scorer("precision>=0.9"))
    assert (truth[found] == 1).double().mean() >= 0.9
    assert found.sum() > 10
    found = probability > best_threshold(probability, truth, scorer("recall>=0.95"))
    assert found[truth == 1].double().mean() >= 0.95


def test_a_class_is_not_found_where_what_is_found_is_mostly_wrong():
    generator = torch.Generator().manual_seed(0)
    truth = torch.zeros(300, 2, dtype=torch.float64)
    truth[:5, 0] = truth[:100, 1] = 1
    probability = 0.1 * torch.rand(300, 2, generator=generator, dtype=torch.float64)  # says nothing of the first class
    probability[:, 1] += 0.5 * truth[:, 1]
    plain = tune_thresholds(probability, truth, ("rare", "usual"), per_class=True, least=1)
    assert (probability[:, 0] > plain.thresholds[0]).sum() > 0
    found = tune_thresholds(probability, truth, ("rare", "usual"), least=1, least_precision=0.2)
    shown = probability > torch.tensor(found.thresholds)
    assert all(not column.any() or hits[column].mean() >= 0.2 for column, hits in zip(shown.T, truth.T, strict=True))
    assert torch.equal(shown[:, 1], truth[:, 1] == 1)


@pytest.mark.parametrize("wrong", ["f2", "precision>0.9", "recall>=1.5", "precision>=x"])
def test_other_metrics_are_refused(wrong):
    with pytest.raises(InputError, match=r"precision>=0\.9"):
        scorer(wrong)


@pytest.fixture
def overfitted():
    """Few images, many classes, scores without any meaning: whatever is tuned is luck."""
    generator = torch.Generator().manual_seed(0)
    truth = (torch.rand(60, 10, generator=generator) < 0.15).double()
    return torch.rand(60, 10, generator=generator).double(), truth, [f"class {i}" for i in range(10)]


def test_the_score_to_expect_is_not_that_of_the_tuning(overfitted):
    with pytest.warns(UserWarning, match=r"\d+ of 10 classes .* fewer than 10 .*per_class=False"):
        found = tune_thresholds(*overfitted)
    probability, truth, _ = overfitted
    generator = torch.Generator().manual_seed(1)
    fresh = torch.rand(20_000, 10, generator=generator), (torch.rand(20_000, 10, generator=generator) < 0.15).double()
    really = float(f1_multi(*fresh, torch.tensor(found.thresholds), sigmoid=False))
    assert found.after > really + 0.05
    assert abs(found.unseen - really) < abs(found.after - really)
    assert found.after == float(f1_multi(probability, truth, torch.tensor(found.thresholds), sigmoid=False))
    assert all(one.low <= one.high for one in found.intervals)
    alike = tune_thresholds(*overfitted, per_class=False)
    assert len(set(alike.thresholds)) == 1


@pytest.mark.filterwarnings("ignore:.* have fewer than")
def test_classes_with_few_images_share_a_threshold_where_that_promises_more(overfitted):
    probability, truth, _ = overfitted
    positives = truth.sum(dim=0)
    found = tune_thresholds(*overfitted, least=10)
    alike = tune_thresholds(*overfitted, per_class=False)
    assert (positives < 10).any()
    assert (positives >= 10).any()
    for at, n in enumerate(positives.tolist()):
        best = best_threshold(probability[:, at], truth[:, at], scorer("f1"))
        assert found.thresholds[at] == (best if n >= 10 else alike.thresholds[0])
    chosen = tune_best_thresholds(*overfitted)
    ways = ({}, {"least": 10}, {"per_class": False})
    assert chosen.unseen == max(tune_thresholds(*overfitted, least_precision=0.2, **way).unseen for way in ways)


def test_unknown_truths_do_not_move_a_threshold():
    probability = torch.tensor([0.9, 0.8, 0.3, 0.2], dtype=torch.float64)
    truth = torch.tensor([1.0, 1.0, 0.0, 0.0], dtype=torch.float64)
    more = torch.tensor([0.95, 0.1, 0.5], dtype=torch.float64), torch.full((3,), torch.nan, dtype=torch.float64)
    expected = best_threshold(probability, truth, scorer("f1"))
    assert expected == pytest.approx(0.55)
    assert best_threshold(torch.cat([probability, more[0]]), torch.cat([truth, more[1]]), scorer("f1")) == expected


@pytest.mark.parametrize("wanted", [0.3, 1.0, 4.0])
def test_the_temperature_undoes_a_factor(wanted):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(20_000, 4, generator=generator).double() * 2
    target = torch.multinomial(logits.softmax(dim=1), 1, generator=generator)[:, 0]
    found = best_temperature(lambda t: float(cross_entropy(logits * wanted / t, target)))
    assert found == pytest.approx(wanted, rel=0.05)
    hot = torch.bernoulli(logits.sigmoid(), generator=generator)
    found = best_temperature(lambda t: float(binary_cross_entropy(logits * wanted / t, hot)))
    assert found == pytest.approx(wanted, rel=0.05)


def drawn(n, factor, seed, several):
    """Predictions whose labels follow the probabilities, with logits too large by a factor."""
    rng = torch.Generator().manual_seed(seed)
    logits = torch.randn(n, 4, generator=rng) * 2
    vocab = Vocab(tuple("abcd"))
    if several:
        targets = torch.bernoulli(logits.sigmoid(), generator=rng)
    else:
        targets = torch.multinomial(logits.softmax(dim=1), 1, generator=rng)[:, 0]
    task = MultiLabel(vocab) if several else SingleLabel(vocab)
    outputs = logits * factor
    return Predictions([b""] * n, task.activate(outputs), (), targets, task, outputs)


@pytest.mark.parametrize("several", [False, True])
def test_a_temperature_is_taken_where_it_helps_on_images_it_was_not_fitted_on(several):
    assert fit_temperature(drawn(2_000, 4.0, 0, several)) == pytest.approx(4, rel=0.15)
    assert fit_temperature(drawn(2_000, 0.3, 0, several)) == pytest.approx(0.3, rel=0.15)
    few = [drawn(17, 1.0, seed, several) for seed in range(40)]
    guarded = [fit_temperature(one) for one in few]
    plain = [best_temperature(lambda t, p=one: float(p.task.loss(p.outputs / t, p.targets))) for one in few]
    assert guarded.count(1.0) >= 25
    others = drawn(20_000, 1.0, 999, several)
    best, *harm = (
        np.mean([float(others.task.loss(others.outputs / t, others.targets)) for t in temperatures])
        for temperatures in ([1.0], guarded, plain)
    )
    assert harm[0] - best < 0.8 * (harm[1] - best)


def test_another_temperature_answers_alike():
    decision = Decision((0.2, 0.5, 0.9), 1.5)
    logits = torch.linspace(-6, 6, 997)[:, None].double()
    before = (logits / 1.5).sigmoid() > torch.tensor(decision.thresholds)
    moved = decision.at_temperature(0.7)
    assert torch.equal((logits / 0.7).sigmoid() > torch.tensor(moved.thresholds, dtype=torch.float64), before)


def test_one_pass_gives_temperature_and_thresholds(scene_loaders):
    """Predictions that keep raw outputs give what another pass of the predictor would give, bit for bit."""
    learn = vision_learner(scene_loaders(), "tf_efficientnet_lite0", head="linear")
    learn.recorder.silent = True
    learn.probe()
    with torch.no_grad():
        for parameter in learn.model.linear.parameters():
            parameter.mul_(8)  # far too certain
    predictions = learn.validation_predictions()
    assert learn.calibrate(predictions) == fit_temperature(predictions) == learn.calibrate()
    tempered = predictions.with_decision(learn.task.decision)
    again = predict_dataset(learn.predictor(), learn.dls.valid.dataset)
    assert torch.equal(tempered.values, again.values)
    assert not torch.equal(tempered.values, predictions.values)
    assert torch.equal(tempered.targets, again.targets)
    assert tempered.labels == again.labels
    torch.testing.assert_close(tempered.values, learn.get_preds()[0], atol=3e-5, rtol=0)
    with pytest.raises(InputError, match="needs raw outputs"):
        fit_temperature(predict_dataset(learn.predictor(), learn.dls.valid.dataset))


def test_thresholds_and_temperature_travel_with_the_model(scene_loaders, tmp_path):
    learn = vision_learner(scene_loaders(), "tf_efficientnet_lite0", head="linear")
    learn.recorder.silent = True
    learn.probe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        temperature = learn.calibrate()
        found = learn.tune_thresholds("f1")
    images = learn.dls.valid.dataset.images
    loaded = load_learner(learn.export(tmp_path / "m.safetensors"))
    assert loaded.task.decision.thresholds == found.thresholds
    assert loaded.task.decision.temperature == temperature
    preds, _ = learn.get_preds()
    for image, row in itertools.islice(zip(images, preds, strict=True), 5):
        answer = loaded.predict(image)
        torch.testing.assert_close(answer.values, row, atol=3e-5, rtol=0)
        passed = {name for name, p, t in zip(loaded.vocab, row, found.thresholds, strict=True) if p > t}
        assert set(answer.label) == passed
    learn.plot_thresholds()
    shown = [axes for axes in plt.gcf().axes if axes.lines]
    assert len(shown) == len(loaded.vocab)
    assert shown[0].lines[1].get_xdata()[0] == found.thresholds[0]
    plt.close("all")
    points = vision_learner(scene_loaders(points=True, bs=4), "test_resnet", pretrained=False)
    with pytest.raises(InputError, match=r"threshold per class is for tasks of multi-label.*; this task is points"):
        points.tune_thresholds()
    with pytest.raises(InputError, match="A temperature is for tasks of multi-label, single-label"):
        points.calibrate()
    assert points.validation_predictions().outputs is None  # heatmaps are large, and no temperature is chosen


def test_a_goal_for_one_class_leaves_the_others_alone():
    generator = torch.Generator().manual_seed(3)
    truth = (torch.rand(200, 3, generator=generator) < 0.3).double()
    probability = (0.6 * truth + 0.6 * torch.rand(200, 3, generator=generator)).clamp(0.01, 0.99)
    names, before = ("cat", "dog", "owl"), (0.2, 0.3, 0.4)
    every = tune_thresholds(probability, truth, names, metric="precision>=0.9", before=before)
    one = tune_thresholds(probability, truth, names, metric="precision>=0.9", before=before, only=["dog"])
    assert one.thresholds == (0.2, every.thresholds[1], 0.4)
    assert [(one.intervals[at].low, one.intervals[at].high) for at in (0, 2)] == [(0.2, 0.2), (0.4, 0.4)]
    with pytest.raises(UnknownNameError, match=r"no class `dogs`\. Did you mean `dog`"):
        tune_thresholds(probability, truth, names, only=["dogs"])
