"""The data cells of the book: datasets, loaders and the short ways, form by form."""

import string

import numpy as np
import pandas as pd
import pytest
import torch
from torchvision.transforms import v2

from foveal.core.errors import InputError, UnknownNameError
from foveal.vision.all import *


@pytest.fixture
def frame(scenes):
    return pd.read_csv(scenes / "scenes.csv", keep_default_na=False)


@pytest.fixture
def block(scenes):
    return DataBlock(
        blocks=(ImageBlock, MultiCategoryBlock),
        get_x=lambda r: scenes / "scenes" / r["fname"],
        get_y=lambda r: r["labels"].split(" ") if r["labels"] else [],
        splitter=RandomSplitter(seed=1),
        item_tfms=RandomResizedCrop(48, min_scale=0.35),
    )


def test_a_loader_over_any_list_gives_tuples():
    a = list(enumerate(string.ascii_lowercase))
    b = first(DataLoader(a, batch_size=8, shuffle=True))
    assert isinstance(b, tuple)
    assert b[0].dtype == torch.int64
    assert [string.ascii_lowercase[i] for i in b[0]] == list(b[1])
    assert [string.ascii_lowercase[i] for i, _ in zip(*b, strict=True)] == list(b[1])
    loader = DataLoader(a, bs=8)
    assert [len(part[0]) for part in loader] == [8, 8, 8, 2]
    assert len(loader) == 4
    shuffled = DataLoader(a, bs=26, shuffle=True)
    assert list(first(shuffled)[1]) != list(first(shuffled)[1])  # each pass in an order of its own


def test_datasets_compose_functions_in_slots():
    a = list(string.ascii_lowercase)

    def f1(o):
        return o + "a"

    def f2(o):
        return o + "b"

    assert Datasets(a)[0] == ("a",)
    assert Datasets(a, [[f1]])[0] == ("aa",)
    assert Datasets(a, [[f1, f2]])[0] == ("aab",)
    dss = Datasets(a, [[f1], [f2]])
    assert dss[0] == ("aa", "ab")
    dls = DataLoaders.from_dsets(dss, batch_size=4)
    x, y = first(dls.train)
    assert len(x) == len(y) == 4
    assert [one[0] for one in x] == [one[0] for one in y]
    assert {one[1] for one in x} == {"a"}
    with pytest.raises(InputError, match="no validation side"):
        _ = dls.valid
    split = Datasets(a, [[f1]], splits=([0, 2], [1]))
    assert (split.train[1], split.valid[0], len(split)) == (("ca",), ("ba",), 3)


def test_a_block_without_blocks_leaves_items_as_found(frame):
    dsets = DataBlock().datasets(frame)
    x, y = dsets.train[0]
    assert x["fname"] == y["fname"]
    dsets = DataBlock(get_x=lambda r: r["fname"], get_y=lambda r: r["labels"]).datasets(frame)
    assert (len(dsets.train), len(dsets.valid)) == (48, 12)
    name, labels = dsets.train[4]
    assert frame.set_index("fname").loc[name, "labels"] == labels
    with pytest.raises(InputError, match="no column `label`"):
        _ = DataBlock(get_y=lambda r: r["label"]).datasets(frame).train[0]


def test_a_split_is_drawn_afresh_unless_seeded(frame):
    sides = [DataBlock(get_x=lambda r: r["fname"]).datasets(frame).train[0][0] for _ in range(8)]
    assert len(set(sides)) > 1
    assert len(RandomSplitter(0.2)(range(5011))[1]) == 1002


def test_vocab_is_a_list_that_takes_indices(block, frame):
    dsets = block.datasets(frame)
    idxs = torch.where(dsets.train[0][1] == 1.0)[0]
    names = dsets.train.vocab[idxs]
    assert repr(names).startswith(f"(#{len(idxs)}) [")
    dls = block.dataloaders(frame, bs=16)
    assert dls.vocab == dls.classes == dsets.vocab == dsets.train.vocab
    assert repr(dls.loss_func) == "FlattenedLoss of BCEWithLogitsLoss()"
    assert dls.valid.n == 12
    xb, yb = to_cpu(dls.train.one_batch())
    assert (xb.shape, yb.shape) == ((16, 3, 48, 48), (16, len(dls.vocab)))


def test_loss_names_of_the_other_tasks(scenes):
    points = pd.read_csv(scenes / "balloons.csv")
    dls = DataBlock(
        blocks=(ImageBlock, PointBlock),
        get_x=ColReader("fname", pref=scenes / "scenes"),
        get_y=lambda r: tensor([r["x"], r["y"]]),
        item_tfms=Resize(48),
    ).dataloaders(points, bs=8)
    assert repr(dls.loss_func) == "FlattenedLoss of MSELoss()"
    assert dls.train.one_batch()[1].shape == (8, 1, 2)
    dls.show_batch(max_n=4, figsize=(4, 4))


def test_tensor_takes_what_notebooks_give():
    assert tensor([1.0, 2.0]).dtype == torch.float32
    assert tensor(5).dtype == torch.int64
    assert tensor(1, 2, 3).tolist() == [1, 2, 3]
    assert tensor(pd.Series([0.5])).dtype == tensor(np.zeros(2)).dtype == torch.float32
    assert tensor([tensor(1.0), tensor(2.0)]).tolist() == [1, 2]
    assert tensor([tensor([1.0, 0.0])] * 2).shape == (2, 2)


def test_new_items_go_through_the_preparation_of_validation(block, frame):
    dls = block.dataloaders(frame.assign(is_valid=False), bs=8)
    unseen = frame.drop(columns=["labels", "is_valid"])
    loader = dls.test_dl(unseen)
    assert loader.n == 60
    (x,) = loader.one_batch()  # there are no labels
    assert loader.in_order().batcher.dataset.targets.isnan().all()
    again = dls.test_dl(unseen[:8]).one_batch()[0]
    assert torch.equal(x, again)
    x, y = dls.test_dl(frame, with_labels=True).one_batch()
    assert y[0].sum() == len(frame["labels"][0].split())
    with pytest.raises(InputError, match="not made by a DataBlock"):
        DataLoaders.from_dsets(Datasets("ab"), bs=2).test_dl("ab")


def test_answers_come_for_a_loader_of_new_items(block, frame):
    learn = vision_learner(block.dataloaders(frame, bs=8), resnet18, pretrained=False)
    preds, targets = learn.get_preds(dl=learn.dls.test_dl(frame[:10]))
    assert preds.shape == targets.shape == (10, len(learn.dls.vocab))
    assert ((preds >= 0) & (preds <= 1)).all()


def test_batches_are_shown_with_their_labels(block, frame):

    dls = block.dataloaders(frame, bs=8)
    for show in (dls.show_batch, dls.train.show_batch, dls.valid.show_batch):
        show(nrows=1, ncols=3)
        axes = plt.gcf().axes
        assert len(axes) == 3
        assert all(axis.images and axis.texts for axis in axes)
        plt.close("all")
    dls.show_batch(max_n=4, figsize=(8, 6))
    assert plt.gcf().get_size_inches().tolist() == [8, 6]
    plt.close("all")


def test_loaders_audit_their_images(block, frame, tmp_path, monkeypatch):
    monkeypatch.setenv("FOVEAL_HOME", str(tmp_path))
    assert block.dataloaders(frame, bs=8).check().figures["usable"] == 60


# The short ways


@pytest.fixture
def folders(scenes, tmp_path):
    for at, file in enumerate(get_image_files(scenes)[:24]):
        place = tmp_path / ("train" if at % 4 else "valid") / f"kind{at % 2}"
        place.mkdir(parents=True, exist_ok=True)
        (place / f"kind{at % 2}_{at}.jpg").write_bytes(file.read_bytes())
    return tmp_path


def test_every_short_way_finds_the_same_labels(folders):
    files = get_image_files(folders)
    options = {"item_tfms": Resize(32), "bs": 4, "valid_pct": 0.25, "seed": 3}
    names = [file.relative_to(folders) for file in files]
    labels = [file.parent.name for file in files]
    table = pd.DataFrame({"name": [str(name) for name in names], "label": labels})
    table.to_csv(folders / "labels.csv", index=False)
    ways = [
        ImageDataLoaders.from_folder(folders, **options),
        ImageDataLoaders.from_name_func(folders, files, lambda name: name.split("_")[0], **options),
        ImageDataLoaders.from_name_re(folders, files, r"^(\w+)_\d+.jpg$", **options),
        ImageDataLoaders.from_path_func(folders, files, parent_label, **options),
        ImageDataLoaders.from_path_re(folders, files, r"/(\w+)/[^/]+$", **options),
        ImageDataLoaders.from_lists(folders, names, labels, **options),
        ImageDataLoaders.from_df(table, folders, **options),
        ImageDataLoaders.from_csv(folders, **options),
    ]
    for dls in ways:
        assert dls.vocab == ["kind0", "kind1"]
        assert (dls.train.n, dls.valid.n) == (18, 6)
        assert torch.equal(dls.valid.dataset.targets, ways[0].valid.dataset.targets)
    assert ImageDataLoaders.from_folder(folders, item_tfms=Resize(32), bs=4).valid.n == 6


def test_tables_of_several_labels_and_points(scenes, frame):
    options = {"folder": "scenes", "item_tfms": Resize(32), "bs": 8}
    dls = ImageDataLoaders.from_df(frame, scenes, label_delim=" ", valid_col="is_valid", **options)
    assert dls.task.kind == "multi-label"
    assert dls.valid.n == frame["is_valid"].sum()
    wide = frame.assign(a=1, b=[i % 2 for i in range(60)])
    dls = ImageDataLoaders.from_df(wide, scenes, label_col=["a", "b"], **options)
    assert dls.vocab == ["a", "b"]
    points = pd.read_csv(scenes / "balloons.csv")
    dls = ImageDataLoaders.from_df(points, scenes, label_col=["x", "y"], y_block=PointBlock, **options)
    assert dls.task.kind == "points"
    with pytest.raises(UnknownNameError, match="Did you mean `item_tfms`"):
        ImageDataLoaders.from_df(frame, scenes, item_tfm=Resize(32))


# Pixel operations of one's own


def brighten(batch):
    return (batch * 1.5).clamp(0, 1)


OPERATIONS = [brighten, v2.ColorJitter(brightness=0.5, saturation=0.5), v2.GaussianBlur(3), v2.RandomErasing(p=1)]


@pytest.mark.parametrize("operation", OPERATIONS)
def test_an_operation_changes_training_images_only_and_the_same_each_time(operation, block, frame, scenes):
    def batches(**changes):
        plan = {"splitter": RandomSplitter(seed=1), "item_tfms": Resize(48), "get_x": block._get_x}
        made = DataBlock((ImageBlock, MultiCategoryBlock), get_y=block._get_y, **(plan | changes))
        dls = made.dataloaders(frame, bs=8)
        state = torch.random.get_rng_state()
        found = next(dls.train.batches(epoch=2)).inputs, next(dls.valid.batches(epoch=2)).inputs
        assert torch.equal(state, torch.random.get_rng_state())
        return found

    plain, changed, again = batches(), batches(batch_tfms=operation), batches(batch_tfms=operation)
    assert torch.equal(changed[0], again[0])
    assert not torch.equal(plain[0], changed[0])
    assert torch.equal(plain[1], changed[1])


def roll(batch):
    return batch.roll(3, dims=-1)


@pytest.mark.parametrize(
    ("operation", "allowed"),
    [
        *((operation, True) for operation in OPERATIONS),
        (roll, False),
        (v2.RandomHorizontalFlip(), False),
        (v2.RandomHorizontalFlip(p=0.1), False),
        (v2.RandomAffine(5), False),
        (v2.Compose([v2.GaussianBlur(3), v2.RandomRotation(3)]), False),
    ],
)
def test_what_would_leave_points_behind_is_refused(operation, allowed, scenes):
    points = pd.read_csv(scenes / "balloons.csv")
    plan = DataBlock(
        (ImageBlock, PointBlock),
        get_x=lambda r: scenes / "scenes" / r["fname"],
        get_y=lambda r: [r["x"], r["y"]],
        item_tfms=Resize(48),
        batch_tfms=[*aug_transforms(), operation],
    )
    if allowed:
        plan.dataloaders(points, bs=8).one_batch()
    else:
        with pytest.raises(InputError, match="moves pixels, and points would stay behind"):
            plan.dataloaders(points, bs=8)


def test_an_operation_that_is_no_operation_is_named(block, frame):
    with pytest.raises(InputError, match="put it into `batch_tfms`"):
        DataBlock((ImageBlock, MultiCategoryBlock), item_tfms=[Resize(9), brighten])
    plan = DataBlock(
        (ImageBlock, MultiCategoryBlock),
        get_x=block._get_x,
        get_y=block._get_y,
        item_tfms=Resize(48),
        batch_tfms=lambda batch: batch[:, :, :20],
    )
    with pytest.raises(InputError, match=r"returned \[8, 3, 20, 48\]"):
        plan.dataloaders(frame, bs=8).one_batch()
