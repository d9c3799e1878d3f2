"""Data: tables are judged, splits are values, samples depend on seed, epoch and index alone."""

import random
import subprocess
import sys
import warnings
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch

from foveal.core.errors import ImageError, InputError, TableError, UnknownNameError
from foveal.core.listing import L, Path
from foveal.core.rng import order_for
from foveal.core.threads import grouped_map, ordered_map
from foveal.course.splits import EndSplitter, RandomSubsetSplitter, TrainTestSplitter
from foveal.data import batchers
from foveal.data.batchers import Batcher, ImageBatcher
from foveal.data.block import DataBlock
from foveal.data.datasets import Dataset
from foveal.data.image_block import ImageBlock
from foveal.data.labels import ColReader, RegexLabeller, parent_label, using_attr
from foveal.data.loader import DataLoader
from foveal.data.loaders import DataLoaders
from foveal.data.samples import Pipeline, PixelOperation
from foveal.data.splits.splitters import (
    ColSplitter,
    FileSplitter,
    IndexSplitter,
    MaskSplitter,
    RandomSplitter,
    check_split,
)
from foveal.data.splits.stratify import GroupSplitter, StratifiedSplitter
from foveal.geometry.homography import Homography
from foveal.geometry.moves import Move
from foveal.geometry.resize import RandomResizedCrop, Resize
from foveal.images.augment import Normalize, aug_transforms
from foveal.images.prepare import normalise
from foveal.sources.folders import get_image_files
from foveal.sources.formats import TableColumns
from foveal.sources.synthetic import KINDS, draw_scene
from foveal.sources.table import read_frame, read_table
from foveal.tasks.multi_label import MultiCategoryBlock
from foveal.tasks.points import PointBlock
from foveal.tasks.single_label import CategoryBlock


def scene_block(scenes, **changes):
    plan = {
        "blocks": (ImageBlock, MultiCategoryBlock),
        "get_x": lambda r: scenes / "scenes" / r["fname"],
        "get_y": ColReader("labels", label_delim=" "),
        "splitter": ColSplitter(),
        "item_tfms": RandomResizedCrop(48, min_scale=0.5),
    }
    return DataBlock(**(plan | changes))


@pytest.fixture
def frame(scenes):
    return pd.read_csv(scenes / "scenes.csv", keep_default_na=False)


# Sources


def test_a_table_is_read_with_its_own_columns(scenes):
    source = read_table(scenes / "scenes.csv", images=scenes / "scenes", columns=TableColumns(empty="none"))
    assert source.task == "multi-label"
    assert source.has_split
    assert len(source.items) == 60
    assert source.items[0].origin == "scenes.csv, row 2"
    assert {name for item in source.items for name in item.label} == set(KINDS)
    points = read_table(scenes / "balloons.csv", images=scenes / "scenes", columns=TableColumns(points=("x", "y")))
    assert points.task == "points"
    assert points.items[0].label.shape == (1, 2)


@pytest.mark.parametrize(
    ("table", "columns", "message"),
    [
        ({"file": ["a.jpg"], "lables": ["x"]}, TableColumns(label="labels"), "Did you mean `lables`"),
        ({"f": ["what"], "labels": ["x"]}, TableColumns(), "--image-column"),
        ({"fname": ["a.jpg", "b.jpg"], "labels": ["x", None]}, TableColumns(empty="error"), r"row 3: \(empty\)"),
        ({"fname": ["a.jpg", "gone.jpg"], "labels": ["x", "y"]}, TableColumns(), "no such image file"),
        ({"fname": ["a.jpg"], "labels": ["x"], "is_valid": ["maybe"]}, TableColumns(), "row 2: 'maybe'"),
        ({"fname": ["a.jpg"], "x": [1], "y": [None]}, TableColumns(points=("x", "y")), "only one of its coordinates"),
        ({"fname": ["a.jpg"], "x": ["one"], "y": [2]}, TableColumns(points=("x", "y")), "must hold numbers"),
        ({"fname": ["a.jpg"], "x": [1.0], "y": [np.inf]}, TableColumns(points=("x", "y")), "not finite"),
    ],
)
def test_a_table_that_cannot_be_used_says_row_column_and_way_out(tmp_path, table, columns, message):
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).touch()
    with pytest.raises(TableError, match=message):
        read_frame(pd.DataFrame(table), images=tmp_path, columns=columns).require_usable()


def test_all_findings_come_in_one_message(tmp_path):
    (tmp_path / "a.jpg").touch()
    frame = pd.DataFrame({"fname": ["a.jpg", "b.jpg"], "labels": [None, "y"], "is_valid": ["no", "perhaps"]})
    with pytest.raises(TableError, match=r"(?s)(?=.*no such image)(?=.*is_valid)(?=.*no label)"):
        read_frame(frame, images=tmp_path, columns=TableColumns(empty="error")).require_usable()


def test_labels_are_judged_one_or_several(tmp_path):
    for name in "abcd":
        (tmp_path / f"{name}.jpg").touch()
    files = [f"{name}.jpg" for name in "abcd"]

    def task(**columns):
        return read_frame(pd.DataFrame({"fname": files, **columns}), images=tmp_path).task

    assert task(breed=["x"] * 4, label=["red fox", "red fox", "wolf", "wolf"]) == "single-label"
    assert task(label=["cat dog", "cat", "dog", "dog cat"]) == "multi-label"
    assert task(labels=["a", "b", "c", "a"]) == "multi-label"


def test_scenes_are_the_same_every_time():
    first, again = draw_scene(3, 7), draw_scene(3, 7)
    np.testing.assert_array_equal(np.asarray(first.image), np.asarray(again.image))
    assert first.labels == again.labels


def test_images_of_a_folder_come_sorted(scenes):
    files = get_image_files(scenes)
    assert files == sorted(files)
    assert len(files) == 60
    with pytest.raises(InputError, match="no folder"):
        get_image_files(scenes / "nowhere")


# Getters and splits


def test_getters_find_labels():
    assert using_attr(RegexLabeller(r"(.+)_\d+.jpg$"), "name")(Path("a/red_fox_12.jpg")) == "red_fox"
    assert parent_label("x/cat/1.jpg") == "cat"
    with pytest.raises(InputError, match=r"does not match 'odd\.png'"):
        RegexLabeller(r"(.+)_\d+.jpg$")("odd.png")


def test_a_random_split_is_a_value_and_touches_no_global_state(golden):
    before = torch.random.get_rng_state()
    train, valid = RandomSplitter(seed=42)(range(20))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert valid == golden["RandomSplitter_seed42_n20_valid"]
    assert sorted(train + valid) == list(range(20))


@pytest.mark.parametrize(
    ("split", "message"),
    [
        (([0, 1], [1]), "both sides"),
        (([0], []), "nothing for validation"),
        (([0], [9]), "from 0 to 3"),
        (([True, False], [False, True]), "MaskSplitter"),
        (7, "two lists"),
    ],
)
def test_a_wrong_split_is_named(split, message):
    with pytest.raises(InputError, match=message):
        check_split(split, 4)


def test_masks_and_indices_split():
    assert MaskSplitter([False, True, False])("abc") == ([0, 2], [1])
    assert IndexSplitter([2])("abc") == ([0, 1], [2])
    assert IndexSplitter(torch.tensor([2]))("abc") == IndexSplitter(np.array([2]))("abc") == ([0, 1], [2])


@pytest.mark.parametrize(
    ("positions", "message"),
    [
        ([7], "got 7, and there are 2 items"),
        ([-1], "whole numbers from 0; got -1"),
        (["a"], "values such as 'a'"),
        ([0.5], "values such as 0.5"),
        ([True, False], "MaskSplitter"),
        ("01", "is a list of positions; got '01'"),
        (1, "is a list of positions; got 1"),
    ],
)
def test_a_position_that_no_item_has_is_refused(positions, message):
    with pytest.raises(InputError, match=message):
        IndexSplitter(positions)("ab")


@pytest.mark.parametrize(
    ("splitter", "name"),
    [
        (RandomSplitter, "valid_pct"),
        (EndSplitter, "valid_pct"),
        (partial(StratifiedSplitter, None), "valid_pct"),
        (partial(GroupSplitter, "group"), "valid_pct"),
        (TrainTestSplitter, "test_size"),
        (partial(TrainTestSplitter, shuffle=False), "test_size"),
        (partial(TrainTestSplitter, stratify=["a", "b"]), "test_size"),
        (partial(TrainTestSplitter, 0.2), "train_size"),
        (partial(RandomSubsetSplitter, valid_sz=0.1), "train_sz"),
        (partial(RandomSubsetSplitter, 0.1), "valid_sz"),
    ],
)
@pytest.mark.parametrize("share", [3, 0, 1.0, "0.2", float("nan")])
def test_a_share_is_refused_by_its_own_name(splitter, name, share):
    with pytest.raises(InputError, match=f"`{name}` is a share between 0 and 1; got {share!r}"):
        splitter(**{name: share})


@pytest.mark.parametrize(
    "splitter",
    [RandomSplitter(0.2), EndSplitter(0.2), RandomSubsetSplitter(0.2, 0.5), TrainTestSplitter(0.5, train_size=0.1)],
)
def test_a_share_of_too_few_items_is_refused(splitter):
    with pytest.raises(InputError, match=r"leaves nothing for \w+ \(3 items in all\)"):
        splitter([1, 2, 3])


def test_a_list_of_files_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "bytes.txt").write_bytes(b"\xff\xfe")
    for name, message in (("nowhere.txt", "No such file"), (".", "directory"), ("bytes.txt", "no text in UTF-8")):
        with pytest.raises(InputError, match=message):
            FileSplitter(tmp_path / name)


# Blocks


def test_beginners_mistakes_end_in_one_message(scenes, frame):
    with pytest.raises(UnknownNameError, match="Did you mean `item_tfms`"):
        DataBlock((ImageBlock, MultiCategoryBlock), item_tfm=Resize(8))
    with pytest.raises(InputError, match="blocks="):
        DataBlock((ImageBlock,))
    for call in (scene_block(scenes, item_tfms=None).dataloaders, scene_block(scenes, item_tfms=None).summary):
        with pytest.raises(InputError, match=r"scene_0000.jpg is \d+ x \d+, .*scene_\d+.jpg is .*Resize\(224\)"):
            call(frame)
    with pytest.raises(InputError, match="Did you mean `Resize"):
        scene_block(scenes, item_tfms=Resize)
    with pytest.raises(InputError, match=r"scene_0000.jpg: .*list of names, got the text"):
        scene_block(scenes, get_y=lambda r: r["labels"]).datasets(frame)
    with pytest.raises(InputError, match=r"no column `lables`.*Did you mean `labels`"):
        scene_block(scenes, get_y=lambda r: r["lables"]).datasets(frame)
    with pytest.raises(InputError, match="`get_y` failed on this item with AttributeError"):
        scene_block(scenes, get_y=lambda r: r["labels"].splitt()).datasets(frame)
    with pytest.raises(InputError, match="no items"):
        scene_block(scenes).datasets(frame[:0])


def test_the_vocabulary_comes_from_training_and_unseen_labels_are_said(scenes, frame):
    frame = frame.assign(labels=["a b"] * 59 + ["a new"], is_valid=[False] * 50 + [True] * 10)
    with pytest.warns(UserWarning, match=r"`new` occurs in validation only \(1 item\)"):
        datasets = scene_block(scenes).datasets(frame)
    assert datasets.vocab == ("a", "b")
    assert datasets.valid.targets[-1].tolist() == [1, 0]
    one = scene_block(scenes, blocks=(ImageBlock, CategoryBlock), get_y=lambda r: r["labels"])
    with pytest.warns(UserWarning, match=r"`new` occurs in validation only \(2 items\)"):
        datasets = one.datasets(frame.assign(labels=["a"] * 58 + ["new"] * 2))
    assert datasets.valid.targets.tolist() == [0] * 8 + [-100] * 2
    assert scene_block(scenes, blocks=(ImageBlock, MultiCategoryBlock(vocab=["b", "a"]))).datasets(
        frame[:55]
    ).vocab == ("b", "a")


def test_dataset_items_print_their_kind_and_batches_are_plain(scenes, frame):
    datasets = scene_block(scenes).datasets(frame)
    image, target = datasets.train[0]
    assert repr(image).startswith("PILImage mode=RGB size=")
    assert repr(target).startswith("TensorMultiCategory([")
    assert type(target + 0) is torch.Tensor
    inputs, targets = scene_block(scenes).dataloaders(frame, bs=4).one_batch()
    assert type(inputs) is type(targets) is torch.Tensor
    assert inputs.shape == (4, 3, 48, 48)


def test_points_are_in_source_pixels_in_the_dataset_and_scaled_in_a_batch(scenes):
    frame = pd.read_csv(scenes / "balloons.csv")
    block = scene_block(scenes, blocks=(ImageBlock, PointBlock), get_y=lambda r: [r["x"], r["y"]], item_tfms=Resize(64))
    dls = block.dataloaders(frame, bs=4)
    _, target = dls.train.dataset[0]
    assert repr(target).startswith("TensorPoint([[")
    assert dls.one_batch()[1].abs().max() < 2


# Samples and loaders


def samples_of(loader, epoch):
    return {
        index: (batch.inputs[at].clone(), batch.targets[at].clone())
        for batch in loader.batches(epoch=epoch)
        for at, index in enumerate(batch.indices)
    }


def test_a_sample_is_the_same_for_any_number_of_threads_any_order_and_batch_size(scenes, frame):
    block = scene_block(scenes, batch_tfms=aug_transforms())
    reference = samples_of(block.dataloaders(frame, bs=8, num_workers=0, seed=5).train, epoch=3)
    for workers, bs in ((1, 8), (3, 5), (4, 16)):
        found = samples_of(block.dataloaders(frame, bs=bs, num_workers=workers, seed=5).train, epoch=3)
        common = set(found) & set(reference)
        assert len(common) > 25
        assert all(torch.equal(found[i][0], reference[i][0]) for i in common)
        assert all(torch.equal(found[i][1], reference[i][1]) for i in common)


def test_a_batch_that_warps_shows_what_the_item_stage_shows(photographs):
    """The path of an accelerator: the same targets and frames, pixels within 2 of 255 on average, for every size."""
    files = get_image_files(photographs / "voc2012_mini")[:40]
    datasets = DataBlock(
        (ImageBlock, PointBlock),
        get_y=lambda _: [100.0, 90.0],
        item_tfms=Resize(160),
    ).datasets(files)
    for transforms in (
        [*aug_transforms(size=(96, 128), min_scale=0.5, max_warp=0.4, max_rotate=30)],
        [Resize(96, "pad"), *aug_transforms(min_zoom=0.7, max_zoom=1.5)],
        [Resize(120, "squish"), *aug_transforms(flip_vert=True, max_lighting=0.5)],
    ):
        pipeline = Pipeline.of(transforms, Normalize.from_stats((0.0,) * 3, (1.0,) * 3))
        batchers = [
            ImageBatcher(datasets.train, pipeline, 2, torch.device("cpu"), batched) for batched in (False, True)
        ]
        here, there = (DataLoader(batcher, 16, shuffle=True, seed=3) for batcher in batchers)
        for one, other in zip(here.batches(epoch=1), there.batches(epoch=1), strict=True):
            assert torch.equal(one.targets, other.targets)
            np.testing.assert_array_equal(one.source_to_target.matrix, other.source_to_target.matrix)
            difference = (one.inputs - other.inputs)[..., 2:-2, 2:-2].abs() * 255
            assert difference.mean() < 0.5
            assert difference.mean(dim=(1, 2, 3)).max() < 2


@pytest.mark.parametrize("n_channels", [1, 3, 4])
def test_an_input_written_into_its_batch_is_the_sample_normalised(n_channels):
    """One pass from decoded pixels to the batch, or pixels first, then tones, then normalised: the same bits."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (150, 190, n_channels), dtype=np.uint8)
    image = image[..., 0] if n_channels == 1 else image
    block = DataBlock((ImageBlock(n_channels=n_channels), CategoryBlock), get_x=lambda _: image, get_y=lambda i: i % 2)
    task = block.datasets(list(range(10))).train.task
    statistics = Normalize.from_stats([0.4] * n_channels, [0.3] * n_channels)
    for step in (Resize(60), RandomResizedCrop((70, 90)), Resize((50, 50), "pad", "zeros"), Resize(200, "squish")):
        pipeline = Pipeline.of([step], [*aug_transforms(max_lighting=0.6, max_warp=0.4), statistics], n_channels)
        for seed in (None, 1, 2, 3):
            one, other = (None if seed is None else np.random.default_rng(seed) for _ in range(2))
            sample = pipeline.sample(image, torch.tensor(0), task, one).with_tones()
            expected = normalise(torch.from_numpy(sample.pixels)[None], pipeline.normalisation)[0]
            room = np.empty(sample.pixels.shape, np.float32)
            placed = pipeline.sample_into(room, image, torch.tensor(0), task, other)
            assert np.array_equal(room, expected.permute(1, 2, 0).numpy())
            assert np.array_equal(placed.source_to_target.matrix, sample.source_to_target.matrix)


def test_a_foveal_without_its_library_says_so_once(scenes, frame, monkeypatch, capsys):
    said = []
    for wanted in (False, True):
        monkeypatch.setattr("foveal.geometry.resample.library", lambda: None)
        monkeypatch.setenv("FOVEAL_PURE", str(int(wanted)))
        batchers._say_if_slow.cache_clear()
        for _ in range(2):
            next(iter(scene_block(scenes).dataloaders(frame, bs=8, num_workers=0).train))
        said.append(capsys.readouterr().out.count("built without its library"))
    batchers._say_if_slow.cache_clear()
    assert said == [1, 0]


def test_epochs_and_seeds_draw_anew(scenes, frame):
    loader = scene_block(scenes).dataloaders(frame, bs=8, seed=1).train
    other = scene_block(scenes).dataloaders(frame, bs=8, seed=2).train
    assert loader.order(0) != loader.order(1) != other.order(1)
    first, second = samples_of(loader, 0), samples_of(loader, 1)
    both = set(first) & set(second)
    assert not any(torch.equal(first[i][0], second[i][0]) for i in both)


def test_loading_touches_no_global_random_state(scenes, frame):
    random.seed(3)
    np.random.seed(3)  # noqa: NPY002
    state = torch.random.get_rng_state()
    list(scene_block(scenes).dataloaders(frame, bs=8).train)
    assert torch.equal(state, torch.random.get_rng_state())
    drawn = random.random(), np.random.random()  # noqa: NPY002
    random.seed(3)
    np.random.seed(3)  # noqa: NPY002
    assert drawn == (random.random(), np.random.random())  # noqa: NPY002


@pytest.mark.parametrize(
    "items", [["a", "b", "c"], [["a"], ["b", "c"], []], [{"x": 1}, {"x": 2}, {"x": 3}], [None] * 3]
)
def test_items_that_are_no_tuples_are_one_part_of_a_batch(items):
    batches = list(DataLoader(items, 2))
    assert batches == [(tuple(items[:2]),), (tuple(items[2:]),)]
    assert DataLoader(items, 2).decode_batch(batches[0]) == [(items[0],), (items[1],)]


def test_loaders_say_what_they_hold(scenes, frame):
    dl = DataLoader(["a", "b", "c"], 2)
    assert repr(dl) == "DataLoader(3 items, bs=2)"
    assert repr(DataLoaders(dl, DataLoader([1]))) == "DataLoaders(3 items to train on, 1 to validate, bs=2)"
    datasets = scene_block(scenes).datasets(frame)
    n = len(datasets.train)
    assert repr(datasets) == f"Datasets({n} items to train on, {len(datasets.valid)} to validate)"
    assert repr(datasets.train) == f"ImageDataset({n} images, multi-label)"
    assert repr(scene_block(scenes)) == "DataBlock(ImageBlock, MultiCategoryBlock)"
    assert repr(DataBlock().datasets([1, 2, 3, 4, 5]).train) == "Tuples(4 items)"
    with pytest.raises(InputError, match="no task, so no classes"):
        _ = dl.vocab


@pytest.mark.parametrize("size", [0, -1, 2.5, "8", None, True])
def test_a_batch_holds_a_whole_number_of_items(size):
    with pytest.raises(InputError, match=f"a batch size of {size!r}"):
        DataLoader([1, 2, 3], size)


def test_partial_batches(scenes, frame):
    dls = scene_block(scenes).dataloaders(frame, bs=20)
    assert [len(b) for b in dls.train.batches(epoch=0)] == [20, 20]  # 48 to train on
    assert sum(len(b) for b in dls.valid.batches(epoch=0)) == dls.valid.n == 12
    with pytest.warns(UserWarning, match="batches shrink to 48"):
        dls = scene_block(scenes).dataloaders(frame, bs=100)
    assert [len(b) for b in dls.train.batches(epoch=0)] == [48]


def test_a_bad_image_stops_with_its_name(scenes, frame, tmp_path):
    (tmp_path / "bad.jpg").write_bytes(b"no image")
    block = scene_block(scenes, get_x=lambda _: tmp_path / "bad.jpg")
    with pytest.raises(ImageError, match=r"bad\.jpg: text, not an image"):
        block.dataloaders(frame, bs=4).one_batch()


def test_bad_images_are_left_out_on_request_and_named(scenes, frame, tmp_path, monkeypatch):
    monkeypatch.setenv("FOVEAL_HOME", str(tmp_path / "home"))
    (tmp_path / "bad.jpg").write_bytes(b"no image")
    block = scene_block(
        scenes,
        get_x=lambda r: tmp_path / "bad.jpg" if r["fname"].endswith("07.jpg") else scenes / "scenes" / r["fname"],
    )
    with pytest.warns(UserWarning, match=r"(?s)1 images cannot be used.*bad\.jpg: text, not an image"):
        dls = block.dataloaders(frame, bs=4, on_bad="skip")
    assert dls.train.n + dls.valid.n == 59
    assert sum(len(batch) for batch in dls.train.batches(epoch=0)) > 0
    with pytest.raises(UnknownNameError, match="Did you mean `skip`"):
        block.dataloaders(frame, on_bad="skipp")


def test_transforms_are_sorted_by_kind_wherever_they_stand():
    here = Pipeline.of(
        [Resize(460)], [*aug_transforms(size=(24, 32), min_scale=0.75), Normalize.from_stats((0.5,) * 3, (0.5,) * 3)]
    )
    assert here.input_size_hw == (24, 32)
    assert (len(here.resizes), len(here.moves), len(here.tones)) == (2, 4, 2)
    assert here.statistics.mean == (0.5, 0.5, 0.5)


class _Nudge(Move):
    def __call__(self, size_hw, rng=None):
        return Homography.translation(1.0, 0.0)


class _Dim(PixelOperation):
    def __call__(self, batch, strength, *, unused=None):
        return batch * strength


def test_a_class_says_what_a_transform_is_and_a_plain_function_its_arguments():
    def move(size_hw, rng):
        return Homography()

    def brighten(batch, strength=1.1):
        return batch * strength

    nudge, dim = _Nudge(), _Dim()
    pipeline = Pipeline.of(Resize(32), [nudge, brighten, dim, move])
    assert pipeline.moves == (nudge, move)
    assert pipeline.operations == (brighten, dim)
    with pytest.raises(InputError, match="put it into `batch_tfms`"):
        Pipeline.of([Resize(32), dim])
    with pytest.raises(InputError, match=r"Did you mean `_Nudge\(...\)`"):
        Pipeline.of([Resize(32), _Nudge])


def test_what_a_dataset_or_batcher_is_depends_on_its_class_alone(scenes, frame):
    class Misleading(list):
        task, batches, images = "a task", "batches", "images"

    items = Misleading([(1.0, 2), (3.0, 4)])
    dls = DataLoaders(DataLoader(items, 2), DataLoader(items, 2))
    assert [part.tolist() for part in dls.one_batch()] == [[1.0, 3.0], [2, 4]]
    assert DataLoader(items, 2, shuffle=True).n == 2
    with pytest.raises(InputError, match="say nothing of a task"):
        _ = dls.task
    images = scene_block(scenes).dataloaders(frame, bs=4)
    for loader in images:
        assert isinstance(loader.dataset, Dataset)
        assert isinstance(loader.batcher, Batcher)
    assert images.task is images.train.dataset.task
    with pytest.raises(TypeError, match="abstract"):
        Dataset()


def test_validation_is_what_a_predictor_prepares(scenes, frame):
    dls = scene_block(scenes).dataloaders(frame, bs=4)
    preparation = dls.preparation
    batch = next(dls.valid.batches(epoch=0))
    prepared = preparation.image(dls.valid.dataset.images[0])
    found = preparation.normalise(torch.from_numpy(prepared.pixels)[None])[0]
    assert torch.equal(found, batch.inputs[0])


def test_an_order_is_a_permutation():
    assert sorted(order_for(1, 2, 50)) == list(range(50))


def test_an_ordered_map_keeps_order_and_passes_errors_on():
    assert list(ordered_map(lambda x: x * x, range(50), num_workers=4)) == [x * x for x in range(50)]
    results = ordered_map(lambda x: 1 // (3 - x), range(9), num_workers=2)
    assert [next(results), next(results), next(results)] == [0, 0, 1]
    with pytest.raises(ZeroDivisionError, match="by zero"):
        next(results)


def test_groups_come_in_order_and_the_first_error_of_a_group_is_raised_in_its_place():
    groups = [[3, 1, 2], [5], [4, 0, 6, 0]]
    for workers in (0, 3):
        assert list(grouped_map(lambda x: -x, groups, num_workers=workers)) == [[-x for x in g] for g in groups]
        results = grouped_map(lambda x: (x, 1 // x), groups, num_workers=workers)
        assert [len(next(results)), len(next(results))] == [3, 1]
        with pytest.raises(ZeroDivisionError):
            next(results)


def test_groups_are_read_no_further_ahead_than_told():
    read = []
    groups = (read.append(at) or [at] * 4 for at in range(100))
    results = grouped_map(lambda x: x, groups, num_workers=2, ahead=2)
    next(results)
    assert read == [0, 1, 2]
    next(results)
    assert read == [0, 1, 2, 3]


def test_a_process_ends_though_a_loader_is_not_read_to_its_end():
    code = (
        "import time; from foveal.core.threads import grouped_map\n"
        "results = grouped_map(lambda x: time.sleep(0.01) or x, ([x] for x in range(10**9)), num_workers=3)\n"
        "print(next(results))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert (done.stdout, done.stderr) == ("[0]\n", "")


def test_an_ordered_map_stays_near_its_reader():
    begun = []
    results = ordered_map(lambda x: begun.append(x) or x, range(1000), num_workers=2, ahead=3)
    next(results)
    assert len(begun) <= 6
    results.close()


# Small types


def test_lists_and_paths_print_like_the_book(tmp_path):
    assert repr(L(range(12))) == "(#12) [0,1,2,3,4,5,6,7,8,9...]"
    assert L(*"abc")[torch.tensor([0, 2])] == ["a", "c"]
    assert L(*"abc")[[True, False, True]] == ["a", "c"]
    folder = Path(tmp_path)
    (folder / "x.jpg").touch()
    assert folder.ls() == [folder / "x.jpg"]
    Path.BASE_PATH = folder
    try:
        assert repr(folder.ls()) == "(#1) [Path('x.jpg')]"
    finally:
        Path.BASE_PATH = None


def test_one_label_by_pattern_over_real_photographs(photographs):
    block = DataBlock(
        blocks=(ImageBlock, CategoryBlock),
        get_items=get_image_files,
        splitter=RandomSplitter(seed=42),
        get_y=using_attr(RegexLabeller(r"(.+)_\d+.jpg$"), "name"),
        item_tfms=Resize(64),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dls = block.dataloaders(photographs / "pets_mini" / "images")
    assert len(dls.vocab) == 37
    assert dls.train.n + dls.valid.n == 370


def test_a_summary_walks_one_item_through_every_step(scenes, frame, capsys):
    scene_block(scenes, batch_tfms=aug_transforms()).summary(frame)
    printed = capsys.readouterr().out
    for part in (
        "48 items to train on",
        "multi-label, 8 outputs",
        "scene_0000.jpg",
        "resize  RandomResizedCrop(size=48",
        "Warp(",
    ):
        assert part in printed
    assert "pixels [48, 48, 3] uint8" in printed


def test_a_block_audits_its_source(scenes, frame, tmp_path, monkeypatch):
    monkeypatch.setenv("FOVEAL_HOME", str(tmp_path))
    frame.loc[59, "fname"] = frame.loc[0, "fname"]
    found = scene_block(scenes).check(frame)
    assert found.figures["items"] == 60
    assert any(finding.rule.startswith("one file") for finding in found.findings)
