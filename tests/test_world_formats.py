"""Annotations as tools write them: what is not labelled is not truth, and one bad file hides no other."""

import contextlib
import json
import shutil

import numpy as np
import pandas as pd
import pytest

from exports import picture
from foveal.audit.checks import audit, without_bad
from foveal.core.errors import InputError, TableError
from foveal.images.decode import open_image
from foveal.sources.folders import get_image_files
from foveal.sources.formats import TableColumns
from foveal.sources.recognise import read_source
from foveal.tasks.label_lists import PartialLabels

N = 6


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("FOVEAL_HOME", str(tmp_path / "home"))
    for at in range(N):
        picture(tmp_path / f"p{at}.jpg", at)
    return tmp_path


def choice(*names, control="kind"):
    return {"from_name": control, "to_name": "image", "type": "choices", "value": {"choices": list(names)}}


def answered(*results, **more):
    return {"completed_by": 1, "result": list(results), **more}


def tasks(place, *last, name="t.json"):
    """Write an export whose first tasks are labelled, and whose last ones are given as (annotations, predictions)."""
    given = [([answered(choice("ab"[at % 2]))], []) for at in range(N - len(last))] + list(last)
    written = [
        {"id": at, "data": {"image": f"/data/upload/1/{at:08x}-p{at}.jpg"}, "annotations": a, "predictions": p}
        for at, (a, p) in enumerate(given)
    ]
    (place / name).write_text(json.dumps(written))
    return place / name


STATES = {
    "skipped": (([answered(choice("a"), was_cancelled=True)], []), "task that was skipped", None),
    "not begun": (([], []), "task without an annotation", None),
    "a prediction": (([], [answered(choice("b"))]), "task with a model's predictions alone", "b"),
    "skipped, with a prediction": (
        ([answered(was_cancelled=True)], [answered(choice("b"))]), "task with a model's predictions alone", "b",
    ),
    "two of three": ((
        [answered(choice("a")), answered(choice("b")), answered(choice("b"))], []), "annotators disagree", "b",
    ),
    "one of two": (([answered(choice("a")), answered(choice("b"))], []), "task on which annotators disagree, without a majority", None),
    "ground truth": (([answered(choice("a")), answered(choice("b"), ground_truth=True)], []), "", "b"),
    "a relation": (([answered(choice("a"), {"type": "relation", "from_id": "x", "to_id": "y"})], []), "", "a"),
}  # fmt: skip


@pytest.mark.parametrize("case", STATES)
def test_what_nobody_labelled_is_left_out_and_named(case, place):
    last, rule, label = STATES[case]
    file = tasks(place, last)
    is_prediction = "predictions" in rule
    source = read_source(file)
    found = {item.image.name: item.label for item in source.items}
    assert found.get("p5.jpg") == (None if is_prediction else label)
    assert [f.rule for f in source.findings if f.level == "warning"] == ([rule] if rule else [])
    assert source.n_left_out == (label is None or is_prediction)
    if "annotator" in rule or "skipped" in rule or is_prediction:  # nobody said that nothing is in it
        nothing = read_source(file, columns=TableColumns(empty="none"), task="multi-label")
        assert "p5.jpg" not in {item.image.name for item in nothing.items} or label
    if is_prediction:
        asked = {item.image.name: item.label for item in read_source(file, predictions=True).items}
        assert asked["p5.jpg"] == label


def test_old_short_and_flat_exports_are_read_as_the_whole_one(place):
    whole = [(item.image.name, item.label) for item in read_source(tasks(place)).items]
    short = [
        {"id": at, "image": f"/data/upload/1/{at:08x}-p{at}.jpg", "kind": "ab"[at % 2], "annotator": 1}
        for at in range(N)
    ]
    (place / "short.json").write_text(json.dumps(short))
    old = json.loads((place / "t.json").read_text())
    for task in old:
        task["completions"] = task.pop("annotations")
    (place / "old.json").write_text(json.dumps(old))
    pd.DataFrame([{**row, "lead_time": 3.2} for row in short]).rename(columns={"kind": "choice"}).to_csv(
        place / "flat.csv", index=False
    )
    for name in ("short.json", "old.json", "flat.csv"):
        assert [(item.image.name, item.label) for item in read_source(place / name).items] == whole, name


def test_of_several_questions_one_is_named(place):
    both = [([answered(choice("a", control="animal"), choice("day", control="light"))], [])] * N
    file = tasks(place, *both)
    with pytest.raises(TableError, match=r"answers several questions: animal \(choices, 6\), light"):
        read_source(file)
    source = read_source(file, columns=TableColumns(label="light"))
    assert {item.label for item in source.items} == {"day"}
    assert "Not read: animal" in source.notes[0]
    with pytest.raises(TableError, match=r"no control `lihgt`\. Did you mean `light`"):
        read_source(file, columns=TableColumns(label="lihgt"))


def test_regions_of_label_studio_are_labels(place):
    def box(name):
        value = {"x": 1, "y": 2, "width": 3, "height": 4, "rectanglelabels": [name]}
        return {"from_name": "box", "type": "rectanglelabels", "value": value}

    source = read_source(tasks(place, *[([answered(box("a"), box("b"))], [])] * 5, ([answered()], [])))
    assert source.task == "multi-label"
    assert [item.label for item in source.items] == [["a", "b"]] * 5 + [[]]


def test_one_name_twice_in_a_task_is_an_error(place):
    def point(name, x):
        value = {"x": x, "y": 10, "keypointlabels": [name]}
        return {"type": "keypointlabels", "value": value, "original_width": 48, "original_height": 40}

    source = read_source(tasks(place, *[([answered(point("nose", 5), point("nose", 9))], [])] * N))
    assert {(f.rule, f.level) for f in source.findings} == {("point given twice", "error")}


ADDRESSES = {
    "/data/upload/3/1a2b3c4d-cat.jpg": "cat.jpg",
    "/data/local-files/?d=home/me/dir/cat.jpg": "dir/cat.jpg",
    "/data/local-files/?d=dir%5Ccat.jpg": "dir/cat.jpg",
    "/data/local-files/?d=C%3A%5Cdir%5Ccat.jpg": "cat.jpg",
    "/data/local-files/?d=dir/a+b.jpg": "dir/a+b.jpg",
    "/data/local-files/?d=dir/a%2Bb.jpg": "dir/a+b.jpg",
    "/data/local-files/?d=dir/a#1.jpg": "dir/a#1.jpg",
    "/data/local-files/?d=dir/a&b.jpg": "dir/a&b.jpg",
    "/data/local-files/?d=dir/a%2520b.jpg": "dir/a%20b.jpg",
    "/data/local-files/?d=dir/my%20cat.jpg": "dir/my cat.jpg",
    "/data/upload/3/1a2b3c4d-%EA%B3%A0.jpg": "고.jpg",
    "s3://bucket/dir/cat#1.jpg": "cat#1.jpg",
    "gs://bucket/some/dir/cat.jpg": "dir/cat.jpg",
    "https://h.org/x/cat.jpg?X-Amz-Signature=abc&X-Amz-Date=1": "cat.jpg",
    "/data/upload/3/what?.jpg": "what?.jpg",
    "50%.jpg": "50%.jpg",
    "dir\\sub\\cat.jpg": "dir/sub/cat.jpg",
}


@pytest.mark.parametrize("address", ADDRESSES)
@pytest.mark.parametrize("form", ["tasks", "table"])
def test_an_address_of_label_studio_leads_to_its_file(address, form, tmp_path):
    picture(tmp_path / ADDRESSES[address], 1)
    picture(tmp_path / "another.jpg", 2)
    if form == "table":
        pd.DataFrame({"image": [address], "choice": ["a"]}).to_csv(tmp_path / "t.csv", index=False)
    else:
        (tmp_path / "t.json").write_text(
            json.dumps([{"data": {"image": address}, "annotations": [answered(choice("a"))]}])
        )
    (item,) = read_source(tmp_path / ("t.csv" if form == "table" else "t.json")).items
    assert item.image == tmp_path / ADDRESSES[address]


def test_an_upload_is_not_taken_for_another_file(tmp_path):
    picture(tmp_path / "12.jpg", 1)
    for address in ("photos/dog-12.jpg", "/data/upload/1/dog-12.jpg", "/data/upload/1/1a2b3c4-12.jpg"):
        (tmp_path / "t.json").write_text(
            json.dumps([{"data": {"image": address}, "annotations": [answered(choice("a"))]}])
        )
        assert not read_source(tmp_path / "t.json").items


# COCO


def test_images_without_an_annotation_are_left_out_or_have_nothing(place):
    images = [{"id": at, "file_name": f"p{at}.jpg"} for at in range(N)]
    annotations = [{"id": at, "image_id": at, "category_id": at % 2} for at in range(4)]
    categories = [{"id": 0, "name": "a"}, {"id": 1, "name": "b"}]
    (place / "c.json").write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    source = read_source(place / "c.json")
    assert (len(source.items), source.n_left_out) == (4, 2)
    assert "6 images, 2 left out" in source.read_as
    nothing = read_source(place / "c.json", columns=TableColumns(empty="none"))
    assert [item.label for item in nothing.items] == [["a"], ["b"], ["a"], ["b"], [], []]
    with pytest.raises(TableError, match=r"image without an annotation \(2\)"):
        read_source(place / "c.json", columns=TableColumns(empty="error")).require_usable()


def test_keypoints_may_be_missing_or_of_another_category(place):
    images = [{"id": at, "file_name": f"p{at}.jpg"} for at in range(3)]
    annotations = [
        {"id": 1, "image_id": 0, "category_id": 1, "keypoints": [1, 2, 2, 3, 4, 0]},
        {"id": 2, "image_id": 1, "category_id": 1, "keypoints": []},
        {"id": 3, "image_id": 2, "category_id": 2},
        {"id": 4, "image_id": 2, "category_id": 1, "keypoints": [5, 6, 2, 7, 8, 1], "bbox": [0, 0, 9, 9]},
    ]
    categories = [{"id": 1, "name": "x", "keypoints": ["nose", "tail"]}, {"id": 2, "name": "y", "keypoints": []}]
    whole = {"images": images, "annotations": annotations, "categories": categories}
    (place / "c.json").write_text(json.dumps(whole))
    source = read_source(place / "c.json")
    np.testing.assert_array_equal([item.label for item in source.items], [[[1, 2], [np.nan] * 2], [[5, 6], [7, 8]]])
    assert source.n_left_out == 1
    categories[1]["keypoints"] = ["left", "right", "top"]
    (place / "c.json").write_text(json.dumps(whole))
    with pytest.raises(TableError, match="one list of keypoints"):
        read_source(place / "c.json")
    annotations[0]["keypoints"] = [1, 2, 2]
    del categories[1]
    del annotations[2]
    (place / "c.json").write_text(json.dumps(whole))
    with pytest.raises(TableError, match="image 0: expected 6 numbers for 2 keypoints, got 3"):
        read_source(place / "c.json")


# Pascal VOC


XML = "<annotation><object><name>{}</name></object></annotation>"
GOOD = {
    "gb2312": ('<?xml version="1.0" encoding="gb2312"?>' + XML.format("猫")).encode("gb2312"),
    "shift_jis": ('<?xml version="1.0" encoding="Shift_JIS"?>\n' + XML.format("猫")).encode("shift_jis"),
    "big5": ("<?xml version='1.0' encoding='big5'?>" + XML.format("狐")).encode("big5"),
    "utf-16": ('<?xml version="1.0" encoding="utf-16"?>' + XML.format("猫")).encode("utf-16"),
    "utf-16 without a mark": XML.format("猫").encode("utf-16-le"),
    "a mark": b"\xef\xbb\xbf" + XML.format("猫").encode(),
    "nothing declared": XML.format("猫").encode(),
}
BAD = {
    "a raw &": XML.format("a & b").encode(),
    "another encoding than declared": XML.format("grün").encode("latin-1"),
    "an unknown encoding": b'<?xml version="1.0" encoding="x-user"?><annotation/>',
    "nothing": b"",
    "no name": b"<annotation><object><bndbox/></object></annotation>",
    "an entity": b'<!DOCTYPE a [<!ENTITY b "c">]><annotation>&b;</annotation>',
}


def voc(place, name, data):
    root = place / "voc"
    (root / "Annotations").mkdir(parents=True)
    for at in range(N):
        picture(root / "JPEGImages" / f"c{at}{('.jpg', '.png', '.jpeg', '.JPG')[at % 4]}", at)
        (root / "Annotations" / f"c{at}.xml").write_text(XML.format("ab"[at % 2]))
    (root / "Annotations" / f"{name}.xml").write_bytes(data)
    (root / "Annotations" / f"._{name}.xml").write_bytes(b"\0\5\x16\7")
    return root


@pytest.mark.parametrize("case", GOOD)
def test_an_annotation_is_read_in_the_encoding_that_it_declares(case, place):
    source = read_source(voc(place, "c3", GOOD[case]))
    assert [item.label for item in source.items if item.image.stem == "c3"] == [
        PartialLabels(("狐" if case == "big5" else "猫",))
    ]
    assert len(source.items) == N
    assert not source.findings


@pytest.mark.parametrize("case", BAD)
def test_one_bad_annotation_hides_nothing_and_can_be_left_out(case, place):
    root = voc(place, "c3", BAD[case])
    (root / "JPEGImages" / "c4.jpg").write_bytes(b"")
    source = read_source(root)
    found = audit(source)
    assert {f.rule for f in found.errors} == {"annotation that cannot be read", "image that cannot be used"}
    kept = without_bad(source, found)
    assert {item.image.stem for item in kept.items} == {"c0", "c1", "c2", "c5"}
    kept.require_usable()


@pytest.mark.parametrize("lines", ["{} \n", "{}  1\n", "{} -1\r\n", "\ufeff{}\n", "{}.jpg\n"])
def test_lists_of_sides_may_have_marks_and_spaces(lines, place):
    root = voc(place, "c3", XML.format("a").encode())
    (root / "ImageSets" / "Main").mkdir(parents=True)
    for name, numbers in (("train", (0, 1, 2)), ("val", (3,)), ("test", (4,))):
        text = "".join(lines.format(f"c{at}") for at in numbers) + "\n\n"
        (root / "ImageSets" / "Main" / f"{name}.txt").write_bytes(text.replace("\ufeff", "").encode())
    source = read_source(root)
    assert [item.is_valid for item in source.items] == [False, False, False, True]
    assert [item.image.stem for item in source.test] == ["c4"]
    assert "annotation of no set in ImageSets" in [finding.rule for finding in source.findings]


# YOLO


def yolo(root, lines, *, names=None, shape=None):
    for at, line in enumerate(lines):
        picture(root / "images" / f"c{at}.jpg", at)
        (root / "labels").mkdir(exist_ok=True)
        if line is not None:
            (root / "labels" / f"c{at}.txt").write_bytes(line if isinstance(line, bytes) else line.encode())
    text = "train: images\n" + (f"kpt_shape: {shape}\n" if shape else "") + (f"names: {names}\n" if names else "")
    (root / "data.yaml").write_text(text)
    return root


BOX = "{} .5 .5 .2 .2"
KINDS = {
    "boxes": (BOX, "multi-label"),
    "oriented boxes": ("{} .2 .2 .6 .25 .55 .7 .15 .65", "multi-label"),
    "polygons": ("{} .1 .1 .5 .1 .6 .4 .3 .7 .1 .5 .05 .3 .07 .2", "multi-label"),
    "pose": (BOX + " .45 .45 2 .55 .5 1", "points"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_lines_of_yolo_are_taken_for_what_they_hold(kind, tmp_path):
    line, task = KINDS[kind]
    source = read_source(yolo(tmp_path, [line.format(at % 2) + "\n" for at in range(N)], names=["a", "b"]))
    assert (source.kind, source.task) == (f"YOLO {kind}", task)
    if task == "multi-label":
        assert [item.label for item in source.items] == [["a"], ["b"]] * (N // 2)


def test_boxes_and_polygons_may_be_mixed(tmp_path):
    lines = [KINDS["polygons"][0].format(0) if at % 2 else BOX.format(1) for at in range(N)]
    assert read_source(yolo(tmp_path, lines)).task == "multi-label"


def test_keypoints_of_two_values_lie_in_their_boxes(tmp_path):
    source = read_source(yolo(tmp_path, [BOX.format(0) + f" .4{at} .45 .55 .5" for at in range(N)]))
    assert source.task == "points"
    np.testing.assert_allclose(source.items[1].label, [[0.41 * 48, 0.45 * 40], [0.55 * 48, 0.5 * 40]])


@pytest.mark.parametrize("text", ["{}\n", "\ufeff{}\n", "{}\r\n", "\n{}\n\n"])
@pytest.mark.parametrize("separator", [" ", ", ", ",", "\t"])
def test_marks_and_commas_in_lines_of_yolo(text, separator, tmp_path):
    line = text.format(BOX.format(1).replace(" ", separator))
    source = read_source(yolo(tmp_path, [line] * 3, names=["a", "b"]))
    assert [item.label for item in source.items] == [["b"]] * 3


def test_an_empty_file_has_nothing_and_a_missing_one_is_left_out(tmp_path):
    source = read_source(yolo(tmp_path, [BOX.format(0), "", None, BOX.format(1)], names={0: "a", 1: "b"}))
    assert [item.label for item in source.items] == [["a"], [], ["b"]]
    assert [finding.rule for finding in source.findings] == ["image without a label file"]


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("0 .5 .5 .2 x", "line 1 must hold numbers"),
        ("0 .5", "line 1 must be a class number and at least a box"),
        (BOX.format("1.5"), "line 1 must be a class number"),
        (BOX.format(7), "class 7 has no name; there are 2 names"),
    ],
)
def test_a_bad_line_is_named_and_hides_no_other(line, value, tmp_path):
    source = read_source(yolo(tmp_path, [BOX.format(0), line, BOX.format(1)], names=["a", "b"]))
    (found,) = [finding for finding in source.findings if finding.level == "error"]
    assert (found.where, value in found.value) == ("labels/c1.txt", True)
    assert [item.label for item in source.items] == [["a"], ["b"]]


def test_a_damaged_image_of_a_pose_is_named_by_the_audit(tmp_path, monkeypatch):
    monkeypatch.setenv("FOVEAL_HOME", str(tmp_path / "home"))
    root = yolo(tmp_path / "set", [KINDS["pose"][0].format(0)] * 4, shape=[2, 3])
    (root / "images" / "c1.jpg").write_bytes(b"")
    source = read_source(root)
    found = audit(source)
    assert [f.images[0].name for f in found.errors] == ["c1.jpg"]
    assert len(without_bad(source, found).items) == 3


@pytest.mark.parametrize("shape", ["[2]", "[2, 4]", "two"])
def test_a_shape_of_keypoints_that_is_no_shape_is_refused(shape, tmp_path):
    with pytest.raises(TableError, match="kpt_shape must be"):
        read_source(yolo(tmp_path, [BOX.format(0)], shape=shape))


# CVAT


def cvat(place, *shapes):
    images = "".join(f'<image id="{at}" name="p{at}.jpg">{shapes[at % len(shapes)]}</image>' for at in range(N))
    (place / "annotations.xml").write_text(f"<annotations><version>1.1</version>{images}</annotations>")
    return place / "annotations.xml"


def test_points_of_one_label_are_told_apart_by_their_order(place):
    one = '<points label="face" points="1.5,2;3,4"></points>'
    two = '<points label="face" points="5,6"></points><points label="face" points="7,8"></points>'
    source = read_source(cvat(place, one, two))
    assert source.point_names == ("face 1", "face 2")
    np.testing.assert_array_equal([item.label for item in source.items][:2], [[[1.5, 2], [3, 4]], [[5, 6], [7, 8]]])
    (found,) = {f.value for f in read_source(cvat(place, one, two, '<points label="face" points="1,1"/>')).findings}
    assert found == "face: 1 points, where other images have 2"


def test_of_several_skeletons_the_largest_is_meant(place):
    def skeleton(x, size):
        points = f'<points label="a" points="{x},{x}"/><points label="b" outside="1" points="9,9"/>'
        return f'<skeleton label="s">{points}<points label="c" points="{x + size},{x + size}"/></skeleton>'

    source = read_source(cvat(place, skeleton(1, 2) + skeleton(5, 9)))
    np.testing.assert_array_equal(source.items[0].label, [[5, 5], [np.nan, np.nan], [14, 14]])


def test_tags_of_cvat_go_before_shapes(place):
    source = read_source(cvat(place, '<tag label="day"/><box label="car"/>', '<tag label="night"/>', ""))
    assert [item.label for item in source.items] == [["day"], ["night"]] * 2
    assert source.n_left_out == 2
    assert source.notes == ("Images have tags and shapes: the tags are their labels.",)
    cvat(place, "")
    (place / "annotations.xml").write_text("<annotations><track id='0' label='x'/></annotations>")
    with pytest.raises(TableError, match="tracks of a video"):
        read_source(place / "annotations.xml")


# Folders


def test_links_are_followed_and_loops_are_not(tmp_path):
    for at, name in enumerate(("cat", "dog")):
        for number in range(3):
            picture(tmp_path / "store" / name / f"{number}.jpg", 10 * at + number)
    root = tmp_path / "set"
    (root / "dog").mkdir(parents=True)
    (root / "cat").symlink_to(tmp_path / "store" / "cat")
    (root / "dog" / "batch").symlink_to(tmp_path / "store" / "dog")
    (root / "dog" / "again").symlink_to(root)
    source = read_source(root)
    assert sorted(item.label for item in source.items) == ["cat"] * 3 + ["dog"] * 3
    assert len(get_image_files(root)) == 6
    assert "Links to a folder that holds them are left out: dog/again." in source.notes


def test_what_lies_beside_class_folders_is_named(tmp_path):
    for side in ("train", "valid", "extra"):
        for at, name in enumerate(("a", "b")):
            picture(tmp_path / side / name / "1.jpg", hash(side) % 1000 + at)
    picture(tmp_path / "train" / "loose.jpg", 7)
    (tmp_path / "train" / "c").mkdir()
    (tmp_path / "train" / "c" / "x.jp2").write_bytes(b"\0")
    found = {finding.rule: finding.value for finding in read_source(tmp_path).findings}
    assert found == {
        "class folder without an image": "1 .jp2",
        "image in no class folder": "1 left out: loose.jpg",
        "folder of no side": "2 left out: extra/",
        "file in a format that is not read": "1 left out: x.jp2",
    }


def test_a_few_copies_in_two_classes_are_mistakes(tmp_path):
    for at in range(60):
        picture(tmp_path / "ab"[at % 2] / f"{at}.jpg", at)
    picture(tmp_path / "b" / "0.jpg", 0)
    source = read_source(tmp_path)
    assert (source.task, len(source.items)) == ("single-label", 59)
    assert source.findings[0].rule == "one image in several class folders"
    assert read_source(tmp_path, task="multi-label").items[0].label == ["a", "b"]


def test_one_label_each_can_be_learned_as_one(tmp_path):
    lines = [BOX.format(at % 2) for at in range(N)]
    source = read_source(yolo(tmp_path, lines, names=["a", "b"]), task="single-label")
    assert (source.task, [item.label for item in source.items]) == ("single-label", ["a", "b"] * (N // 2))
    (tmp_path / "labels" / "c0.txt").write_text(BOX.format(0) + "\n" + BOX.format(1))
    source = read_source(tmp_path, task="single-label")
    assert source.n_left_out == 1


def test_the_size_of_an_image_of_points_is_that_of_the_upright_one(tmp_path):
    from PIL import Image

    root = yolo(tmp_path, [KINDS["pose"][0].format(0)] * 2, shape=[2, 3])
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(root / "images" / "c0.jpg").save(root / "images" / "c0.jpg", exif=exif)
    items = read_source(root).items
    height, width = open_image(items[0].image).size_hw
    assert (height, width) == (48, 40)
    np.testing.assert_allclose(items[0].label[0], [0.45 * width, 0.45 * height])


def test_nothing_labelled_is_one_clear_error(place):
    file = tasks(place, *[([], [])] * N)
    with pytest.raises(InputError, match=r"(?s)no image that can be used.*6 are named: 0 of them are labelled"):
        read_source(file).require_usable()


# Values of another kind than a format says


def test_a_value_of_another_kind_is_an_error_and_no_traceback(place):
    """One value of a good file becomes another: it is read, or refused by name."""
    images = [{"id": at, "file_name": f"p{at}.jpg"} for at in range(3)]
    keypoints = [
        {"id": at, "image_id": at, "category_id": 1, "keypoints": [1, 2, 2], "bbox": [0, 0, 5, 5]} for at in range(3)
    ]
    coco = {"images": images, "annotations": keypoints, "categories": [{"id": 1, "name": "x", "keypoints": ["a"]}]}
    studio = json.loads(tasks(place).read_text())
    via = {"a": {"filename": "p0.jpg", "regions": [{"region_attributes": {"kind": "a"}}], "file_attributes": {}}}
    for whole in (coco, studio, via):
        for changed in _with_other_values(whole):
            (place / "odd.json").write_text(json.dumps(changed))
            with contextlib.suppress(InputError):
                read_source(place / "odd.json")


def _with_other_values(whole):
    """Yield copies in which one value is replaced by one of another kind."""

    def places(value, path=()):
        yield path
        for key, inner in (
            value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        ):
            yield from places(inner, (*path, key))

    for path in places(whole):
        for other in (None, 5, "text", [], {}, [1], {"a": 1}, True):
            copy = json.loads(json.dumps(whole))
            if not path:
                yield other
                continue
            at = copy
            for key in path[:-1]:
                at = at[key]
            at[path[-1]] = other
            yield copy


def test_answers_that_are_not_learned_are_named(place):
    rating = {"type": "rating", "from_name": "stars", "value": {"rating": 4}}
    with pytest.raises(TableError, match=r"kinds that are not learned: rating \(6\)"):
        read_source(tasks(place, *[([answered(rating)], [])] * N))
    taxonomy = {"type": "taxonomy", "from_name": "kind", "value": {"taxonomy": [["animal", "cat"]]}}
    assert read_source(tasks(place, *[([answered(taxonomy)], [])] * N)).items[0].label == "cat"
    source = read_source(tasks(place, ([answered()], [])))
    assert (source.task, len(source.items)) == ("single-label", N - 1)
    assert "task that was submitted without an answer" in [finding.rule for finding in source.findings]


def test_annotators_of_points_who_disagree_are_named(place):
    def point(x):
        value = {"x": x, "y": x, "keypointlabels": ["nose"]}
        return {"type": "keypointlabels", "value": value, "original_width": 100, "original_height": 100}

    (found,) = {
        f.value for f in read_source(tasks(place, *[([answered(point(10)), answered(point(90))], [])] * N)).findings
    }
    assert found == "2 annotators, points up to 113.1 pixels apart"


def test_a_broken_file_of_labelme_is_named(place):
    for at in range(N):
        shapes = [{"label": "ab"[at % 2], "points": [[1, 1]], "shape_type": "polygon"}]
        (place / f"p{at}.json").write_text(json.dumps({"imagePath": f"p{at}.jpg", "shapes": shapes}))
    (place / "p1.json").write_text('{"imagePath": "p1.jp')
    (place / "p2.json").write_text(json.dumps({"imagePath": "p2.jpg", "shapes": [{"label": None, "points": []}]}))
    source = read_source(place)
    assert [f.where for f in source.findings if f.level == "error"] == ["p1.json", "p2.json"]
    assert len(source.items) == N - 2


def test_lists_of_yolo_are_its_sides(tmp_path):
    root = yolo(tmp_path, [BOX.format(at % 2) for at in range(N)])
    for side, numbers in (("train", (0, 1, 2)), ("val", (3, 4)), ("test", (5,))):
        (root / f"{side}.txt").write_text("".join(f"./images/c{at}.jpg\n" for at in numbers))
    (root / "data.yaml").write_text("train: train.txt\nval: val.txt\ntest: test.txt\nnames: [no, 1.10]\n")
    source = read_source(root)
    assert [item.is_valid for item in source.items] == [False] * 3 + [True] * 2
    assert [item.image.name for item in source.test] == ["c5.jpg"]
    assert source.items[1].label == ["1.10"]
    (root / "data.yaml").write_text("train: images\nval: images\nnames: {no: 0, yes: 1}\n")
    source = read_source(root)
    assert not source.has_split
    assert source.items[0].label == ["no"]


@pytest.mark.parametrize("names", [("Images", "Labels"), ("IMAGES", "labels")])
def test_folders_of_yolo_may_be_in_capitals(names, tmp_path):
    root = yolo(tmp_path, [BOX.format(at % 2) for at in range(N)])
    (root / "images").rename(root / names[0])
    (root / "labels").rename(root / "moved")
    (root / "moved").rename(root / names[1])
    assert len(read_source(root).items) == N


@pytest.mark.parametrize("names", [("Train", "Val", "Test"), ("train", "validation", "testing")])
def test_lists_of_voc_go_by_any_word_for_a_side(names, place):
    root = voc(place, "c3", XML.format("a").encode())
    (root / "ImageSets" / "Main").mkdir(parents=True)
    for name, numbers in zip(names, ((0, 1, 2), (3, 4), (5,)), strict=True):
        text = "".join(f"JPEGImages/c{at}.jpg\n" for at in numbers)
        (root / "ImageSets" / "Main" / f"{name}.txt").write_text(text)
    source = read_source(root)
    assert [item.is_valid for item in source.items] == [False] * 3 + [True] * 2
    assert len(source.test) == 1


def test_folders_that_are_no_classes(tmp_path):
    def draw(*names):
        for at, name in enumerate(names):
            picture(tmp_path / name / f"{at}.jpg", at)

    draw("seg_train/seg_train/a", "seg_train/seg_train/b", "seg_test/seg_test/a", "seg_test/seg_test/b")
    source = read_source(tmp_path)
    assert ([item.label for item in source.items], len(source.test)) == (["a", "b"], 2)
    shutil.rmtree(tmp_path / "seg_test")
    shutil.rmtree(tmp_path / "seg_train")
    draw("one/a", "one/b", "two/a", "two/b")
    assert sorted(item.label for item in read_source(tmp_path).items) == ["a", "a", "b", "b"]
    shutil.rmtree(tmp_path / "one")
    draw("a", "b")
    with pytest.raises(InputError, match="two/ is no class: it holds folders with the names of those beside it"):
        read_source(tmp_path)
    for name in "ab":
        shutil.rmtree(tmp_path / name)
    shutil.rmtree(tmp_path / "two")
    draw("train", "car", "bus")
    assert {item.label for item in read_source(tmp_path).items} == {"train", "car", "bus"}
    for name in ("train", "car", "bus"):
        shutil.rmtree(tmp_path / name)
    draw("x/train", "x/valid", "y/train", "y/valid")
    with pytest.raises(InputError, match="holds several data sets, each with its sides: x/, y/"):
        read_source(tmp_path)


def test_a_damaged_workbook_is_refused_in_words(tmp_path):
    pd.DataFrame({"fname": ["a.jpg"], "labels": ["x"]}).to_excel(tmp_path / "t.xlsx", index=False)
    whole = (tmp_path / "t.xlsx").read_bytes()
    rng = np.random.default_rng(0)
    for cut in rng.integers(0, len(whole), 40):
        changed = bytearray(whole)
        changed[cut] ^= 0xFF
        for content in (whole[:cut], bytes(changed)):
            (tmp_path / "t.xlsx").write_bytes(content)
            with contextlib.suppress(TableError):
                read_source(tmp_path / "t.xlsx")
