"""The course's ways with data: pad modes and cuts, transforms, splits, loaders of one's own, names and files."""

import pickle
import random
import warnings
from typing import Literal

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import nn

from foveal.core.arguments import checked_keywords
from foveal.core.errors import InputError, ModelFileError, UnknownNameError
from foveal.core.listing import L
from foveal.course.basics import TensorCategory, TensorImage, TensorPoint, doc, parallel, set_seed
from foveal.course.datasets import Datasets
from foveal.course.pil_names import Image as CourseImage
from foveal.course.pixels import Hue, RandomErasing, Saturation
from foveal.course.splits import EndSplitter, RandomSubsetSplitter, TrainTestSplitter
from foveal.course.transforms import (
    Categorize,
    IntToFloatTensor,
    ItemTransform,
    MultiCategorize,
    Pipeline,
    RandTransform,
    RegressionSetup,
    ToTensor,
    Transform,
)
from foveal.data.batches import tensor
from foveal.data.block import DataBlock
from foveal.data.image_block import ImageBlock
from foveal.data.image_loaders import ImageDataLoaders
from foveal.data.labels import ColReader, RegexLabeller, composed
from foveal.data.loader import DataLoader
from foveal.data.loaders import DataLoaders
from foveal.data.samples import Pipeline as Samples
from foveal.data.splits.rows import Rows
from foveal.data.splits.splitters import ColSplitter, RandomSplitter
from foveal.geometry.resize import CropPad, RandomCrop, RandomResizedCrop, Resize
from foveal.images.augment import Normalize, aug_transforms
from foveal.images.pil import PILImage, PILImageBW
from foveal.images.prepare import Preparation, Statistics
from foveal.images.show import show_image
from foveal.inference.loading import load_learner
from foveal.learner.learner import Learner
from foveal.learner.plain import PlainLearner
from foveal.learner.vision import vision_learner
from foveal.tasks.points import PointBlock
from foveal.tasks.regression import RegressionBlock
from foveal.tasks.single_label import CategoryBlock

PLAIN = Statistics((0.0,) * 3, (1.0,) * 3)


@pytest.fixture
def noise():
    return np.random.default_rng(0).integers(0, 256, (30, 41, 3), dtype=np.uint8)


# Borders and cuts


@pytest.mark.parametrize(
    ("pad_mode", "numpy_mode"), [("reflection", "symmetric"), ("border", "edge"), ("zeros", "constant")]
)
def test_what_stands_beyond_the_border_is_numpys_padding(noise, pad_mode, numpy_mode):
    prepared = Preparation.of((40, 41), "pad", PLAIN, pad_mode).image(noise)
    assert np.array_equal(prepared.pixels, np.pad(noise, ((5, 5), (0, 0), (0, 0)), numpy_mode))


@pytest.mark.parametrize("size", [(20, 21), (30, 41), (50, 61), (20, 61)])
def test_a_cut_keeps_the_scale_and_takes_the_centre(noise, size):
    got = Preparation(CropPad(size), PLAIN).image(noise).pixels
    canvas = np.pad(noise, ((30, 30), (30, 30), (0, 0)))
    top, left = 30 - round((size[0] - 30) / 2), 30 - round((size[1] - 41) / 2)
    assert np.array_equal(got, canvas[top : top + size[0], left : left + size[1]])
    stored = Preparation(CropPad(size), PLAIN).to_dict()["fit"]
    again = Preparation.of(stored["size_hw"], stored["method"], PLAIN, stored["pad_mode"])
    assert np.array_equal(again.image(noise).pixels, got)


def test_a_random_crop_shows_pixels_of_the_image_as_they_are(noise):
    step = RandomCrop(16)
    seen = set()
    for seed in range(20):
        x, y = step((30, 41), np.random.default_rng(seed)).inverse([[0.0, 0.0]])[0]
        assert (x, y) == (round(x), round(y))
        assert 0 <= x <= 41 - 16
        assert 0 <= y <= 30 - 16
        seen.add((x, y))
    assert len(seen) > 10
    assert step((30, 41)).inverse([[0.0, 0.0]])[0].tolist() == [12.0, 7.0]


def test_transforms_that_say_different_things_are_refused():
    with pytest.raises(InputError, match="zeros and border"):
        Samples.of([Resize(8, "pad", "zeros")], aug_transforms(pad_mode="border"))
    with pytest.raises(InputError, match="keep the scale"):
        Samples.of([Resize(16), RandomCrop(8)])
    with pytest.raises(UnknownNameError, match="reflection"):
        Resize(8, "pad", "reflect")
    assert Samples.of([Resize(8)], aug_transforms(pad_mode="zeros")).pad_mode == "zeros"
    assert Samples.of([Resize(8)], aug_transforms(pad_mode="zeros")).resize.pad_mode == "reflection"


def test_the_border_of_training_is_black_where_it_is_asked(noise):
    white = np.full((32, 32, 3), 255, np.uint8)
    turned = [
        Samples.of([Resize(32)], aug_transforms(pad_mode=mode, max_lighting=0)) for mode in ("zeros", "reflection")
    ]

    def least(pipeline):
        block = DataBlock(
            (ImageBlock, CategoryBlock), get_x=lambda i: white, get_y=lambda i: i % 2, item_tfms=Resize(32)
        )
        task = block.datasets(list(range(10))).train.task
        samples = [pipeline.sample(white, torch.tensor(0), task, np.random.default_rng(seed)) for seed in range(20)]
        return min(int(sample.pixels.min()) for sample in samples)

    assert least(turned[0]) == 0
    assert least(turned[1]) == 255


def test_normalize_without_numbers_measures_the_training_images():
    images = np.random.default_rng(1).integers(0, 200, (40, 8, 8, 3), dtype=np.uint8)
    images[..., 1] //= 2
    block = DataBlock((ImageBlock, CategoryBlock), get_x=lambda i: images[i], get_y=lambda i: i % 2,
                      splitter=EndSplitter(0.25), item_tfms=Resize(8), batch_tfms=Normalize())  # fmt: skip
    statistics = block.dataloaders(list(range(40)), bs=5).train.batcher.pipeline.statistics
    trained = images[:30].reshape(-1, 3) / 255
    assert statistics.mean == pytest.approx(trained.mean(axis=0), abs=1e-4)
    assert statistics.std == pytest.approx(trained.std(axis=0), abs=1e-4)


def test_images_of_one_size_need_no_resize(capsys):
    images = [np.full((9, 7, 3), i, np.uint8) for i in range(12)]
    block = DataBlock(
        (ImageBlock, CategoryBlock), get_x=lambda i: images[i], get_y=lambda i: i % 2, splitter=EndSplitter()
    )
    dls = block.dataloaders(list(range(12)), bs=4)
    assert "All images are 7 x 9" in capsys.readouterr().out
    assert (dls.valid.one_batch()[0] * 255).round().int()[0].unique().tolist() == [10]
    images[11] = np.zeros((9, 8, 3), np.uint8)
    with pytest.raises(InputError, match=r"8 x 9.*Resize"):
        block.dataloaders(list(range(12)), bs=4)


# Transforms of items


class Twice(Transform):
    """Doubles numbers, and says texts twice."""

    order = 2

    def encodes(self, x: int):
        return 2 * x

    def encodes(self, x: str):  # noqa: F811 -- several types, one name
        return x + x

    def decodes(self, x: int):
        return x // 2


def test_a_transform_goes_by_the_type_and_through_tuples():
    assert Twice()((3, "ab", 1.5)) == (6, "abab", 1.5)
    assert Twice().decode((6, "abab")) == (3, "abab")
    assert Transform(lambda x: x + 1)(1) == 2
    assert Transform(lambda x: x + 1, dec=lambda x: x - 1).decode(2) == 1

    class Pair(ItemTransform):
        def encodes(self, pair):
            return pair[1], pair[0]

    assert Pair()((1, 2)) == (2, 1)
    with pytest.raises(InputError, match="pipeline takes functions"):
        Pipeline([1])


def test_a_pipeline_goes_by_order_and_back():
    first = Transform(lambda x: x + 1, dec=lambda x: x - 1, order=1)
    pipeline = Pipeline([Twice, first])
    assert pipeline(3) == 8
    assert pipeline.decode(8) == 3
    labels = Pipeline([lambda name: name.split("_")[0], Categorize()])
    labels.setup(["cat_1", "ant_2", "cat_3"])
    assert [int(labels(name)) for name in ("ant_9", "cat_9")] == [0, 1]
    assert labels.decode(torch.tensor(1)) == "cat"
    with pytest.raises(UnknownNameError, match="dog"):
        labels("dog_1")
    several = MultiCategorize(["a", "b", "c"])
    assert several.decode(several(["c", "a"])) == ["c", "a"]


def test_images_become_tensors_as_torchvision_makes_them(noise):
    from torchvision.transforms.v2.functional import pil_to_tensor

    image = Image.fromarray(noise)
    assert torch.equal(ToTensor()(image), pil_to_tensor(image))
    assert torch.allclose(IntToFloatTensor()(ToTensor()(image)), pil_to_tensor(image) / 255)


class Shifted(RandTransform):
    """Adds a drawn number to an image."""

    def encodes(self, image: PILImage):
        drawn = random.randrange(2) + int(np.random.randint(2)) + int(torch.randint(2, ()))  # noqa: NPY002
        return (np.array(image) + drawn).astype(np.uint8)


def of_images(images, *tfms, **options):
    block = DataBlock((ImageBlock, CategoryBlock), get_x=lambda i: images[i], get_y=lambda i: i % 2,
                      splitter=EndSplitter(0.25), item_tfms=[*tfms, Resize(8)])  # fmt: skip
    return block.dataloaders(list(range(len(images))), bs=4, **options)


def test_what_a_transform_draws_is_seeded_whatever_thread_it_is_in():
    images = [np.full((8, 8, 3), 10 * i, np.uint8) for i in range(20)]
    state = random.getstate(), torch.random.get_rng_state().clone()

    def shifts(num_workers):
        loader = of_images(images, Shifted(), num_workers=num_workers).train
        batches = list(loader.batches(epoch=0))
        pixels = torch.cat([(batch.inputs * 255).round()[:, 0, 0, 0] for batch in batches]).int().tolist()
        return [value - 10 * at for value, at in zip(pixels, (i for b in batches for i in b.indices), strict=True)]

    assert shifts(0) == shifts(3)
    assert len(set(shifts(0))) > 1
    assert (random.getstate(), torch.random.get_rng_state().tolist()) == (state[0], state[1].tolist())
    valid = of_images(images, Shifted()).valid.one_batch()[0]
    assert [round(float(v) * 255) for v in valid[:, 0, 0, 0]] == [150, 160, 170, 180]


def test_a_transform_that_returns_no_image_is_named():
    class Wrong(Transform):
        def encodes(self, image: PILImage):
            return "no image"

    with pytest.raises(InputError, match=r"Wrong gets a Pillow image.*returned str"):
        of_images([np.zeros((8, 8, 3), np.uint8)] * 8, Wrong()).one_batch()
    with pytest.raises(InputError, match="put it into `item_tfms`"):
        DataBlock((ImageBlock, CategoryBlock), item_tfms=Resize(8), batch_tfms=Wrong())


def test_a_transform_of_all_images_is_part_of_the_answer_and_of_no_file(tmp_path):
    class Black(Transform):
        def encodes(self, image: PILImage):
            return np.zeros_like(np.array(image))

    images = [np.random.default_rng(i).integers(0, 256, (8, 8, 3), dtype=np.uint8) for i in range(16)]
    learn = vision_learner(of_images(images, Black()), "test_resnet", pretrained=False)
    assert torch.equal(learn.predict(images[0]).values, learn.predict(images[1]).values)
    with pytest.raises(InputError, match="split_idx = 0"):
        learn.export(tmp_path / "m.safetensors")


def test_a_transform_of_images_with_points_may_not_move_them():
    class Turned(Transform):
        def encodes(self, image: PILImage):
            return np.array(image)[:, ::-1].copy()

    class Dimmed(Transform):
        def encodes(self, image: PILImage):
            return np.array(image) // 2

    images = [np.zeros((64, 64, 3), np.uint8)] * 8

    def build(transform):
        block = DataBlock((ImageBlock, PointBlock), get_x=lambda i: images[i], get_y=lambda i: [[3, 4]],
                          item_tfms=[transform, Resize(64)])  # fmt: skip
        return block.dataloaders(list(range(8)), bs=2)

    with pytest.raises(InputError, match="Turned moves pixels"):
        build(Turned())
    assert build(Dimmed()).one_batch()[1].shape == (2, 1, 2)


# Rows, getters and splits


@pytest.fixture
def table():
    return pd.DataFrame({"name": ["a.png", "b.png"], "x": [1, 2], "y": [3.5, 4.5], "labels": ["p q", "q"]})


def test_a_row_answers_as_pandas_does(table):
    row, theirs = Rows(table)[1], table.iloc[1]
    assert row[["x", "y"]].tolist() == theirs[["x", "y"]].tolist()
    assert row.iloc[2] == theirs.iloc[2]
    assert row.to_dict() == theirs.to_dict()
    assert (row[0], row[-1], row["x"], row.y) == ("b.png", "q", 2, 4.5)
    with pytest.raises(InputError, match="Did you mean `labels`"):
        _ = row.lables


def test_a_reader_of_columns_takes_numbers_and_lists(table):
    rows = Rows(table)
    for reader, expected in (
        (ColReader(0), ["a.png", "b.png"]),
        (ColReader(0, pref="p/"), ["p/a.png", "p/b.png"]),
        (ColReader(["x", "y"]), [[1, 3.5], [2, 4.5]]),
        (ColReader(-1, label_delim=" "), [["p", "q"], ["q"]]),
    ):
        assert [reader(row) for row in rows] == expected
        assert reader.read_rows(rows, [0, 1]) == expected
    assert ColReader(0)(table.iloc[1]) == "b.png" if isinstance(table.columns[0], int) else True


def test_getters_in_a_list_follow_each_other():
    assert composed([lambda f: f.upper(), RegexLabeller(pat="(.)_")])("a_1") == "A"
    with pytest.raises(InputError, match="function of an item"):
        composed(["name"])
    block = DataBlock((ImageBlock, CategoryBlock), getters=[ColReader(0), [ColReader("x"), str]], item_tfms=Resize(8))
    assert block._get_y({"x": 3}) == "3"
    with pytest.raises(InputError, match="in place of these"):
        DataBlock((ImageBlock, CategoryBlock), getters=[ColReader(0)])
    with pytest.raises(InputError, match="n_inp=2"):
        DataBlock((ImageBlock, CategoryBlock), n_inp=2)


def test_splits_have_their_shares_and_each_item_once():
    n = 200
    labels = ["a"] * 150 + ["b"] * 50
    splits = {
        "end": (EndSplitter(0.3), 140, 60),
        "first": (EndSplitter(0.3, valid_last=False), 140, 60),
        "subset": (RandomSubsetSplitter(0.5, 0.2, seed=1), 100, 40),
        "test": (TrainTestSplitter(0.25, random_state=3), 150, 50),
        "strata": (TrainTestSplitter(0.2, random_state=3, stratify=labels), 160, 40),
        "ordered": (TrainTestSplitter(0.2, shuffle=False), 160, 40),
    }
    for name, (split, n_train, n_valid) in splits.items():
        train, valid = split(range(n))
        assert (len(train), len(valid)) == (n_train, n_valid), name
        assert not set(train) & set(valid)
        assert split(range(n)) == (train, valid)
    assert splits["end"][0](range(n))[1] == list(range(140, 200))
    assert splits["first"][0](range(n))[1] == list(range(60))
    assert sum(labels[i] == "b" for i in splits["strata"][0](range(n))[1]) == 10
    for wrong in ({"train_size": 0.5, "shuffle": False}, {"stratify": labels, "shuffle": False}):
        with pytest.raises(InputError):
            TrainTestSplitter(0.2, **wrong)


def test_a_column_splits_by_the_values_that_are_named():
    frame = pd.DataFrame({"fold": [0, 1, 2, 1, 0]})
    assert ColSplitter("fold", on=1)(frame) == ([0, 2, 4], [1, 3])
    assert ColSplitter(0, on=[0, 2])(frame) == ([1, 3], [0, 2, 4])
    with pytest.raises(InputError, match="holds 7"):
        ColSplitter("fold", on=7)(frame)


def test_several_numbers_of_a_table_are_a_target(photographs, tmp_path):
    files = sorted((photographs / "pets_mini" / "images").glob("*.jpg"))[:12]
    frame = pd.DataFrame({"name": [file.name for file in files], "a": range(12), "b": [i * 0.5 for i in range(12)]})
    dls = ImageDataLoaders.from_df(
        frame,
        files[0].parent,
        label_col=["a", "b"],
        y_block=RegressionBlock(n_out=2),
        item_tfms=Resize(16),
        bs=3,
        seed=0,
    )
    assert dls.path == files[0].parent
    rows = dls.valid_ds.items
    assert torch.equal(dls.valid_ds.targets, torch.tensor(rows[["a", "b"]].to_numpy(), dtype=torch.float32))


# Loaders


@pytest.fixture
def pairs():
    x = torch.randn(60, 3, generator=torch.Generator().manual_seed(0))
    return [(a, a.sum().gt(0).float()[None]) for a in x]


def test_loaders_of_ones_own_train_as_torch_does(pairs):
    from torch.utils.data import DataLoader as TorchLoader

    loader = TorchLoader(pairs, batch_size=20)
    ours, theirs = nn.Linear(3, 1), nn.Linear(3, 1)
    theirs.load_state_dict(ours.state_dict())
    learn = Learner(DataLoaders(loader, loader), ours, nn.BCEWithLogitsLoss(), opt_func=torch.optim.SGD, wd=0.0)
    assert isinstance(learn, PlainLearner)
    learn.recorder.silent = True
    learn.fit(2, lr=0.5)
    optimizer = torch.optim.SGD(theirs.parameters(), lr=0.5)
    for _ in range(2):
        for x, y in loader:
            nn.functional.binary_cross_entropy_with_logits(theirs(x), y).backward()
            optimizer.step()
            optimizer.zero_grad()
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))
    outputs, targets = learn.get_preds()
    assert torch.allclose(outputs, theirs(torch.stack([x for x, _ in pairs])), atol=1e-6)
    assert torch.equal(targets, torch.stack([y for _, y in pairs]))
    losses = learn.get_preds(with_loss=True)[2]
    assert float(losses.mean()) == pytest.approx(learn.validate()[0], abs=1e-6)


def test_loaders_of_ones_own_say_what_they_cannot_tell(pairs, tmp_path):
    dls = DataLoaders(DataLoader(pairs, 20), DataLoader(pairs, 20))
    with pytest.raises(InputError, match="loss_func"):
        Learner(dls, nn.Linear(3, 1))
    learn = Learner(dls, nn.Linear(3, 1), nn.BCEWithLogitsLoss())
    for name in ("export", "predict", "show_results", "tta"):
        with pytest.raises(InputError, match=f"`{name}`.*DataBlock"):
            getattr(learn, name)
    with pytest.raises(InputError, match="pair"):
        Learner(DataLoaders([(1, 2, 3)], [(1, 2, 3)]), nn.Linear(3, 1), nn.MSELoss()).fit(1)
    with pytest.raises(InputError, match="has a length"):
        DataLoaders(iter([]), iter([]))


def test_new_loaders_differ_in_what_is_given():
    images = [np.full((8, 8, 3), i, np.uint8) for i in range(16)]
    dls = of_images(images)
    other = dls.new(bs=3)
    assert (other.bs, dls.bs, other.train.shuffle, other.valid.bs) == (3, 4, True, 3)
    plain = dls.train.new(shuffle=False, drop_last=False, bs=12)
    assert (plain.one_batch()[0][:, 0, 0, 0] * 255).round().int().tolist() == list(range(12))
    assert dls.c == 2
    assert dls.cpu() is dls
    assert dls.device == torch.device("cpu")
    assert list(dls.valid_ds.items) == images[12:] or len(dls.valid_ds.items) == 4
    assert len(next(iter(dls.test_dl([0, 1])))) == 1
    assert len(next(iter(dls.test_dl([0, 1], with_labels=True)))) == 2


def test_a_decoded_batch_is_the_image_and_its_label():
    images = [np.random.default_rng(i).integers(0, 256, (8, 8, 3), dtype=np.uint8) for i in range(16)]
    dls = of_images(images)
    found = dls.valid.decode_batch(dls.valid.one_batch(), max_n=3)
    assert [label for _, label in found] == [0, 1, 0]
    for (image, _), source in zip(found, images[12:], strict=False):
        assert np.array_equal((image * 255).round().byte().permute(1, 2, 0).numpy(), source)


# Files and names


def test_a_model_goes_under_the_courses_name_and_no_pickle_is_read(tmp_path, capsys):
    images = [np.random.default_rng(i).integers(0, 256, (8, 8, 3), dtype=np.uint8) for i in range(16)]
    learn = vision_learner(of_images(images), "test_resnet", pretrained=False, path=tmp_path)
    assert learn.export() == tmp_path / "export.pkl"
    assert "safetensors" in capsys.readouterr().out
    again = load_learner(tmp_path / "export.pkl", cpu=True)
    assert torch.allclose(again.predict(images[0]).values, learn.predict(images[0]).values, atol=1e-6)
    assert again.dls.vocab == learn.dls.vocab
    assert again.dls.c == 2
    preds, nothing = again.get_preds(dl=again.dls.test_dl(images[:3]))
    assert nothing is None
    assert torch.allclose(preds, learn.get_preds(dl=learn.dls.test_dl([0, 1, 2]))[0], atol=1e-5)
    with pytest.raises(InputError, match="give images or a loader"):
        again.get_preds()
    again.dls = learn.dls
    assert torch.allclose(again.get_preds()[0], learn.get_preds()[0], atol=1e-5)
    assert torch.equal(again.get_preds()[1], learn.get_preds()[1])
    (tmp_path / "theirs.pkl").write_bytes(pickle.dumps({"model": 1}))
    with pytest.raises(ModelFileError):
        load_learner(tmp_path / "theirs.pkl")


def test_weights_are_saved_with_the_optimizer_or_without(tmp_path):
    images = [np.random.default_rng(i).integers(0, 256, (8, 8, 3), dtype=np.uint8) for i in range(16)]
    learn = vision_learner(of_images(images), "test_resnet", pretrained=False, path=tmp_path)
    learn.recorder.silent = True
    learn.fit(1, 1e-3)
    whole, bare = learn.save("whole"), learn.save("bare", with_opt=False)
    assert whole.stat().st_size > bare.stat().st_size
    assert bare == tmp_path / "models" / "bare.safetensors"
    assert learn.save(tmp_path / "elsewhere") == tmp_path / "elsewhere.safetensors"
    assert learn.load("whole")._training.averages is not None
    assert learn.load("whole", with_opt=False)._training.averages is None


def test_an_argument_that_is_not_known_has_its_near_match_and_who_takes_it():
    @checked_keywords
    def train(n_epoch, *, lr_max=1.0):
        return n_epoch, lr_max

    assert train(1, lr_max=2.0) == (1, 2.0)
    with pytest.raises(UnknownNameError, match=r"`train` has no argument `lr_mx`. Did you mean `lr_max`\?"):
        train(1, lr_mx=2)
    with pytest.raises(UnknownNameError, match="It is `lr_max` here"):
        train(1, max_lr=2)
    with pytest.raises(UnknownNameError, match=r"`batch_tfms` is an argument of .*DataBlock"):
        train(1, batch_tfms=2)
    with pytest.raises(TypeError):
        train()


def test_a_warning_points_at_the_line_that_it_is_about():
    images = [np.zeros((8, 8, 3), np.uint8)] * 4
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        block = DataBlock((ImageBlock, CategoryBlock), get_x=lambda i: images[i], get_y=lambda i: i % 2,
                          splitter=RandomSplitter(0.25, seed=0), item_tfms=Resize(8))  # fmt: skip
        block.dataloaders([0, 1, 2, 3], bs=64)
    assert [one.filename for one in caught] == [__file__]


def test_seeds_and_threads_of_the_course():
    draws = []
    for _ in range(2):
        set_seed(5)
        draws.append((random.random(), float(np.random.rand()), float(torch.rand(()))))  # noqa: NPY002
    assert draws[0] == draws[1]
    assert parallel(lambda x, y, z=0: x + y + z, [1, 2, 3], 10, z=100, n_workers=2) == L([111, 112, 113])


def test_a_random_resized_crop_after_a_resize_stays_as_it_was():
    assert Samples.of([Resize(16), RandomResizedCrop(8)]).input_size_hw == (8, 8)


def test_datasets_of_the_course_learn_their_classes_and_make_loaders(photographs, capsys):
    files = sorted((photographs / "pets_mini" / "images").glob("*.jpg"))[:24]

    def name(file):
        return file.name.rsplit("_", 1)[0]

    splits = [at for at in range(24) if at % 4], list(range(0, 24, 4))
    dsets = Datasets(files, [[PILImageBW.create], [name, Categorize]], splits=splits)
    assert dsets.vocab == sorted({name(files[at]) for at in splits[0]})
    image, label = dsets.train[3]
    assert isinstance(image, PILImageBW)
    assert dsets.vocab[int(label)] == name(files[3])
    dls = dsets.dataloaders(
        bs=4, after_item=[ToTensor(), CropPad(200), RandomCrop(180)], after_batch=[IntToFloatTensor(), Normalize()]
    )
    assert dls.one_batch()[0].shape == (4, 1, 180, 180)
    assert dls.vocab == dsets.vocab
    assert [name(file) for file in dls.valid_ds.items] == [dls.vocab[int(y)] for y in dls.valid_ds.targets]
    with pytest.raises(InputError, match="two slots"):
        Datasets(files, [[name, Categorize]], splits=splits).dataloaders()
    with pytest.raises(InputError, match="no classes"):
        _ = Datasets([1, 2], [[str]]).vocab


def test_datasets_of_numbers_and_slices_of_datasets(photographs):
    files = sorted((photographs / "pets_mini" / "images").glob("*.jpg"))[:12]
    splits = list(range(8)), list(range(8, 12))
    dsets = Datasets(files, [[PILImage.create], [lambda file: len(file.name), RegressionSetup()]], splits=splits)
    assert [int(number) for _, number in dsets[7:10]] == [len(file.name) for file in files[7:10]]
    assert [int(number) for _, number in dsets[[0, 11]]] == [len(files[0].name), len(files[11].name)]
    targets = dsets.dataloaders(bs=4, after_item=Resize(16)).valid_ds.targets
    assert targets[:, 0].tolist() == [float(len(file.name)) for file in files[8:]]


@pytest.mark.parametrize("form", ["pillow", "array", "tensor", "channels last"])
def test_an_image_is_drawn_alike_in_every_form(noise, form):
    given = {
        "pillow": Image.fromarray(noise),
        "array": noise,
        "tensor": torch.from_numpy(noise).permute(2, 0, 1) / 255,
        "channels last": torch.from_numpy(noise),
    }[form]
    axes = show_image(given, title="noise")
    drawn = np.asarray(axes.images[0].get_array(), dtype=float)
    assert np.allclose(drawn if drawn.max() > 1 else drawn * 255, noise, atol=1e-4)
    assert axes.get_title() == "noise"
    grey = show_image(noise[..., 0], ax=axes).images[-1]
    assert (grey.norm.vmin, grey.norm.vmax, grey.cmap.name) == (0, 255, "gray")


def test_what_pillow_opens_for_the_course_is_pillows_and_shows_itself(tmp_path, noise):
    Image.fromarray(noise).save(tmp_path / "a.png")
    opened, theirs = CourseImage.open(tmp_path / "a.png"), Image.open(tmp_path / "a.png")
    assert (opened.format, opened.mode, opened.size, opened.filename) == ("PNG", "RGB", (41, 30), theirs.filename)
    assert isinstance(opened, type(theirs))
    assert not hasattr(theirs, "to_thumb")  # Pillow itself stays as it is
    assert opened.shape == (30, 41)
    thumb = opened.to_thumb(20, 20)
    assert thumb.size == (20, 15)
    theirs.thumbnail((20, 20))
    assert np.array_equal(np.asarray(thumb), np.asarray(theirs))
    assert np.array_equal(np.asarray(opened), noise)
    assert np.array_equal(opened.show().images[0].get_array(), noise)
    assert CourseImage.fromarray is Image.fromarray
    assert isinstance(PILImageBW.create(noise).to_thumb(9), PILImageBW)


def test_normalize_is_a_function_of_images_too():
    images = torch.rand(2, 3, 4, 5)
    normalised = Normalize.from_stats((0.1, 0.2, 0.3), (0.5, 0.6, 0.7))(images)
    expected = (images - torch.tensor([0.1, 0.2, 0.3])[:, None, None]) / torch.tensor([0.5, 0.6, 0.7])[:, None, None]
    assert torch.allclose(normalised, expected, atol=1e-6)
    with pytest.raises(InputError, match="measures"):
        Normalize()(images)


@pytest.mark.parametrize("operation", [RandomErasing(p=1), Hue(p=1), Saturation(p=1)])
@pytest.mark.parametrize(
    ("batch", "got"),
    [
        (torch.zeros(3, 8, 8), r"\[3, 8, 8\] float32. For one image: operation\(image\[None\]\)\[0\]"),
        (torch.zeros(2, 3, 8, 8, dtype=torch.uint8), r"\[2, 3, 8, 8\] uint8\.$"),
        (torch.zeros(8, 8), r"\[8, 8\] float32\.$"),
    ],
)
def test_a_change_of_pixels_takes_a_batch(operation, batch, got):
    with pytest.raises(InputError, match=rf"takes a batch of images, float \[B, C, h, w\] from 0 to 1; got {got}"):
        operation(batch)


WRONG_CHANGES = {
    RandomErasing: {"p": [5, "1"], "sl": [-0.1, "0"], "sh": [1.1, -1], "min_aspect": [0, 2], "max_count": [0, 1.5]},
    Hue: {"p": [-1], "max_hue": [0.6, -0.1, "0.1"]},
    Saturation: {"p": [2], "max_lighting": [1, -0.1]},
    RandTransform: {"p": [5, "1"]},
}


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [(kind, name, value) for kind, of in WRONG_CHANGES.items() for name, values in of.items() for value in values],
)
def test_a_number_of_a_change_of_pixels_is_named(kind, name, value):
    with pytest.raises(InputError, match=f"`{name}` (must be a|is a probability).*got {value!r}"):
        kind(**{name: value})
    with pytest.raises(InputError, match="`sh` must be a number, at least 0.5"):
        RandomErasing(sl=0.5, sh=0.3)


@pytest.mark.parametrize("value", ["a", None, [1, "a"], [[1], [2, 3]]])
@pytest.mark.parametrize("kind", [tensor, TensorPoint, TensorCategory])
def test_what_is_no_number_makes_no_tensor(kind, value):
    with pytest.raises(InputError, match="A tensor holds numbers"):
        kind(value)


def test_points_and_images_are_of_their_form():
    with pytest.raises(InputError, match=r"Points are \(x, y\) each, two numbers; got 3 numbers"):
        TensorPoint([1, 2, 3])
    for wrong in ("a", None, [1, 2], np.zeros((1, 2, 3, 4))):
        with pytest.raises(InputError, match="An image is one of Pillow's, an array"):
            TensorImage(wrong)


@pytest.mark.parametrize("index", [5, -1, "a", None, torch.tensor([0, 1])])
def test_an_index_that_no_class_has_is_refused(index):
    with pytest.raises(InputError, match=r"The 2 classes have indices from 0; got"):
        Categorize(["a", "b"]).decode(index)
    with pytest.raises(InputError, match="does not know its classes"):
        Categorize().decode(0)
    assert MultiCategorize(["a", "b"]).decode(torch.tensor([1, 0])) == ["b", "a"]
    with pytest.raises(InputError, match="got 5"):
        MultiCategorize(["a", "b"]).decode(torch.tensor([5]))


def test_annotations_print_without_quotation_marks(capsys):
    def function(x: "int | None", *rest: "list[str]", kind: "Literal['a', 'b']" = "a") -> "dict[str, int]":
        """Return {'kind': 'a'}."""

    doc(function)
    printed = capsys.readouterr().out
    assert "function(x: int | None, *rest: list[str], kind: Literal['a', 'b'] = 'a') -> dict[str, int]\n" in printed
    assert "Return {'kind': 'a'}." in printed
    doc(Resize)
    assert "Resize(size: Size, method: ResizeMethod = 'crop', " in capsys.readouterr().out
