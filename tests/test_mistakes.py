"""Beginners' mistakes, each as it is made: one message of foveal's own that says where, what and the way out."""

import pandas as pd
import pytest
from PIL import Image

from foveal.core.errors import FovealError
from foveal.vision.all import *


@pytest.fixture(scope="module")
def tables(scenes):
    read = {"keep_default_na": False}
    return pd.read_csv(scenes / "scenes.csv", **read), pd.read_csv(scenes / "balloons.csv")


@pytest.fixture
def make(scenes, tables):
    """Build what a mistake needs, with one thing changed."""

    class Make:
        labels, points = tables
        folder = scenes / "scenes"

        def block(self, **changes):
            plan = {
                "blocks": (ImageBlock, MultiCategoryBlock),
                "get_x": ColReader("fname", pref=self.folder),
                "get_y": ColReader("labels", label_delim=" "),
                "splitter": ColSplitter(),
                "item_tfms": Resize(32),
            }
            return DataBlock(**(plan | changes))

        def point_block(self, **changes):
            plan = {
                "blocks": (ImageBlock, PointBlock),
                "get_y": lambda r: [r["x"], r["y"]],
                "splitter": RandomSplitter(seed=1),
            }
            return self.block(**(plan | changes))

        def learner(self, block=None, table=None, **changes):
            dls = (block or self.block()).dataloaders(self.labels if table is None else table, bs=8)
            return vision_learner(dls, resnet18, pretrained=False, **changes)

        def one_label(self):
            table = self.labels.assign(kind=["a", "b"] * 30)
            return self.block(blocks=(ImageBlock, CategoryBlock), get_y=ColReader("kind")), table

    return Make()


MISTAKES = {
    "forgotten Resize": (
        lambda m: m.block(item_tfms=None).dataloaders(m.labels),
        r"scene_0000.jpg is \d+ x \d+, .*scene_\d+.jpg is \d+ x \d+.*Add one: item_tfms=Resize",
    ),
    "forgotten Resize, seen by summary": (
        lambda m: m.block(item_tfms=None).summary(m.labels),
        r"need one size to share a batch.*Resize",
    ),
    "Resize without a size": (lambda m: m.block(item_tfms=Resize), r"Did you mean `Resize\(\.\.\.\)`"),
    "wrong column": (
        lambda m: m.block(get_y=ColReader("lables", label_delim=" ")).datasets(m.labels),
        r"scene_0000.jpg|item 0: .*no column `lables`.*Did you mean `labels`",
    ),
    "label of one text for several labels": (
        lambda m: m.block(get_y=lambda r: r["labels"]).datasets(m.labels),
        r"scene_0000.jpg: .*got the text '.*label_delim",
    ),
    "swapped x and y": (
        lambda m: (
            m.point_block(get_x=ColReader("fname"), get_y=lambda r: [r["y"], r["x"]]).check(m.wide).require_usable()
        ),
        r"x and y seem to be swapped",
    ),
    "three numbers for a point": (
        lambda m: m.point_block(get_y=lambda r: [r["x"], r["y"], 1.0]).datasets(m.points),
        r"scene_\d+.jpg: .*\(x, y\).*3 numbers",
    ),
    "a splitter of booleans": (
        lambda m: m.block(splitter=lambda items: ([True] * 30, [False] * 30)).datasets(m.labels),
        r"got booleans. Use `MaskSplitter`",
    ),
    "a splitter that overlaps": (
        lambda m: m.block(splitter=lambda items: (range(40), range(30, 60))).datasets(m.labels),
        r"10 items are on both sides.*number 30",
    ),
    "a share in percent": (lambda m: RandomSplitter(20), r"`valid_pct` is a share between 0 and 1; got 20"),
    "an empty folder": (
        lambda m: DataBlock((ImageBlock, CategoryBlock), get_items=get_image_files, get_y=parent_label).datasets(
            m.empty
        ),
        r"no items. Is it the right folder",
    ),
    "a folder that is not there": (lambda m: get_image_files(m.empty / "traim"), r"There is no folder `.*traim`"),
    "a lambda with a typo": (
        lambda m: m.block(get_y=lambda r: r["labels"].splitt()).datasets(m.labels),
        r"`get_y` failed on this item with AttributeError: .*splitt.*The item was",
    ),
    "an image that is not there": (
        lambda m: m.block(get_x=ColReader("fname", pref=m.empty)).dataloaders(m.labels, bs=8).one_batch(),
        r"scene_\d+.jpg: no such file",
    ),
    "several labels for CategoryBlock": (
        lambda m: m.block(blocks=(ImageBlock, CategoryBlock)).datasets(m.labels),
        r"scene_0000.jpg: One label is expected, got \[.*MultiCategoryBlock",
    ),
    "an empty cell": (
        lambda m: m.block(get_y=ColReader("labels", label_delim=" ")).datasets(m.labels.replace("", float("nan"))),
        r"scene_\d+.jpg|item \d+: Column `labels` holds no label",
    ),
    "a pattern that does not match": (
        lambda m: DataBlock(
            (ImageBlock, CategoryBlock), get_items=get_image_files, get_y=RegexLabeller(r"^(\d+)_.*$")
        ).datasets(m.folder),
        r"The pattern .* does not match .*scene_\d+.jpg",
    ),
    "one block": (lambda m: DataBlock(blocks=(ImageBlock,)), r"blocks=\(ImageBlock, MultiCategoryBlock\)"),
    "an argument with a typo": (lambda m: m.block(item_tfm=Resize(8)), r"Did you mean `item_tfms`"),
    "a backbone with a typo": (
        lambda m: vision_learner(m.block().dataloaders(m.labels, bs=16), "resnet81", pretrained=False),
        r"resnet81.*Did you mean `resnet\d+`",
    ),
    "accuracy on several labels": (
        lambda m: m.learner(metrics=accuracy).fine_tune(1),
        r"`accuracy` takes one class index.*use `accuracy_multi`",
    ),
    "accuracy_multi on one label": (
        lambda m: m.learner(*m.one_label(), metrics=accuracy_multi).fine_tune(1),
        r"For one label per image use `accuracy`",
    ),
    "cross-entropy on one-hot targets": (
        lambda m: m.learner(loss_func=nn.CrossEntropyLoss()).fit(1),
        r"one label per image.*Use `nn.BCEWithLogitsLoss\(\)`",
    ),
    "BCELoss on raw outputs": (
        lambda m: m.learner(loss_func=nn.BCELoss()).fit(1),
        r"takes probabilities from 0 to 1.*reach from -.*Use `nn.BCEWithLogitsLoss\(\)`",
    ),
    "BCE with logits on class indices": (
        lambda m: m.learner(*m.one_label(), loss_func=nn.BCEWithLogitsLoss()).fit(1),
        r"got \[8, 2\] and \[8\]",
    ),
    "MSELoss that would broadcast": (
        lambda m: m.learner(m.point_block(), m.points, loss_func=nn.MSELoss()).fit(1),
        r"must have one shape, got \[8, 2\] and \[8, 1, 2\].*MSELossFlat\(\)",
    ),
    "a loss that is not reduced": (
        lambda m: m.learner(loss_func=nn.BCEWithLogitsLoss(reduction="none")).fit(1),
        r"A loss is one number for a batch.*returned \[8, 8\]",
    ),
    "a loss that fails": (
        lambda m: m.learner(loss_func=lambda p, t: p @ t[:3]).fit(1),
        r"failed on outputs \[8, 8\] float32 and targets \[8, 8\] float32",
    ),
    "no epochs": (lambda m: m.learner().fit(0), r"At least one epoch is trained; got 0"),
    "an image to predict that is not there": (
        lambda m: m.learner().predict("scene_9999.jpg"),
        r"scene_9999.jpg: no such file",
    ),
    "a batch of nothing": (
        lambda m: m.block().dataloaders(m.labels, bs=0),
        r"at least one item; got a batch size of 0",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_ends_in_one_message_of_our_own(mistake, make, tmp_path, monkeypatch):
    monkeypatch.setenv("FOVEAL_HOME", str(tmp_path / "home"))
    make.empty = tmp_path / "empty"
    make.empty.mkdir()
    wide = tmp_path / "wide"
    wide.mkdir()
    rows = []
    for at in range(12):
        Image.new("RGB", (300, 60 + at), (at * 20, 90, 120)).save(wide / f"{at}.png")
        rows.append({"fname": str(wide / f"{at}.png"), "x": 200.0 + at, "y": 20.0 + at})
    make.wide = pd.DataFrame(rows)
    call, message = MISTAKES[mistake]
    with pytest.raises(FovealError, match=f"(?s){message}"):
        call(make)


@pytest.mark.parametrize(("cells", "mark"), [(["house tree", "tree", "house"], " "), (["a,b", "b", "a"], ",")])
def test_a_wrong_delimiter_is_questioned(cells, mark, make):
    table = make.labels.assign(labels=cells * 20, is_valid=[False] * 30 + [True] * 30)
    with pytest.warns(UserWarning, match=rf"such as `{cells[0]}` look like several.*label_delim='{mark}'"):
        make.block(get_y=ColReader("labels", label_delim="/")).datasets(table)
