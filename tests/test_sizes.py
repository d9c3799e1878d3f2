"""Sizes at the doors of the library: nothing, one, two, and both sides of every bound of rows."""

import math
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from foveal.audit import inspection
from foveal.audit.inspection import Inspection, copies_among
from foveal.collab.learner import collab_learner
from foveal.collab.loaders import CollabDataLoaders
from foveal.collab.predictor import RatingPredictor
from foveal.collab.rank_evaluation import rank_metrics
from foveal.core import seeds, storage
from foveal.core.errors import InputError, TrainingError
from foveal.core.left_out import leaving_out
from foveal.core.tables import write_table
from foveal.data.batches import Batch
from foveal.data.loader import DataLoader
from foveal.data.loaders import DataLoaders
from foveal.data.splits.splitters import RandomSplitter, check_split
from foveal.data.splits.stratify import KFoldSplitter, StratifiedSplitter
from foveal.evaluation.interpret import Interpretation
from foveal.evaluation.plots import MOST_CLASSES, threshold_curves
from foveal.evaluation.predictions import Predictions
from foveal.evaluation.thresholds import tune_best_thresholds
from foveal.metrics.bootstrap import bootstrap_samples, interval
from foveal.metrics.one_label import confusion_matrix, f1_per_class, recall_per_class
from foveal.metrics.several_labels import mean_average_precision, mean_roc_auc
from foveal.models.head import spatial_head
from foveal.reporting.page import MOST_ROWS, number, table
from foveal.runs.console import number as console_number
from foveal.tasks.base import Decision
from foveal.tasks.heatmaps import heatmap_around, soft_argmax
from foveal.tasks.multi_label import MultiLabel
from foveal.tasks.regression import Regression
from foveal.tasks.single_label import SingleLabel
from foveal.tasks.vocab import Vocab
from foveal.training.groups import Freeze, keeping_statistics_of_one, set_training
from foveal.training.probes.heatmaps import fit_heatmaps, held_out_positions
from foveal.training.probes.linear import linear_fit

CPU = torch.device("cpu")
# Around the numbers that bound rows anywhere: batches, held-out images, cells of a table.
ROWS = st.sampled_from(
    [0, 1, 2, 3, 4, 5, 63, 64, 65, 255, 256, 257, 1023, 1024, 1025, 1026, 2047, 2048, 2049, 4095, 4096, 4097]
)


class Maps(nn.Module):
    """A body whose maps say where a point is: one feature rises along x, one along y, one is noise."""

    def forward(self, points_BK2):
        x = torch.linspace(-1, 1, 4)[None, None].expand(len(points_BK2), 4, 4)
        near = (
            -((x - points_BK2[:, 0, 0, None, None]) ** 2),
            -((x.transpose(1, 2) - points_BK2[:, 0, 1, None, None]) ** 2),
        )
        return torch.stack([*near, torch.cos(7 * near[0] + 3 * near[1])], dim=1)


def fitted(points, bs=64, known=None):
    """Fit heatmaps to points that the maps tell; return the head and the loss on the images held out."""
    targets = points.clone()
    if known is not None:
        targets[~known] = torch.nan
    head = spatial_head(3, 2)
    starts = range(0, len(points), bs)
    batches = [
        Batch((points[at : at + bs], targets[at : at + bs]), range(at, min(at + bs, len(points)))) for at in starts
    ]

    def loss(output, target):
        heat = heatmap_around(target, 4, 4)
        return (output.flatten(2).softmax(dim=2) - heat.flatten(2)).nanmean().abs()

    return head, fit_heatmaps(Maps(), head, batches, loss, n=len(points), precision="fp32", device=CPU)


@settings(max_examples=30)
@given(ROWS, st.sampled_from([1, 7, 64]))
def test_heatmaps_are_fitted_to_any_number_of_images(n, bs):
    points = torch.rand(n, 1, 2, generator=torch.Generator().manual_seed(n)) * 1.6 - 0.8
    if n == 0:
        with pytest.raises(TrainingError, match="nothing to fit"):
            fitted(points, bs)
        return
    head, loss = fitted(points, bs)
    assert all(parameter.isfinite().all() for parameter in head.parameters())
    assert not math.isinf(loss)


def test_more_images_never_end_much_worse():
    """On noisy maps of the same kind the distance to new points stays as it is at 589 images, or shrinks."""
    far = {}
    new = torch.rand(300, 1, 2, generator=torch.Generator().manual_seed(99)) * 1.6 - 0.8
    for n in (589, 1025, 2000, 20_000):
        points = torch.rand(n, 1, 2, generator=torch.Generator().manual_seed(n)) * 1.6 - 0.8
        head, _ = fitted(points, bs=256)
        found = soft_argmax(head(Maps()(new)).detach())
        far[n] = float(torch.linalg.vector_norm(found - new, dim=2).median())
    assert max(far.values()) <= 1.1 * far[589], far


@given(ROWS)
def test_images_held_out_lie_all_over_the_set(n):
    kept = held_out_positions(n)
    assert len(kept) <= 256
    if n:
        assert kept[0] == 0
        assert n - 1 - kept[-1] < max(4, n / 256 + 1)
    if 0 < n <= 1024:
        assert kept == range(0, n, 4)


@pytest.mark.parametrize("known", [0, 1, 2])
def test_heatmaps_where_hardly_a_point_is_known(known):
    points = torch.rand(50, 1, 2, generator=torch.Generator().manual_seed(1)) - 0.5
    head, _ = fitted(points, known=torch.arange(50) < known)
    assert all(parameter.isfinite().all() for parameter in head.parameters())


@settings(max_examples=25)
@given(st.sampled_from([1, 2, 3, 4, 5, 63, 64, 65, 1025]), st.integers(1, 3))
def test_a_linear_layer_is_fitted_to_any_number_of_rows(n, n_outputs):
    random = torch.Generator().manual_seed(n)
    features, targets = torch.randn(n, 4, generator=random), torch.randn(n, n_outputs, generator=random)
    layer, strength, *_ = linear_fit(features, targets, nn.functional.mse_loss, n_outputs)
    assert all(parameter.isfinite().all() for parameter in layer.parameters())
    assert strength > 0


@pytest.mark.parametrize("unit", [1e-12, 1e-6, 1.0, 1e6, 1e12, 1e18])
def test_a_linear_layer_is_fitted_alike_in_every_unit(unit):
    """Numbers in other units are the same numbers: within their range the layer answers the same share of it."""
    random = torch.Generator().manual_seed(0)
    features = torch.randn(200, 8, generator=random)
    targets = torch.sigmoid(features @ torch.randn(8, 1, generator=random))
    loss = nn.functional.mse_loss
    plain, _, *_ = linear_fit(features, targets, lambda o, t: loss(torch.sigmoid(o), t), 1)
    layer, _, *_ = linear_fit(features, targets * unit, lambda o, t: loss(torch.sigmoid(o) * unit, t), 1)
    answers = [torch.sigmoid(one(features)) for one in (plain, layer)]
    assert (answers[0] - answers[1]).abs().max() < 0.02


@given(ROWS, st.sampled_from([1, 2, 64, 4096]), st.booleans(), st.booleans())
def test_a_loader_visits_every_item_once(n, bs, shuffle, drop_last):
    loader = DataLoader(list(range(n)), bs, shuffle, drop_last=drop_last)
    seen = [index for batch in loader.batches(epoch=0) for index in batch.indices]
    assert len(set(seen)) == len(seen)
    missing = n - len(seen)
    assert 0 <= missing < bs
    assert missing == 0 or (drop_last and n >= bs)
    assert len(loader) == len(list(loader.batches(epoch=0)))


@given(ROWS, st.integers(-(2**63), 2**63 - 1))
def test_splits_of_any_size_have_two_sides_or_are_refused(n, seed):
    items = [{"label": f"c{at % 3}", "group": at // 2} for at in range(n)]
    splitters = (
        RandomSplitter(0.2, seed % 2**32),
        StratifiedSplitter("label", seed=seed),
        StratifiedSplitter("label", seed=seed, group="group"),
        KFoldSplitter(2, 1, "label", seed),
    )
    for splitter in splitters:
        try:
            train, valid = check_split(splitter(items), n)
        except InputError:
            assert n < 5
            continue
        assert sorted([*train, *valid]) == list(range(n))
        assert train
        assert valid


@pytest.mark.parametrize("seed", [2**63, -(2**63) - 1, 2**70, 1.5, "1"])
def test_what_is_no_seed_is_refused_everywhere(seed):
    doors = (
        lambda: DataLoader([1], seed=seed),
        lambda: RandomSplitter(0.2, seed),
        lambda: StratifiedSplitter(None, seed=seed)([1, 2, 3]),
        lambda: KFoldSplitter(2, 0, None, seed)([1, 2, 3]),
        lambda: seeds.check_seed(seed),
    )
    for door in doors:
        with pytest.raises(InputError, match="A seed is a whole number"):
            door()
    assert seeds.check_seed(np.int64(-5)) == -5


@settings(max_examples=20, deadline=None)
@given(st.sampled_from([1, 2, 3, 64, 1025]), st.sampled_from([1, 2, 3, 201]), st.sampled_from(["none", "all", "some"]))
def test_metrics_intervals_and_thresholds_of_any_size(n, n_classes, which):
    random = torch.Generator().manual_seed(n * 1000 + n_classes)
    probability = torch.rand(n, n_classes, generator=random)
    truth = {"none": torch.zeros_like, "all": torch.ones_like}.get(which, lambda p: (p > 0.6).float())(probability)
    for metric in (mean_average_precision, mean_roc_auc):
        value, low, high = interval(metric, probability, truth, n_samples=3)
        assert math.isnan(low) or -1e-9 <= low <= value <= high <= 1 + 1e-9
    names = [f"c{at}" for at in range(n_classes)]
    if not truth.any():
        with pytest.raises(InputError, match="no validation image has any label"):
            tune_best_thresholds(probability, truth, names)
    elif n <= 64:
        assert all(0 <= threshold <= 1 for threshold in tune_best_thresholds(probability, truth, names).thresholds)


def test_intervals_of_many_classes_take_fewer_samples():
    def samples(n_classes):
        return sum(1 for _ in bootstrap_samples((torch.zeros(100, n_classes),)))

    assert [samples(n) for n in (1, 200, 400, 100_000)] == [1000, 1000, 500, 50]


@given(st.integers(1, 40), st.integers(1, 6))
def test_figures_of_classes_are_those_of_the_confusion_matrix(n, n_classes):
    random = torch.Generator().manual_seed(n * 10 + n_classes)
    output, target = torch.rand(n, n_classes, generator=random), torch.randint(n_classes, (n,), generator=random)
    counts = confusion_matrix(output, target).double()
    recall = counts.diagonal() / counts.sum(dim=1)
    f1 = 2 * counts.diagonal() / (counts.sum(dim=0) + counts.sum(dim=1))
    assert torch.equal(recall_per_class(output, target).nan_to_num(-1), recall.nan_to_num(-1))
    assert torch.equal(f1_per_class(output, target).nan_to_num(-1), f1.nan_to_num(-1))


def predictions(n, n_classes):
    """Answers for `n` images, every second one wrong where there are two classes."""
    task = SingleLabel(Vocab(tuple(f"c{at:05}" for at in range(n_classes))))
    targets = torch.arange(n) % n_classes
    values = nn.functional.one_hot((targets + torch.arange(n) % 2) % n_classes, n_classes).float()
    return Predictions([f"{at}.jpg" for at in range(n)], values, task.decode(values, None), targets, task)


def test_what_is_confused_needs_no_square_of_classes():
    """With 20,000 classes a square has 400 million counts; what is confused are two images."""
    pairs = Interpretation(predictions(4, 20_000)).most_confused()
    assert pairs == [("c00001", "c00002", 1), ("c00003", "c00004", 1)]
    small = Interpretation(predictions(9, 3))
    counts = small.confusion_matrix().fill_diagonal_(0)
    assert sum(n for _, _, n in small.most_confused()) == int(counts.sum())


def test_slices_go_through_the_images_once():
    found = Interpretation(predictions(3000, 2))
    rows = found.slices([at // 3 for at in range(3000)])
    assert len(rows) == 1000
    assert sum(n for _, n, _ in rows) == 3000
    with pytest.raises(InputError, match="20,000 different values"):
        Interpretation(predictions(20_000, 2)).slices(range(20_000))


def test_of_very_many_classes_the_most_frequent_are_drawn():
    n = MOST_CLASSES + 5
    task = MultiLabel(Vocab(tuple(f"c{at:03}" for at in range(n)))).with_decision(Decision((0.5,) * n))
    truth = (torch.arange(n)[None] >= torch.arange(n)[:, None]).float()  # the last class is in all rows
    figure = threshold_curves(torch.rand(n, n, generator=torch.Generator().manual_seed(0)), truth, task)
    titles = [axes.get_title("left") for axes in figure.axes if axes.get_title("left")]
    assert titles == [f"c{at:03} ({at + 1})" for at in range(5, n)]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.0, "0.000"),
        (0.5, "0.500"),
        (12.34, "12.3"),
        (1.6e-10, "1.6e-10"),
        (-2.5e12, "-2.5e+12"),
        (math.nan, "not defined"),
        (7, "7"),
    ],
)
def test_numbers_in_any_unit_are_shown(value, shown):
    assert number(value) == shown
    assert math.isnan(value) or float(console_number(value)) == pytest.approx(value, rel=0.01)


def test_a_table_of_a_page_says_what_it_leaves_out():
    page = table(("name",), [(f"row {at}",) for at in range(MOST_ROWS + 7)])
    assert page.count("<tr>") == 1 + MOST_ROWS
    assert "and 7 more" in page
    assert "more" not in table(("name",), [("row",)] * MOST_ROWS)


def test_copies_are_looked_for_among_the_nearest_of_very_many(monkeypatch):
    """Blank images all have one hash; a copy is found where it is among those that are compared."""
    monkeypatch.setattr(inspection, "_MOST_COMPARED", 10)
    thumbs = {f"{at}": bytes([at % 256] * 144) for at in range(0, 200, 10)}
    seen = {name: Inspection(name, "", (9, 9), 0, thumb) for name, thumb in thumbs.items()}
    copies, n_crowded = copies_among(list(seen), seen)
    assert (copies, n_crowded) == ([], 9)
    seen["like 30"] = Inspection("like 30", "", (9, 9), 0, bytes([32] * 144))
    assert copies_among(list(seen), seen)[0] == [("30", "like 30", False)]
    monkeypatch.undo()
    assert copies_among(list(seen), seen) == ([("30", "like 30", False)], 0)


def test_a_batch_of_one_goes_through_batch_normalisation():
    """Where there is one value per channel the statistics stay; on a map they follow, as torch can do it."""
    pooled = (
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )  # without ReLU the means of a batch are 0, as at the start
    model = nn.Sequential(nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2), *pooled, nn.BatchNorm1d(2))
    set_training(model, Freeze())
    before = [model[at].running_mean.clone() for at in (1, 5)]
    with keeping_statistics_of_one(model, 1):
        model(torch.randn(1, 3, 4, 4)).sum().backward()
    assert [torch.equal(model[at].running_mean, mean) for at, mean in zip((1, 5), before, strict=True)] == [False, True]
    assert model[5].training
    with keeping_statistics_of_one(model, 2):
        model(torch.randn(2, 3, 4, 4))
    assert not torch.equal(model[5].running_mean, before[1])
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        model(torch.randn(1, 3, 4, 4))


@pytest.mark.parametrize(
    "tensor", [torch.zeros(4, 1)[:, 0][:1], torch.zeros(3, 2)[:1, 1], torch.tensor(1.5), torch.zeros(0)]
)
def test_a_tensor_of_any_stride_has_a_hash(tensor):
    assert storage.tensor_hash(tensor) == storage.tensor_hash(tensor.clone(memory_format=torch.contiguous_format))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1e300], "may not exceed 1e"),
        ([-2e37, 0], "may not exceed 1e"),
        ([math.inf], "must be finite"),
        ([1e12, 1e12 + 1, 1e12 + 2], "32-bit numbers lie 6.55e"),
        ([math.nan], "not known for any"),
    ],
)
def test_numbers_that_32_bits_cannot_hold_are_refused(values, message):
    with pytest.raises(InputError, match=message):
        Regression.of(["x"], values)


@pytest.mark.parametrize("value", [0.1, 36.6, 4.0, 1e12, 1e-12, -19.9])
@pytest.mark.parametrize("n", [1, 3, 10, 160])
def test_equal_numbers_are_learned_whatever_rounding_makes_of_their_spread(value, n):
    task = Regression.of(["x"], [value] * n)
    assert task.low[0] < value < task.high[0]
    assert task.spread == (1.0,)


@given(st.sampled_from([1e-12, 1e-3, 0.5, 1.0, 100.0, 1e5, 1e12]))
def test_the_loss_of_a_number_is_of_a_size_to_train_with(unit):
    task = Regression.of(["x"], [0.0, unit, 2 * unit, 3 * unit])
    loss = float(task.loss(torch.tensor([[0.0]]), torch.tensor([[unit]])))
    assert 1e-5 < loss < 1e9
    if 0.1 <= unit <= 100:
        assert loss == pytest.approx(unit**2)  # the book's


def test_a_result_beside_the_model_is_left_out_with_its_reason():
    reasons = {}
    with pytest.warns(UserWarning, match=r"Left out: a drawing\. no ink"), leaving_out("a drawing", reasons):
        raise InputError("no ink")
    with pytest.warns(UserWarning, match="ZeroDivisionError"), leaving_out("a figure", reasons):
        _ = 1 / 0
    with leaving_out("what works", reasons):
        pass
    assert reasons == {"a drawing": "no ink", "a figure": "ZeroDivisionError: division by zero"}


def test_ratings_beyond_a_batch_of_pairs_are_answered(monkeypatch):
    monkeypatch.setattr("foveal.collab.predictor._PAIRS", 4)
    import pandas as pd

    from foveal.collab.loaders import CollabDataLoaders
    from foveal.collab.model import CollabSpec, collab_model

    frame = pd.DataFrame({"user": list("abcabc"), "item": list("xyzyzx"), "rating": [1, 2, 3, 4, 5, 3]})
    dls = CollabDataLoaders.from_df(frame, seed=0)
    task = dls.task
    model = collab_model(CollabSpec(len(task.users), len(task.items), (3, 3)), task.users, task.items)
    predictor = RatingPredictor.of(model, task, dls.train.dataset.inputs)
    for n in (1, 3, 4, 5, 8, 9):
        pairs = torch.stack([torch.arange(n) % len(task.users), torch.arange(n) % len(task.items)], dim=1)
        assert torch.allclose(predictor.answers(pairs)[:, 0], model.eval()(pairs).detach(), atol=1e-6)


def test_loaders_of_fewer_items_than_a_batch_shrink_it():
    sides = DataLoader([1, 2], 64, True, drop_last=True), DataLoader([3], 64)
    dls = DataLoaders(*sides)
    assert [len(batch[0]) for batch in dls.train] == [2]
    assert [len(batch[0]) for batch in dls.valid] == [1]


@pytest.mark.parametrize("n", [0, 1, 4095, 4096, 4097, 8193])
@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".parquet"])
def test_a_table_of_any_length_holds_what_was_written(n, ending, tmp_path):
    """Also where a column says something only after the rows that are written at once: nothing, then whole numbers, then not."""
    rows = [{"fname": f"{at}.jpg", "x": None if at < 4096 else at if at < 8192 else at + 0.5} for at in range(n)]
    assert write_table(tmp_path / f"t{ending}", iter(rows)) == n
    if n == 0:
        return
    read = {".csv": pd.read_csv, ".parquet": pd.read_parquet, ".jsonl": partial(pd.read_json, lines=True)}[ending]
    frame = read(tmp_path / f"t{ending}")
    assert frame["fname"].tolist() == [row["fname"] for row in rows]
    assert [None if math.isnan(x) else x for x in frame["x"].astype(float)] == [row["x"] for row in rows]


def ratings(n_users, n_items=7):
    """A learner on ratings in which every user has two items in training and one in validation."""
    rows = [(user, (user + at) % n_items, 1 + (user * at) % 5, at == 2) for user in range(n_users) for at in range(3)]
    frame = pd.DataFrame(rows, columns=["user", "item", "rating", "valid"])
    split = [frame.index[frame.valid == side].tolist() for side in (False, True)]
    dls = CollabDataLoaders.from_df(frame[["user", "item", "rating"]], splitter=lambda _: split, seed=0)
    return collab_learner(dls, 3, y_range=(0, 6), seed=0)


def test_rankings_do_not_depend_on_how_many_users_are_ranked_at_once(monkeypatch):
    learn = ratings(30)
    found = []
    for at_once in (1, 7, 1024):
        monkeypatch.setattr("foveal.collab.rank_evaluation._USERS", at_once)
        found.append(rank_metrics(learn, 3, liked=0.0))
    assert np.allclose(found[0], found[2])
    assert np.allclose(found[1], found[2])


@pytest.mark.parametrize("n", [1023, 1024, 1025])
def test_rankings_on_both_sides_of_the_users_ranked_at_once(n):
    assert rank_metrics(ratings(n), 3, liked=0.0).to_numpy().max() <= 1


@pytest.mark.parametrize("n", [0, 1, 4095, 4096, 4097])
def test_pairs_are_answered_one_by_one_as_all_at_once(n):
    predictor = ratings(20).predictor()
    pairs = [(at % 25, at % 9) for at in range(n)]  # unknown ones among them
    answers = [answer.label for answer in predictor.predict_batch(iter(pairs))]
    expected = [predictor.predict(pair).label for pair in pairs[:: max(1, n // 5)]]
    assert len(answers) == n
    assert answers[:: max(1, n // 5)] == pytest.approx(expected, abs=1e-6)


def test_a_linear_layer_does_not_depend_on_which_threads_find_it(monkeypatch):
    random = torch.Generator().manual_seed(0)
    features, targets = torch.randn(90, 5, generator=random), torch.randn(90, 2, generator=random)
    found = []
    for bounds in ((10**9, 10**9), (1, 10**9), (1, 2)):  # one after the other, side by side, all threads for each
        for name, bound in zip(
            ("linear._SIDE_BY_SIDE", "linear.SHARED", "axes.SHARED"), (*bounds, bounds[1]), strict=True
        ):
            monkeypatch.setattr(f"foveal.training.probes.{name}", bound)
        found.append(linear_fit(features, targets, nn.functional.mse_loss, 2)[0].weight)
    assert all(torch.equal(found[0], weight) for weight in found[1:])
