"""What more labels should bring: a curve that is known, and what is written and printed of it."""

import numpy as np
import pytest
import torch

from foveal.evaluation.forecast import Forecast, Labelled, forecast
from foveal.metrics.bootstrap import Interval
from foveal.tasks.multi_label import MultiLabel
from foveal.tasks.single_label import SingleLabel
from foveal.tasks.vocab import Vocab
from foveal.training.probes.closed_form import ridge_fit

CLASSES, WIDTH = 8, 60
TASK = SingleLabel(Vocab(tuple("abcdefgh")))


def drawn(n, seed, noise=2.2):
    centres = torch.randn(CLASSES, WIDTH, generator=torch.Generator().manual_seed(0))
    rng = torch.Generator().manual_seed(seed)
    targets = torch.randint(0, CLASSES, (n,), generator=rng)
    return Labelled(centres[targets] + noise * torch.randn(n, WIDTH, generator=rng), targets)


def accuracy(train, valid):
    layer = ridge_fit(train.features, train.targets, TASK.loss, CLASSES).layer
    return float((layer(valid.features).argmax(dim=1) == valid.targets).double().mean())


def test_twice_as_many_bring_about_what_was_forecast():
    valid = drawn(4_000, 1)
    off, inside = [], []
    for seed in range(10):
        train, more = drawn(150, 10 + seed), drawn(150, 100 + seed)
        found = forecast(TASK, train, valid)
        assert (found.n, found.metric) == (150, "accuracy")
        assert found.now == pytest.approx(accuracy(train, valid), abs=1e-6)
        twice = accuracy(Labelled(*(torch.cat(pair) for pair in zip(train, more, strict=True))), valid)
        off.append(twice - found.at_twice.value)
        inside.append(found.at_twice.low <= twice <= found.at_twice.high)
    assert np.mean(inside) >= 0.8
    assert abs(np.mean(off)) < 0.02
    assert np.mean(np.abs(off)) < 0.03


def test_it_is_the_same_each_time_and_within_what_a_share_can_be():
    train, valid = drawn(64, 5, noise=0.01), drawn(300, 6, noise=0.01)
    found = forecast(TASK, train, valid)
    assert found == forecast(TASK, train, valid)
    assert found.at_twice.high <= 1
    assert found.at_twice.value == pytest.approx(1, abs=0.01)


def test_what_cannot_be_told_is_not():
    assert forecast(TASK, drawn(39, 0), drawn(50, 1)) is None
    unknown = drawn(60, 0)
    several = MultiLabel(TASK.vocab)
    marks = torch.nn.functional.one_hot(unknown.targets, CLASSES).float()
    marks[3, 2] = torch.nan
    assert forecast(several, Labelled(unknown.features, marks), Labelled(unknown.features, marks)) is None


def test_it_reads_as_a_sentence():
    found = Forecast("mean_average_precision", 548, 0.46, Interval(0.5, 0.48, 0.52))
    assert str(found) == (
        "With twice as many labelled images, 1,096 to train on, mean average precision should be 0.500 (0.480 to 0.520) "
        "instead of 0.460."
    )
    assert Forecast.from_dict(found._asdict() | {"at_twice": [0.5, 0.48, 0.52]}) == found
