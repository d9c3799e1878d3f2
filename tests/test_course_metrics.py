"""The course's metrics give scikit-learn's numbers, over drawn answers of every form."""

import warnings
from functools import partial

import pytest
import torch
from sklearn import metrics as skm

from foveal.core.errors import FovealError, InputError
from foveal.course import metrics as m
from foveal.course import metrics_of_numbers as n
from foveal.metrics.common import Metric, named_metrics, refuse_unsuitable, takes_activated


def value(metric, output, target):
    """Return what an epoch would print: the metric takes raw outputs, or their activation."""
    if takes_activated(metric):
        output = output.softmax(dim=1) if target.ndim == 1 else output.sigmoid()
    return float(metric(output, target))


def drawn(n_items, n_classes, seed, *, several=False):
    rng = torch.Generator().manual_seed(seed)
    output = torch.randn(n_items, n_classes, generator=rng)
    if several:
        return output, (torch.rand(n_items, n_classes, generator=rng) < 0.3).float()
    return output, torch.randint(n_classes, (n_items,), generator=rng)


def of_sklearn(function, *args, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return float(function(*args, **options))


COUNTED = {
    "F1Score": skm.f1_score,
    "Precision": skm.precision_score,
    "Recall": skm.recall_score,
    "Jaccard": skm.jaccard_score,
    "FBeta": partial(skm.fbeta_score, beta=2),
}


@pytest.mark.parametrize("average", ["macro", "micro", "weighted", "binary"])
@pytest.mark.parametrize("name", COUNTED)
def test_one_label_counts(name, average):
    make = partial(m.FBeta, 2) if name == "FBeta" else getattr(m, name)
    for seed, n_classes in ((0, 2), (1, 2), (2, 5), (3, 12)):
        if average == "binary" and n_classes != 2:
            continue
        output, target = drawn(17, n_classes, seed)
        answers = output.argmax(dim=1)
        for pos_label in (0, 1) if average == "binary" else (1,):
            expected = of_sklearn(COUNTED[name], target, answers, average=average, pos_label=pos_label)
            assert value(make(average=average, pos_label=pos_label), output, target) == pytest.approx(expected)


@pytest.mark.parametrize("average", ["macro", "micro", "weighted"])
@pytest.mark.parametrize("name", COUNTED)
def test_several_labels_counts(name, average):
    make = (
        partial(m.FBetaMulti, 2)
        if name == "FBeta"
        else getattr(m, {"F1Score": "F1ScoreMulti"}.get(name, f"{name}Multi"))
    )
    for seed, thresh in ((0, 0.5), (1, 0.2), (2, 0.9)):
        output, target = drawn(23, 4, seed, several=True)
        expected = of_sklearn(COUNTED[name], target, output.sigmoid() > thresh, average=average)
        assert value(make(thresh=thresh, average=average), output, target) == pytest.approx(expected)
        raw = of_sklearn(COUNTED[name], target, output > thresh, average=average)
        assert value(make(thresh=thresh, average=average, sigmoid=False), output, target) == pytest.approx(raw)


def test_the_other_metrics_of_one_label():
    for seed, n_classes in ((0, 2), (1, 3), (2, 7)):
        output, target = drawn(40, n_classes, seed)
        answers, probabilities = output.argmax(dim=1), output.softmax(dim=1).double()
        probabilities /= probabilities.sum(dim=1, keepdim=True)
        pairs = {
            "BalancedAccuracy": (m.BalancedAccuracy(), skm.balanced_accuracy_score(target, answers)),
            "MatthewsCorrCoef": (m.MatthewsCorrCoef(), skm.matthews_corrcoef(target, answers)),
            "HammingLoss": (m.HammingLoss(), skm.hamming_loss(target, answers)),
            "CohenKappa": (m.CohenKappa(), skm.cohen_kappa_score(target, answers)),
            "CohenKappa, linear": (
                m.CohenKappa(weights="linear"),
                skm.cohen_kappa_score(target, answers, weights="linear"),
            ),
            "CohenKappa, quadratic": (
                m.CohenKappa(weights="quadratic"),
                skm.cohen_kappa_score(target, answers, weights="quadratic"),
            ),
        }
        if n_classes == 2:
            second = probabilities[:, 1]
            pairs |= {
                "RocAucBinary": (m.RocAucBinary(), skm.roc_auc_score(target, second)),
                "APScoreBinary": (m.APScoreBinary(), skm.average_precision_score(target, second)),
                "BrierScore": (m.BrierScore(), skm.brier_score_loss(target, second)),
            }
        else:
            auc = skm.roc_auc_score(target, probabilities, multi_class="ovr")
            pairs["RocAuc"] = m.RocAuc(), auc
        for name, (metric, expected) in pairs.items():
            assert value(metric, output, target) == pytest.approx(float(expected), abs=1e-6), name


def test_the_other_metrics_of_several_labels():
    for seed in range(3):
        output, target = drawn(40, 4, seed, several=True)
        probabilities = output.sigmoid()
        matthews = skm.matthews_corrcoef(target.flatten(), probabilities.flatten() > 0.5)  # over all pairs at once
        pairs = {
            "RocAucMulti": (m.RocAucMulti(), skm.roc_auc_score(target, probabilities)),
            "APScoreMulti": (m.APScoreMulti(), skm.average_precision_score(target, probabilities)),
            "HammingLossMulti": (m.HammingLossMulti(), skm.hamming_loss(target, probabilities > 0.5)),
            "BrierScoreMulti": (m.BrierScoreMulti(), ((probabilities - target) ** 2).mean()),
            "MatthewsCorrCoefMulti": (m.MatthewsCorrCoefMulti(), matthews),
        }
        for name, (metric, expected) in pairs.items():
            assert value(metric, output, target) == pytest.approx(float(expected), abs=1e-6), name


def test_metrics_of_numbers():
    rng = torch.Generator().manual_seed(0)
    output, target = torch.randn(30, 1, generator=rng), torch.randn(30, 1, generator=rng)
    target[:5] = target[5:10].round()  # ties, for the ranks
    from scipy import stats

    pairs = {
        "mse": (n.mse, skm.mean_squared_error(target, output)),
        "R2Score": (n.R2Score(), skm.r2_score(target, output)),
        "ExplainedVariance": (n.ExplainedVariance(), skm.explained_variance_score(target, output)),
        "PearsonCorrCoef": (n.PearsonCorrCoef(), stats.pearsonr(output[:, 0], target[:, 0])[0]),
        "SpearmanCorrCoef": (n.SpearmanCorrCoef(), stats.spearmanr(output[:, 0], target[:, 0])[0]),
    }
    for name, (metric, expected) in pairs.items():
        assert float(metric(output, target)) == pytest.approx(float(expected), abs=1e-6), name


def test_a_function_of_scikit_learn_becomes_a_metric():
    output, target = drawn(20, 3, 0)
    metric = n.skm_to_fastai(skm.f1_score, average="macro")
    assert metric.name == "f1_score"
    assert float(metric(output, target)) == pytest.approx(skm.f1_score(target, output.argmax(1), average="macro"))
    output, target = drawn(20, 3, 1, several=True)
    metric = n.skm_to_fastai(skm.f1_score, thresh=0.3, average="macro", flatten=False)
    assert float(metric(output, target)) == pytest.approx(skm.f1_score(target, output.sigmoid() > 0.3, average="macro"))
    numbers = n.AccumMetric(lambda preds, targs: (preds - targs).abs().max(), name="largest")
    assert float(numbers(torch.tensor([[1.0], [3.0]]), torch.tensor([[1.5], [1.0]]))) == 2


def test_what_is_not_supported_is_refused_by_name():
    with pytest.raises(FovealError, match="average"):
        m.F1Score(average="makro")
    with pytest.raises(InputError, match="two classes; there are 3"):
        m.F1Score()(*drawn(9, 3, 0))
    with pytest.raises(InputError, match="axis"):
        m.F1Score(axis=0)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([m.F1Score], r"`F1Score` .*`F1Score\(\)`"),
        (["accuracy"], r"'accuracy'.*metrics=accuracy"),
        ([Metric], r"`Metric`"),
        ([3], "3"),
    ],
)
def test_what_is_no_metric_is_refused_before_training(given, message):
    with pytest.raises(InputError, match=message):
        refuse_unsuitable(given, 2, torch.tensor([0, 1]))


def test_columns_of_two_metrics_of_one_name_differ():
    several = [m.F1ScoreMulti(thresh=0.2), m.F1ScoreMulti(thresh=0.5)]
    assert list(named_metrics(several)) == ["f1_score", "f1_score_2"]
