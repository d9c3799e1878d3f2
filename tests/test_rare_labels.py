"""Rare labels: what is drawn how often, which class weighs how much, and that both are a function of seed and epoch."""

import json
import math
import tomllib

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

import foveal as package
from foveal.core import distributed
from foveal.core.errors import InputError, UnknownNameError
from foveal.core.rng import draws_for, order_for
from foveal.data.block import DataBlock
from foveal.data.datasets import ImageDataset
from foveal.data.image_block import ImageBlock
from foveal.data.image_loaders import ImageDataLoaders
from foveal.data.labels import ColReader
from foveal.data.loader import DataLoader
from foveal.data.loaders import DataLoaders
from foveal.data.splits.splitters import ColSplitter
from foveal.geometry.resize import RandomResizedCrop
from foveal.inference.loading import load_image_predictor
from foveal.learner.vision import vision_learner
from foveal.losses import (
    IGNORED,
    BCEWithLogitsLossFlat,
    CrossEntropyLossFlat,
    FocalLossFlat,
    binary_cross_entropy,
    cross_entropy,
)
from foveal.tasks.balance import balanced_weights, class_frequencies, inverse_frequency
from foveal.tasks.multi_label import MultiCategoryBlock, MultiLabel
from foveal.tasks.single_label import CategoryBlock, SingleLabel
from foveal.tasks.vocab import Vocab
from foveal.training.checkpoint import Checkpoints
from foveal.training.probes import linear as probe

ABC = Vocab(("a", "b", "c"))
ONE, SEVERAL = SingleLabel(ABC), MultiLabel(ABC)


class CrashError(Exception):
    """What a kill looks like from inside."""


class Crash:
    def __init__(self, at):
        self.left = at

    def after_step(self, _):
        self.left -= 1
        if self.left < 0:
            raise CrashError


def first_of(row):
    return (row["labels"].split() or ["none"])[0]


@pytest.fixture
def loaders(scenes):
    """A function that builds loaders of crops, with one label or several."""
    frame = pd.read_csv(scenes / "scenes.csv", keep_default_na=False)

    def build(*, one_label=False, size=32, **options):
        block = DataBlock(
            (ImageBlock, CategoryBlock if one_label else MultiCategoryBlock),
            get_x=ColReader("fname", pref=scenes / "scenes"),
            get_y=first_of if one_label else ColReader("labels", label_delim=" "),
            splitter=ColSplitter(),
            item_tfms=RandomResizedCrop(size, min_scale=0.5),
        )
        return block.dataloaders(frame, **{"bs": 8, "seed": 5, "num_workers": 0} | options)

    return build


def learner(dls, **options):
    torch.manual_seed(3)
    learn = vision_learner(dls, "test_resnet", pretrained=False, seed=3, **options)
    learn.recorder.silent = True
    return learn


# what is drawn


@given(
    st.lists(st.floats(0, 1e3), min_size=1, max_size=80).filter(any),
    st.integers(0, 2**64 - 1),
    st.integers(0, 3),
)
def test_an_item_is_drawn_as_often_as_its_weight_says_rounded_down_or_up(weights, seed, epoch):
    weights = np.array(weights)
    n, drawn = len(weights), draws_for(seed, epoch, weights)
    assert len(drawn) == n
    assert (np.sort(drawn) == drawn).all()
    expected = n * (weights / weights.max()) / (weights / weights.max()).sum()
    counts = np.bincount(drawn, minlength=n)
    assert (np.abs(counts - expected) < 1 + 1e-9).all()
    assert not counts[weights == 0].any()


@given(st.integers(1, 500), st.floats(1e-6, 1e6), st.integers(0, 2**32))
def test_equal_weights_draw_every_item_once(n, weight, seed):
    assert draws_for(seed, 0, np.full(n, weight)).tolist() == list(range(n))


def test_the_mean_over_epochs_is_the_formula():
    weights = np.random.default_rng(0).random(60) ** 3
    counts = np.mean([np.bincount(draws_for(1, epoch, weights), minlength=60) for epoch in range(4000)], axis=0)
    np.testing.assert_allclose(counts, 60 * weights / weights.sum(), atol=0.04)  # 4 standard errors of a half


@pytest.mark.parametrize("sampling", ["balanced", "square-root"])
def test_each_class_of_one_label_is_drawn_as_often_as_the_formula_says(sampling, loaders):
    dls = loaders(one_label=True, sampling=sampling)
    targets = dls.train.dataset.targets
    counts = torch.bincount(targets, minlength=dls.c).double()
    shares = torch.ones(dls.c).double() if sampling == "balanced" else counts.sqrt()
    expected = len(targets) * shares / shares.sum()
    orders = [torch.bincount(targets[dls.train.order(epoch)], minlength=dls.c).double() for epoch in range(400)]
    torch.testing.assert_close(torch.stack(orders).mean(dim=0), expected, atol=0.25, rtol=0)


def test_items_of_several_labels_weigh_the_mean_and_unknown_ones_do_not_count():
    nan = math.nan
    targets = torch.tensor([[1.0, 0, 0], [1, 1, 0], [1, nan, 0], [0, 0, nan], [nan, nan, nan], [1, 0, 1]])
    frequency = class_frequencies(SEVERAL, targets)
    assert frequency.tolist() == [4 / 5, 1 / 4, 1 / 4]
    usual, rare = 5 / 4, 4.0
    expected = [usual, (usual + rare) / 2, usual, usual, usual, (usual + rare) / 2]
    torch.testing.assert_close(inverse_frequency(SEVERAL, targets), torch.tensor(expected).double())
    roots = [usual**0.5, (usual**0.5 + rare**0.5) / 2, usual**0.5, usual**0.5, usual**0.5]
    torch.testing.assert_close(
        inverse_frequency(SEVERAL, targets, power=0.5), torch.tensor([*roots, roots[1]]).double()
    )


def test_an_unknown_single_label_weighs_as_the_most_frequent_class():
    targets = torch.tensor([0, 0, 0, 1, IGNORED])
    assert inverse_frequency(ONE, targets).tolist() == [4 / 3, 4 / 3, 4 / 3, 4.0, 4 / 3]
    assert inverse_frequency(ONE, torch.tensor([IGNORED, IGNORED])).tolist() == [1.0, 1.0]


# a function of seed and epoch


def test_weights_of_1_are_no_weights(loaders):
    plain, weighted = loaders(), loaders(sampling=[1.0] * 48)
    for epoch in range(2):
        assert plain.train.order(epoch) == weighted.train.order(epoch)
        for one, other in zip(plain.train.batches(epoch=epoch), weighted.train.batches(epoch=epoch), strict=True):
            assert torch.equal(one.inputs, other.inputs)
            assert torch.equal(one.targets, other.targets)


def test_batches_are_the_same_for_any_number_of_threads(loaders):
    few, many = (loaders(sampling="balanced", num_workers=n) for n in (0, 3))
    for epoch in range(2):
        for one, other in zip(few.train.batches(epoch=epoch), many.train.batches(epoch=epoch), strict=True):
            assert list(one.indices) == list(other.indices)
            assert torch.equal(one.inputs, other.inputs)


def test_the_slices_of_processes_make_up_the_batch_of_one(loaders, monkeypatch):
    dls = loaders(sampling="balanced", bs=7)
    whole = list(dls.train.batches(epoch=1, first=2))
    parts = []
    for rank in range(2):
        monkeypatch.setattr(distributed, "world_size", lambda: 2)
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        parts.append(list(dls.train.rank_batches(epoch=1, first=2)))
    for batch, one, other in zip(whole, *parts, strict=True):
        assert [*one.indices, *other.indices] == list(batch.indices)
        assert torch.equal(torch.cat([one.inputs, other.inputs]), batch.inputs)


def test_an_item_that_is_drawn_again_is_cropped_anew(loaders):
    weights = [0.0] * 48
    weights[7] = 1.0
    batch = next(loaders(sampling=weights).train.batches(epoch=0))
    assert list(batch.indices) == [7] * 8
    crops = {tuple(image.flatten().tolist()) for image in batch.inputs}
    assert len(crops) == 8
    assert (batch.targets == batch.targets[0]).all()


def test_training_with_a_sampler_resumes_bit_exactly(loaders, tmp_path):
    def build():
        return learner(loaders(sampling="balanced"), class_weights="balanced")

    whole = build()
    whole.fit(3, 1e-2)
    with pytest.raises(CrashError):
        build().fit(3, 1e-2, cbs=[Crash(9), Checkpoints(tmp_path, every_seconds=0.0)])
    resumed = build()
    resumed.fit(3, 1e-2, resume=tmp_path)
    assert all(torch.equal(t, resumed.model.state_dict()[name]) for name, t in whole.model.state_dict().items())
    assert whole.recorder.values == resumed.recorder.values


@pytest.mark.parametrize(
    ("sampling", "weights", "match"), [("uniform", "balanced", "sampling was"), ("balanced", None, "class weights was")]
)
def test_a_checkpoint_of_another_sampler_or_other_weights_is_refused(sampling, weights, match, loaders, tmp_path):
    first = learner(loaders(sampling="balanced"), class_weights="balanced")
    with pytest.raises(CrashError):
        first.fit(3, 1e-2, cbs=[Crash(9), Checkpoints(tmp_path, every_seconds=0.0)])
    with pytest.raises(InputError, match=match):
        learner(loaders(sampling=sampling), class_weights=weights).fit(3, 1e-2, resume=tmp_path)


def test_windows_of_stored_images_are_kept(scenes, tmp_path):
    from foveal.sources.stored import ParquetImages

    frame = pd.read_csv(scenes / "scenes.csv", keep_default_na=False)
    data = frame.assign(jpg=[(scenes / "scenes" / name).read_bytes() for name in frame.fname])
    data.to_parquet(tmp_path / "all.parquet", row_group_size=7)
    images = ParquetImages(str(tmp_path), cache_mib=0)
    block = DataBlock(
        (ImageBlock, MultiCategoryBlock),
        get_x=ColReader("stored_image"),
        get_y=ColReader("labels", label_delim=" "),
        splitter=ColSplitter(),
        item_tfms=RandomResizedCrop(32, min_scale=0.5),
    )
    train = block.dataloaders(images.frame, bs=8, sampling="balanced").train
    groups = [image.group for image in train.dataset.images]
    for epoch in range(3):
        seen = [groups[at] for at in train.order(epoch)]
        for at in range(len(seen)):
            assert len(set(seen[: at + 1]) & set(seen[at:])) <= images.rows.n_groups_at_once


# the forms


def test_validation_and_the_order_of_data_are_never_sampled(loaders):
    dls = loaders(sampling="balanced")
    for made in (dls, dls.new(bs=4), loaders().new(sampling="balanced")):
        assert made.train.sampling == "balanced"
        assert made.valid.sampling == "uniform"
        assert made.valid.order(0) == list(range(made.valid.n))
        assert made.train.in_order().order(0) == list(range(made.train.n))
    assert dls.new(sampling="uniform").train.order(0) == loaders().train.order(0)


def test_all_forms_draw_alike(loaders, scenes):
    weights = np.linspace(0, 1, 48)
    expected = loaders(sampling=weights).train.order(2)
    frame = pd.read_csv(scenes / "scenes.csv", keep_default_na=False)
    block = DataBlock(
        (ImageBlock, MultiCategoryBlock),
        get_x=ColReader("fname", pref=scenes / "scenes"),
        get_y=ColReader("labels", label_delim=" "),
        splitter=ColSplitter(),
        item_tfms=RandomResizedCrop(32, min_scale=0.5),
    )
    assert block.weighted_dataloaders(frame, torch.from_numpy(weights), bs=8, seed=5).train.order(2) == expected
    made = ImageDataLoaders.from_df(
        frame,
        scenes / "scenes",
        label_delim=" ",
        valid_col="is_valid",
        item_tfms=RandomResizedCrop(32),
        bs=8,
        sampling="balanced",
    )
    assert made.train.sampling == "balanced"
    loader = DataLoader(list(range(48)), 8, shuffle=True, seed=5, sampling=weights.tolist())
    assert loader.order(2) == expected
    assert [int(x) for epoch in [2] for b in loader.batches(epoch=epoch) for x in b.parts[0]] == expected


def test_order_is_what_it_was_without_weights(loaders):
    assert loaders().train.order(1) == order_for(5, 1, 48).tolist()


# refusals


@pytest.mark.parametrize(
    ("sampling", "match"),
    [
        ("balance", "Did you mean `balanced`"),
        ([1.0] * 47, r"one weight per training item, 48; got \[47\]"),
        ([1.0] * 47 + [-1], r"from 0 up; item 47 has -1\.0"),
        ([1.0] * 47 + [math.inf], "item 47 has inf"),
        ([0.0] * 48, "above 0, or none is drawn"),
        (["much"] * 48, "Weights of items are numbers"),
    ],
)
def test_weights_of_items_that_do_not_suit_are_refused(sampling, match, loaders):
    with pytest.raises(InputError, match=match):
        loaders(sampling=sampling)


def test_what_cannot_be_sampled_is_refused(loaders, scene_loaders):
    with pytest.raises(InputError, match="is for tasks of multi-label, single-label; this task is points"):
        scene_loaders(points=True, bs=8, sampling="balanced")
    with pytest.raises(InputError, match="no task that says what their classes are"):
        DataLoader([1, 2, 3], 2, shuffle=True, sampling="balanced")
    with pytest.raises(InputError, match="give shuffle=True"):
        DataLoader([1, 2, 3], 2, sampling=[1, 1, 2])
    batches = [(torch.zeros(2, 3), torch.zeros(2, 1))] * 2
    with pytest.raises(InputError, match="draws its items itself"):
        DataLoaders(batches, batches).new(sampling=[1.0, 2.0])
    scene_loaders(points=True, bs=8, sampling=[1.0] * 9)  # weights per item need no classes


# class weights


@pytest.mark.parametrize("one_label", [True, False])
def test_weights_by_name_are_weights_by_position(one_label, loaders):
    dls = loaders(one_label=one_label)
    rare = str(dls.vocab[1])
    position = [1.0] * dls.c
    position[1] = 2.5
    loss = CrossEntropyLossFlat(weight=position) if one_label else BCEWithLogitsLossFlat(weight=position)
    named, placed = learner(dls, class_weights={rare: 2.5}), learner(loaders(one_label=one_label), loss_func=loss)
    for learn in (named, placed):
        torch.manual_seed(4)  # dropout
        learn.fit(1, 1e-2)
    assert all(torch.equal(t, placed.model.state_dict()[name]) for name, t in named.model.state_dict().items())
    assert named.recorder.values == placed.recorder.values
    assert named.class_weights == placed.class_weights == dict(zip(map(str, dls.vocab), position, strict=True))


@pytest.mark.parametrize("one_label", [True, False])
def test_class_weights_of_1_are_no_weights(one_label, loaders):
    plain = learner(loaders(one_label=one_label))
    ones = learner(loaders(one_label=one_label), class_weights=dict.fromkeys(map(str, plain.dls.vocab), 1.0))
    for learn in (plain, ones):
        torch.manual_seed(4)  # dropout
        learn.fit(1, 1e-2)
    assert plain.class_weights == {}
    for name, tensor in plain.model.state_dict().items():
        torch.testing.assert_close(tensor, ones.model.state_dict()[name], rtol=1e-5, atol=1e-6)


def test_balanced_weights_are_those_of_scikit_learn():
    from sklearn.utils.class_weight import compute_class_weight

    targets = torch.tensor([0, 0, 0, 0, 1, 1, 2, IGNORED])
    expected = compute_class_weight("balanced", classes=np.arange(3), y=targets[:-1].numpy())
    np.testing.assert_allclose(balanced_weights(ONE, targets), expected)
    several = torch.tensor([[1.0, 0, math.nan], [0, 0, 1], [0, 1, 1], [0, math.nan, 1]])
    assert balanced_weights(SEVERAL, several) == pytest.approx([4 / 3, 1.0, 1 / 3])


def test_a_probe_with_class_weights_agrees_with_scikit_learn():
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(240, 6, generator=generator)
    scores = features @ torch.randn(6, 3, generator=generator) + torch.randn(240, 3, generator=generator)
    targets = (scores - torch.tensor([0.0, 1.0, 2.0])).argmax(dim=1)
    weights = torch.tensor([0.5, 2.0, 8.0])
    loss = CrossEntropyLossFlat(weight=weights)
    layer, strength, *_ = probe.linear_fit(features, targets, loss, 3)
    standard = ((features - features.mean(0)) / features.std(0, unbiased=False)).numpy()
    # weighted mean loss + s/2 |W|^2 / C, where the mean is over the sum W_n of the items' weights: C_sk = C / (s W_n)
    total = float(weights[targets].sum())
    reference = LogisticRegression(
        C=3 / (strength * total), max_iter=5000, tol=1e-8, class_weight=dict(enumerate(weights.tolist()))
    ).fit(standard, targets.numpy())
    expected = torch.from_numpy(reference.predict_proba(standard)).float()
    torch.testing.assert_close(layer(features).softmax(dim=1), expected, atol=5e-3, rtol=0)
    plain, _, *_ = probe.linear_fit(features, targets, cross_entropy, 3)
    rare = targets == 2
    assert layer(features[rare]).softmax(dim=1)[:, 2].mean() > plain(features[rare]).softmax(dim=1)[:, 2].mean() + 0.05


def test_copies_of_a_row_are_its_weight_in_a_probe_and_stay_in_one_fold():
    """Of rows repeated alike a probe is what it is of each once; so is the penalty, which leaked copies would lower."""
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(90, 30, generator=generator)
    targets = torch.randint(0, 2, (90, 3), generator=generator).float()
    rows = torch.arange(90).repeat(4)
    once, strength, *_ = probe.linear_fit(features, targets, binary_cross_entropy, 3)
    often, same, *_ = probe.linear_fit(features[rows], targets[rows], binary_cross_entropy, 3, rows=rows)
    _, leaked, *_ = probe.linear_fit(
        features.repeat_interleave(4, 0), targets.repeat_interleave(4, 0), binary_cross_entropy, 3
    )
    assert strength == pytest.approx(same)
    assert leaked < strength
    torch.testing.assert_close(often.weight, once.weight, rtol=0, atol=1e-3)


def test_sampling_and_weights_act_in_the_probe(loaders):
    heads = []
    for sampling, weights in (("uniform", None), ("balanced", None), ("uniform", "balanced")):
        learn = learner(loaders(one_label=True, sampling=sampling), head="linear", class_weights=weights)
        learn.probe()
        heads.append(learn.model.linear.bias.detach())
    rare = class_frequencies(learn.dls.task, learn.dls.train.dataset.targets).argmin()
    assert heads[1][rare] > heads[0][rare]
    assert heads[2][rare] > heads[0][rare]


def test_a_probe_of_points_does_not_follow_weights(scene_loaders):
    dls = scene_loaders(points=True, bs=8, sampling=[1.0] * 8 + [2.0])
    learn = learner(dls, head="spatial")
    with pytest.raises(InputError, match="counts every image once and so cannot follow weights"):
        learn.probe()


def test_the_temperature_is_that_of_the_plain_loss(loaders):
    learn = learner(loaders(one_label=True), class_weights="balanced", head="linear")
    learn.probe()
    predictions = learn.validation_predictions()
    found, task = learn.calibrate(predictions), learn.dls.task

    def loss(temperature):
        return float(task.loss(predictions.outputs.double() / temperature, predictions.targets))

    assert loss(found) <= min(loss(found * 1.05), loss(found / 1.05))


@pytest.mark.parametrize(
    ("weights", "match"),
    [
        ({"ballon": 2.0}, "Did you mean `balloon`"),
        ({"balloon": 0.0}, "positive number; `balloon` has 0.0"),
        ({"balloon": math.inf}, "positive number"),
        ({"balloon": "2"}, "positive number"),
        ("balance", "Did you mean `balanced`"),
        ({}, "`balanced`, or a weight by name"),
        ([1.0, 2.0], "Weights in the order of the classes go into the loss"),
    ],
)
def test_class_weights_that_do_not_suit_are_refused(weights, match, loaders):
    with pytest.raises((InputError, UnknownNameError), match=match):
        learner(loaders(), class_weights=weights)


def test_class_weights_need_classes_and_no_other_loss(loaders, scene_loaders):
    with pytest.raises(InputError, match="give it or `loss_func`, not both"):
        learner(loaders(), class_weights="balanced", loss_func=FocalLossFlat())
    with pytest.raises(InputError, match="A weight per class is for tasks of multi-label, single-label"):
        learner(scene_loaders(points=True, bs=8), class_weights="balanced")


# runs

QUICK = ("--size", 32, "--epochs", 1, "--batch-size", 16, "--precision", "fp32", "--empty", "none")


def test_a_run_says_and_keeps_how_it_draws_and_weighs(foveal, scenes, tmp_path):
    out = tmp_path / "run"
    options = ("--sampling", "balanced", "--class-weights", "balloon=2,sun=0.5", "--recipe", "book")
    printed = foveal("train", scenes / "scenes.csv", "--images", scenes / "scenes", *QUICK, *options, "--out", out).out
    assert "images are drawn balanced: with replacement, by 1 / frequency of their classes" in printed
    assert "weights in the loss: balloon 2, sun 0.5" in printed
    training = tomllib.loads((out / "run.toml").read_text())["training"]
    assert training["sampling"] == "balanced"
    assert training["class_weights"] == {"balloon": 2.0, "sun": 0.5}
    facts = json.loads((out / "summary.json").read_text())["facts"]
    assert facts["weights in the loss"] == "balloon 2, sun 0.5"
    assert facts["sampling"].startswith("balanced")
    manifest = load_image_predictor(out / "model.safetensors").training
    assert manifest.class_weights["balloon"] == 2.0
    card = foveal("info", out / "model.safetensors").out
    assert "balloon 2, sun 0.5" in card
    assert "balanced: with replacement" in card
    again = tmp_path / "again"
    foveal("train", out / "run.toml", "--out", again)
    assert (again / "predictions.csv").read_text() == (out / "predictions.csv").read_text()


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"class_weights": "balloon=0"}, "with positive numbers"),
        ({"class_weights": "balloon"}, "with positive numbers"),
        ({"class_weights": "balance"}, "Did you mean `balanced`"),
        ({"class_weights": "sun=1,sun=2"}, "names `sun` twice"),
        ({"class_weights": {}}, "or balanced; got"),
        ({"sampling": "balance"}, "Did you mean `balanced`"),
        ({"class_weights": "ballon=2"}, "Did you mean `balloon`"),
    ],
)
def test_settings_that_do_not_suit_are_refused(options, match, scenes, tmp_path):
    with pytest.raises(InputError, match=match):
        package.train(
            scenes / "scenes.csv",
            images=scenes / "scenes",
            recipe="book",
            size=32,
            batch_size=16,
            out=tmp_path / "run",
            **options,
        )
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("options", [("--sampling", "balanced"), ("--class-weights", "balanced")])
def test_a_task_without_classes_refuses_both(options, foveal, scenes, tmp_path):
    printed = foveal(
        "train", scenes / "balloons.csv", "--images", scenes / "scenes", "--points", "x,y", *options, code=2
    )
    assert f"{options[0]} is not used with task points; it belongs to multi-label, single-label" in printed.err


def test_a_dataset_without_targets_of_classes_is_an_image_dataset_all_the_same(loaders):
    dataset = loaders().train.dataset
    assert isinstance(dataset, ImageDataset)
    assert DataLoader(dataset, 8, shuffle=True, sampling="balanced").n == 48
