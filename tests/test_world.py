"""The world's data: every layout is read for what it is, whatever it lies in; what is not labelled or not used is named."""

import json
import shutil

import numpy as np
import pytest

from exports import LAYOUTS, SIDES, Truth, coco_dict, picture, rows
from foveal.audit.checks import names_of
from foveal.core.errors import InputError
from foveal.sources.recognise import read_source


def said(source):
    """Return what a source says, as a truth."""
    truth = Truth()
    n_valid = source.has_split
    for item in (*source.items, *source.test):
        name = item.image.name
        side = "test" if item in source.test else "valid" if item.is_valid else "train" if n_valid else None
        truth.sides[name] = side
        if source.task == "points":
            truth.points[name] = tuple(map(tuple, np.asarray(item.label).round(4).tolist()))
        else:
            truth.labels[name] = tuple(sorted(names_of(item.label)))
    return truth


def what_is_wrong(path, **options):
    """Return the message with which a source is refused, or else the rules of what was found."""
    try:
        return "; ".join(finding.rule for finding in read_source(path, **options).findings)
    except InputError as error:
        return str(error)


def assert_same(found, truth):
    assert found.labels == truth.labels
    assert found.sides == truth.sides
    assert {k: np.allclose(v, truth.points[k], atol=1e-3) for k, v in found.points.items()} == dict.fromkeys(
        truth.points, True
    )


@pytest.fixture(params=list(LAYOUTS))
def layout(request, tmp_path):
    root = tmp_path / "set"
    root.mkdir()
    return root, LAYOUTS[request.param](root)


def test_every_layout_is_read_for_what_it_is(layout):
    root, truth = layout
    source = read_source(root)
    assert_same(said(source), truth)
    source.require_usable()
    assert source.why
    n_test = sum(side == "test" for side in truth.sides.values())
    assert (f"test {n_test} not used" in source.read_as) == bool(n_test)
    assert f"; {len(truth.sides)} images" in source.read_as


def test_a_folder_around_it_changes_nothing(layout):
    """As an archive unpacks it, beside what a computer or a repository puts there."""
    root, truth = layout
    outer = root.parent / "outer"
    (outer / "unpacked").mkdir(parents=True)
    shutil.move(root, outer / "unpacked" / "set")
    (outer / "README.md").write_text("# A data set\n")
    (outer / "__MACOSX").mkdir()
    picture(outer / "__MACOSX" / "x.jpg", 99)
    (outer / "unpacked" / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
    assert_same(said(read_source(outer)), truth)


def test_system_files_inside_change_nothing(layout):
    """Copies on other systems leave AppleDouble files, folders of thumbnails and the like beside every file."""
    root, truth = layout
    for file in [file for file in root.rglob("*") if file.is_file()]:
        (file.parent / f"._{file.name}").write_bytes(b"\0\5\x16\7\0\2\0\0Mac OS X        ")
    assert_same(said(read_source(root)), truth)


def test_a_marks_and_lines_of_windows_change_nothing(layout):
    root, truth = layout
    for file in root.rglob("*"):
        if file.suffix in {".csv", ".txt", ".xml", ".json", ".jsonl", ".yaml", ".names"}:
            text = file.read_text()
            file.write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    assert_same(said(read_source(root)), truth)


def test_images_that_are_gone_are_named_and_the_others_stay(layout):
    root, truth = layout
    images = sorted(file for file in root.rglob("*") if file.suffix in {".jpg", ".jpeg", ".png"})
    if not images or (
        (root / "train").is_dir() and next((root / "train").iterdir()).is_dir() and not list(root.rglob("*.txt"))
    ):
        return  # images in parquet files cannot be gone, and of class folders nothing else names them
    gone = images[0]
    gone.unlink()
    source = read_source(root)
    left = said(source).sides.keys()
    assert truth.sides.keys() - left <= {gone.name}
    if gone.name not in left and f"{gone.stem}.json" not in left:  # LabelMe has the image a second time
        named = " ".join(f"{f.where} {f.value}" for f in source.findings)
        assert gone.stem in named or not (root / "data.yaml").is_file()


@pytest.mark.parametrize("side", ["test", "testing", "Test", "test_set", "test_images"])
@pytest.mark.parametrize("name", ["class_folders", "roboflow_voc", "roboflow_coco", "roboflow_several_labels"])
def test_a_test_side_is_left_out_by_whatever_name(name, side, tmp_path):
    truth = LAYOUTS[name](tmp_path)
    (tmp_path / "test").rename(tmp_path / "moved")
    (tmp_path / "moved").rename(tmp_path / side)
    assert_same(said(read_source(tmp_path)), truth)


@pytest.mark.parametrize(
    "name", ["class_folders", "roboflow_voc", "roboflow_coco", "roboflow_several_labels", "roboflow_yolo"]
)
def test_without_a_validation_side_it_is_made_from_training(name, tmp_path):
    truth = LAYOUTS[name](tmp_path)
    shutil.rmtree(tmp_path / "valid")
    source = read_source(tmp_path)
    assert not source.has_split
    assert len(source.test) == SIDES.count("test")
    assert {item.image.name for item in source.items} == {k for k, side in truth.sides.items() if side == "train"}


def test_a_coco_file_with_ids_of_any_kind(tmp_path):
    entries = [(picture(tmp_path / f"c{at}.jpg", at).name, names, ()) for at, _, names, _ in rows()]
    data = coco_dict(entries)
    as_text = json.loads(json.dumps(data))
    for image in as_text["images"]:
        image["id"] = f"img-{image['id']}"
    for one in as_text["annotations"]:
        one["image_id"] = f"img-{one['image_id']}"
        one.pop("area"), one.pop("bbox")
    for name, written in (("a", data), ("b", as_text)):
        (tmp_path / f"{name}.json").write_text(json.dumps(written))
        found = said(read_source(tmp_path / f"{name}.json")).labels
        assert found == {name: names for name, names, _ in entries}


@pytest.mark.parametrize(
    ("change", "said_of_it"),
    [
        (lambda d: d["images"].append(dict(d["images"][0], file_name="c1.jpg")), "image id 1 stands for more than one"),
        (lambda d: d["categories"].append({"id": 2, "name": "wolf"}), "category id 2 stands for more than one"),
        (lambda d: d["annotations"][0].update(category_id=77), "unknown category"),
        (lambda d: d["annotations"][0].update(category_id=None), "unknown category"),
        (lambda d: d["annotations"][1].update(id=1), "annotation id given twice"),
        (lambda d: d["annotations"][0].update(image_id=99), "annotation of an unknown image"),
        (lambda d: d.update(images={}), "must be a list"),
    ],
)
def test_keys_of_coco_that_are_not_unique_or_not_known_are_named(tmp_path, change, said_of_it):
    data = coco_dict([(picture(tmp_path / f"c{at}.jpg", at).name, names, ()) for at, _, names, _ in rows()])
    change(data)
    (tmp_path / "c.json").write_text(json.dumps(data))
    assert said_of_it in what_is_wrong(tmp_path / "c.json")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda d: picture(d / "only" / "a.jpg", 1), "one class folder alone, only/"),
        (lambda d: [picture(d / n / "a.png", i) for i, n in enumerate(("images", "masks"))], "masks for segmentation"),
        (lambda d: [picture(d / s / "images" / "a.png", i) for i, s in enumerate(("train", "val"))], "parts of a data"),
        (lambda d: (d / "labels").mkdir() or (d / "labels" / "a.txt").write_text("0 .5 .5 .1 .1"), "not their images"),
        (lambda d: (d / "metadata.jsonl").write_text('{"file_name": "a.jpg"}'), "not their images"),
        (
            lambda d: [LAYOUTS["cvat_coco"](d / n) for n in ("one", "two") if (d / n).mkdir() is None],
            "nothing says which is meant: one/annotations",
        ),
    ],
)
def test_what_is_no_data_set_is_said_to_be_none(tmp_path, make, message):
    make(tmp_path)
    with pytest.raises(InputError, match="(?s).*" + message.replace("(", r"\(").replace(")", r"\)")):
        read_source(tmp_path)


def test_the_format_can_be_named(tmp_path):
    for at in range(4):
        picture(tmp_path / "images" / f"{at}.png", at)
        picture(tmp_path / "masks" / f"{at}.png", at + 10)
    assert {item.label for item in read_source(tmp_path, format="folders").items} == {"images", "masks"}
    with pytest.raises(InputError, match=r"not of the format coco\. It seems to be folders"):
        read_source(tmp_path, format="coco")
    with pytest.raises(InputError, match=r"There is no format `cocoa`\. Did you mean `coco`"):
        read_source(tmp_path, format="cocoa")


@pytest.mark.parametrize("form", ["table", "coco"])
def test_images_in_folders_of_sides_are_split_by_them(form, tmp_path):
    entries = []
    for at, side, names, _ in rows():
        name = f"{side}/c{at}.jpg"
        picture(tmp_path / name, at)
        entries.append((name, names, ()))
    if form == "coco":
        (tmp_path / "all.json").write_text(json.dumps(coco_dict(entries)))
    else:
        lines = [f"{name},{'|'.join(names)}" for name, names, _ in entries]
        (tmp_path / "all.csv").write_text("path,labels\n" + "\n".join(lines) + "\n")
    source = read_source(tmp_path / ("all.json" if form == "coco" else "all.csv"))
    assert {item.image.name: bool(item.is_valid) for item in source.items} == {
        f"c{at}.jpg": side == "valid" for at, side in enumerate(SIDES) if side != "test"
    }
    assert len(source.test) == SIDES.count("test")
