"""Every format yields the same items; what can be written comes back the same."""

import json
import re
import shutil

import numpy as np
import pandas as pd
import pytest

from foveal.core.errors import InputError, TableError
from foveal.core.listing import Path
from foveal.data.block import DataBlock, block_for
from foveal.data.image_block import ImageBlock
from foveal.geometry.resize import Resize
from foveal.images.decode import open_image
from foveal.sources.coco import write_coco
from foveal.sources.formats import TableColumns
from foveal.sources.label_studio import write_label_studio
from foveal.sources.recognise import read_source
from foveal.tasks.label_lists import PartialLabels
from foveal.tasks.multi_label import MultiCategoryBlock, MultiLabel
from foveal.tasks.points import Points
from foveal.tasks.vocab import Vocab


@pytest.fixture
def images(scenes, tmp_path):
    """Four images by their paths, copied into a fresh folder."""
    files = sorted((scenes / "scenes").glob("*.jpg"))[:4]
    return [Path(shutil.copy(file, tmp_path / file.name)) for file in files]


def labels_of(source):
    return {item.image.name: item.label for item in source.items}


def test_a_folder_a_class_with_a_split(images, tmp_path):
    root = tmp_path / "root"
    for number, (side, label) in enumerate([("train", "cat"), ("train", "dog"), ("val", "cat"), ("test", "dog")]):
        (root / side / label).mkdir(parents=True, exist_ok=True)
        shutil.copy(images[number], root / side / label)
    source = read_source(root)
    assert (source.kind, source.task) == ("class folders", "single-label")
    assert [(item.label, item.is_valid) for item in source.items] == [("cat", False), ("dog", False), ("cat", True)]
    assert [item.label for item in source.test] == ["dog"]
    assert source.read_as.endswith("4 images; split as given: 2 / 1, test 1 not used")


def test_one_image_in_several_class_folders_has_several_labels(images, tmp_path):
    root = tmp_path / "root"
    for number, label in ((0, "cat"), (0, "dog"), (1, "dog")):
        (root / label).mkdir(parents=True, exist_ok=True)
        shutil.copy(images[number], root / label)
    source = read_source(root)
    assert source.task == "multi-label"
    assert labels_of(source) == {images[0].name: ["cat", "dog"], images[1].name: ["dog"]}


def test_a_plain_folder_can_be_predicted_and_not_trained_on(images, tmp_path):
    source = read_source(tmp_path)
    assert (source.task, len(source.items)) == ("none", 4)
    with pytest.raises(InputError, match="says nothing of labels"):
        block_for(source, item_tfms=Resize(8))


VOC = "<annotation>{}</annotation>"
OBJECT = "<object><name>{}</name><difficult>{}</difficult></object>"


@pytest.fixture
def voc(images, tmp_path):
    root = tmp_path / "voc"
    for part in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (root / part).mkdir(parents=True)
    objects = [[("cat", 0), ("dog", 1)], [("dog", 0), ("dog", 1)], [], [("cat", 1)]]
    for image, found in zip(images, objects, strict=True):
        shutil.copy(image, root / "JPEGImages")
        text = VOC.format("".join(OBJECT.format(*one) for one in found))
        (root / "Annotations" / f"{image.stem}.xml").write_text(text)
    return root


def test_pascal_voc_masks_what_is_difficult(voc, images):
    source = read_source(voc)
    assert source.kind == "Pascal VOC"
    found = labels_of(source)
    assert found[images[0].name] == PartialLabels(("cat",), ("dog",))
    assert found[images[1].name] == PartialLabels(("dog",))
    assert found[images[2].name] == PartialLabels(())
    task = MultiLabel(Vocab(("cat", "dog")))
    assert task.encode(found[images[0].name])[1].isnan()
    (voc / "ImageSets/Main/train.txt").write_text(f"{images[0].stem}\n{images[1].stem}\n")
    (voc / "ImageSets/Main/val.txt").write_text(images[2].stem)
    assert [item.is_valid for item in read_source(voc).items] == [False, False, True]


def test_xml_with_entities_is_refused(voc, images):
    bomb = '<!DOCTYPE a [<!ENTITY b "cc">]><annotation>&b;</annotation>'
    (voc / "Annotations" / f"{images[0].stem}.xml").write_text(bomb)
    with pytest.raises(TableError, match="entities"):
        read_source(voc).require_usable()


def test_one_column_a_class_masks_the_unknown(images, tmp_path):
    frame = pd.DataFrame({"fname": [p.name for p in images], "cat": [1, 0, -1, None], "dog": [0, 1, 1, 1]})
    frame.to_csv(tmp_path / "t.csv", index=False)
    source = read_source(tmp_path / "t.csv", columns=TableColumns(labels=("cat", "dog")))
    assert [item.label for item in source.items] == [
        ["cat"],
        ["dog"],
        PartialLabels(("dog",), ("cat",)),
        PartialLabels(("dog",), ("cat",)),
    ]
    frame.assign(cat=[2, 0, 0, 0]).to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(TableError, match="`cat` must be 0, 1"):
        read_source(tmp_path / "t.csv", columns=TableColumns(labels=("cat", "dog"))).require_usable()


@pytest.mark.parametrize("write", [write_coco, write_label_studio])
@pytest.mark.parametrize("task", [MultiLabel(Vocab(("cat", "dog"))), Points(2, point_names=("left", "right"))])
def test_what_is_written_comes_back(images, tmp_path, write, task):
    labels = [["cat"], ["cat", "dog"], ["dog"], ["cat"]]
    if isinstance(task, Points):
        labels = [np.array([[10.0, 20.0], [30.5, 40.25]]) + number for number in range(4)]
    rows = [(p.name, open_image(p).size_hw, label) for p, label in zip(images, labels, strict=True)]
    assert write(tmp_path / "out.json", iter(rows), task) == 4
    source = read_source(tmp_path / "out.json", task=task.kind, predictions=write is write_label_studio)
    assert source.task == task.kind
    for item, label in zip(source.items, labels, strict=True):
        if isinstance(task, Points):
            np.testing.assert_allclose(item.label, label, atol=1e-9)
            assert source.point_names == ("left", "right")
        else:
            assert item.label == label


def test_coco_keypoints_of_the_largest_with_missing_ones(images, tmp_path):
    category = {"id": 1, "name": "person", "keypoints": ["nose", "tail"]}
    small = {"id": 1, "image_id": 1, "category_id": 1, "area": 5, "keypoints": [1, 1, 2, 1, 1, 2]}
    large = {"id": 2, "image_id": 1, "category_id": 1, "area": 50, "keypoints": [7, 8, 1, 0, 0, 0]}
    data = {
        "images": [{"id": 1, "file_name": images[0].name}],
        "annotations": [small, large],
        "categories": [category],
    }
    (tmp_path / "coco.json").write_text(json.dumps(data))
    source = read_source(tmp_path / "coco.json")
    assert source.point_names == ("nose", "tail")
    np.testing.assert_array_equal(source.items[0].label, [[7, 8], [np.nan, np.nan]])


def test_yolo_poses_are_shares_of_the_image(images, tmp_path):
    root = tmp_path / "yolo"
    for side in ("train", "val"):
        (root / "images" / side).mkdir(parents=True)
        (root / "labels" / side).mkdir(parents=True)
    shutil.copy(images[0], root / "images/train")
    shutil.copy(images[1], root / "images/val")
    (root / "labels/train" / f"{images[0].stem}.txt").write_text(
        "0 .5 .5 .1 .1 .25 .5 2 0 0 0\n0 .5 .5 .01 .01 .1 .1 2 .1 .1 2"
    )
    source = read_source(root)
    height, width = open_image(images[0]).size_hw
    np.testing.assert_allclose(source.items[0].label, [[0.25 * width, 0.5 * height], [np.nan, np.nan]])
    assert np.isnan(source.items[1].label).all()
    assert [item.is_valid for item in source.items] == [False, True]


def test_what_is_no_source_is_said(tmp_path):
    (tmp_path / "odd.json").write_text("{}")
    (tmp_path / "empty").mkdir()
    for name, message in (
        ("odd.json", "no annotation of a known format"),
        ("empty", "no images"),
        ("od.json", "Did you mean `odd.json`"),
    ):
        with pytest.raises(InputError, match=message):
            read_source(tmp_path / name)


def test_masked_labels_train(voc):
    block = DataBlock(
        (ImageBlock, MultiCategoryBlock),
        get_x=lambda item: item.image,
        get_y=lambda item: item.label,
        splitter=lambda items: ([0, 1, 2], [3]),
        item_tfms=Resize(16),
    )
    dls = block.dataloaders(read_source(voc), bs=2)
    _, targets = next(iter(dls.valid))
    assert targets[0].isnan().tolist() == [True, False]
    assert dls.vocab == ("cat", "dog")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"images": "elsewhere"}, "--images cannot be used with this source (class folders)"),
        ({"columns": TableColumns(image="file", group="who")}, "--image-column and --group-column cannot be used"),
        ({"columns": TableColumns(empty="none")}, "--empty cannot be used with this source (class folders)"),
        ({"task": "points"}, "--task points cannot be learned from this source (class folders)"),
    ],
)
def test_what_a_format_does_not_use_is_refused(given, message, scenes, tmp_path):
    for at, name in enumerate(("ant", "bee")):
        (tmp_path / name).mkdir()
        shutil.copy(scenes / "scenes" / f"scene_000{at}.jpg", tmp_path / name)
    with pytest.raises(InputError, match=re.escape(message)):
        read_source(tmp_path, **given)
    assert [item.label for item in read_source(tmp_path, task="multi-label").items] == [["ant"], ["bee"]]
