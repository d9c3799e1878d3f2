"""Every line of the intake of tables: what is found, where, on which level, and that good rows stay."""

import json
import os
import shutil

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from foveal.audit.checks import audit
from foveal.core.errors import TableError
from foveal.sources.formats import TableColumns
from foveal.sources.recognise import read_source
from foveal.sources.table import read_table


@pytest.fixture
def place(scenes, tmp_path, monkeypatch):
    """A folder with twelve images, and a function that writes a table beside them and reads it."""
    monkeypatch.setenv("FOVEAL_HOME", str(tmp_path / "home"))
    for at, file in enumerate(sorted((scenes / "scenes").glob("*.jpg"))[:12]):
        shutil.copy(file, tmp_path / f"{at}.jpg")
    return tmp_path


def rows(**changes):
    """Twelve good rows with some cells changed: column=[(row, value), ...]."""
    table = {"fname": [f"{i}.jpg" for i in range(12)], "labels": ["a b", "b"] * 6, "is_valid": [0, 0, 0, 1] * 3}
    for column, cells in changes.items():
        table.setdefault(column, [""] * 12)
        for row, value in cells:
            table[column][row] = value
    return table


def found_in(place, table, *, encoding="utf-8", end="\n", **columns):
    text = pd.DataFrame(table).to_csv(index=False, lineterminator=end)
    (place / "t.csv").write_bytes(text.encode(encoding))
    comparable = audit(read_table(place / "t.csv", columns=TableColumns(**columns)))
    return {finding.rule: finding for finding in comparable.findings}, comparable


CASES = {
    "missing file, near match": (rows(fname=[(4, "44.jpg")]), {}, "no such image file", "error", "44.jpg", "t.csv, row 6"),
    "empty file name": (rows(fname=[(4, "")]), {}, "no file name in column `fname`", "error", "(empty)", "row 6"),
    "empty label": (rows(labels=[(0, "")]), {"empty": "error"}, "no label", "error", "(empty)", "t.csv, row 2"),
    "white label": (rows(labels=[(0, "  ")]), {"empty": "error"}, "no label", "error", "(empty)", "row 2"),
    "labels left out": (rows(labels=[(0, " "), (3, "")]), {}, "no label", "warning", "2 left out: t.csv, row 2, t.csv", ""),
    "odd is_valid": (
        rows(is_valid=[(2, 7)]), {}, "`is_valid` must be true or false, or 1 or 0, or name a side such as train", "error", "7", "row 4",
    ),
    "duplicate rows": (rows(fname=[(1, "3.jpg")], labels=[(3, "b")]), {}, "one file in several rows", "warning", "3.jpg", "row 5"),
    "conflicting labels": (
        rows(fname=[(2, "3.jpg")]), {}, "one file with different labels", "error", "also t.csv, row 4", "row 5",
    ),
    "seen in validation only": (rows(labels=[(3, "c")]), {}, "class seen in validation only", "warning", "1 image", "c"),
    "few images": (rows(labels=[(0, "rare a")]), {}, "class with fewer than 5 images", "warning", "1", "rare"),
    "case": (
        rows(labels=[(0, "A b")]), {}, "labels that differ in case or white space only", "warning", "", "'A' / 'a'",
    ),
    "everything on one side": (
        rows(is_valid=[(i, 0) for i in range(12)]), {}, "everything on one side of the split", "error", "0 of 12", "",
    ),
    "a group on both sides": (
        rows(who=[(i, "p" if i in {0, 3} else f"q{i}") for i in range(12)]),
        {"group": "who"}, "group on both sides of the split", "error", "p", "t.csv, row 2 and t.csv, row 5",
    ),
    "half a point": (
        rows(x=[(i, 5) for i in range(12)], y=[(i, 5) for i in range(1, 12)]),
        {"points": ("x", "y")}, "a point with only one of its coordinates", "error", "nan", "row 2",
    ),
    "an infinite point": (
        rows(x=[(i, 5) for i in range(12)], y=[(i, "inf" if i == 3 else 5) for i in range(12)]),
        {"points": ("x", "y")}, "a number in column `y` that is not finite", "error", "inf", "row 5",
    ),
    "a missing point": (
        rows(x=[(i, 5) for i in range(1, 12)], y=[(i, 5) for i in range(1, 12)]),
        {"points": ("x", "y")}, "no point given", "note", "0.jpg", "row 2",
    ),
    "a negative point": (
        rows(x=[(i, 5) for i in range(12)], y=[(i, -3 if i == 3 else 5) for i in range(12)]),
        {"points": ("x", "y")}, "point outside the image", "warning", "-3", "row 5",
    ),
    "words for numbers": (
        rows(x=[(i, "five") for i in range(12)], y=[(i, 5) for i in range(12)]),
        {"points": ("x", "y")}, "column `x` must hold numbers", "error", "'five'", "row 13",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_finding_names_rule_row_and_value(case, place):
    table, columns, rule, level, value, where = CASES[case]
    rules, comparable = found_in(place, table, **columns)
    assert rule in rules, list(rules)
    assert rules[rule].level == level
    assert value in rules[rule].value
    assert where in rules[rule].where
    assert [f.level for f in comparable.findings] == sorted(
        (f.level for f in comparable.findings), key=["error", "warning", "note"].index
    )


def test_a_good_table_has_no_finding(place):
    _, comparable = found_in(place, rows(labels=[(i, "a b" if i % 4 else "a") for i in range(12)]))
    assert not [f for f in comparable.findings if f.level != "note"]
    comparable.require_usable()


def test_double_spaces_and_stray_delimiters_make_no_class(place):
    _, comparable = found_in(place, rows(labels=[(0, "  a   b "), (1, "b  b")]))
    assert set(comparable.figures["classes"]) == {"a", "b"}
    assert comparable.figures["classes"]["b"] == 12


def test_an_empty_cell_may_mean_nothing_in_the_image(place):
    _, comparable = found_in(place, rows(labels=[(0, "")]), empty="none")
    assert not comparable.errors
    assert comparable.figures["nothing in the image"] == 1


@pytest.mark.parametrize(
    ("encoding", "end", "rule", "level"),
    [
        ("utf-8-sig", "\n", "byte order mark at the start of the table", "note"),
        ("utf-8", "\r\n", "lines end as on Windows", "note"),
        ("latin-1", "\n", "table is not UTF-8", "warning"),
        ("utf-16", "\n", "table in UTF-16", "note"),
    ],
)
def test_how_a_table_is_written_is_noted_and_read_all_the_same(encoding, end, rule, level, place):
    table = rows(labels=[(i, "ä b" if i < 8 else "b") for i in range(12)])
    rules, comparable = found_in(place, table, encoding=encoding, end=end)
    assert rules[rule].level == level
    assert comparable.figures["classes"] == {"b": 12, "ä": 8}
    if level == "warning":
        assert rules[rule].where == "t.csv, line 2"


def test_paths_that_work_here_only_are_warned_of(place):
    (place / "sub").mkdir()
    shutil.copy(place / "1.jpg", place / "sub" / "x.jpg")
    rules, _ = found_in(place, rows(fname=[(0, str(place / "0.jpg")), (1, "sub/../1.jpg")]))
    assert rules["absolute path"].level == rules["path that leaves the folder of the images"].level == "warning"


def test_two_paths_to_one_file_are_named(place):
    (place / "same.jpg").symlink_to(place / "0.jpg")
    rules, _ = found_in(place, rows(fname=[(1, "same.jpg")]))
    assert rules["two paths to one file"].level == "warning"
    assert "same.jpg" in rules["two paths to one file"].value


def test_good_rows_stay_and_bad_ones_are_left_out(place):
    (place / "t.csv").write_text(pd.DataFrame(rows(fname=[(4, "44.jpg")], is_valid=[(2, 7)])).to_csv(index=False))
    source = read_table(place / "t.csv")
    assert len(source.items) == 10
    assert [finding.where for finding in source.findings] == ["t.csv, row 6", "t.csv, row 4"]
    with pytest.raises(TableError, match=r"(?s)no such image file \(1\).*44.jpg.*Did you mean.*is_valid"):
        source.require_usable()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "cannot be read as a table"),
        (b"a,b\n1,2,3,4\n", "row 2 has 4 cells, where the header has 2"),
        (b"fname\n", "no rows"),
    ],
)
def test_what_is_no_table_is_said_to_be_none(data, message, tmp_path):
    (tmp_path / "t.csv").write_bytes(data)
    with pytest.raises(TableError, match=message):
        read_table(tmp_path / "t.csv")


def test_missing_images_of_any_format_are_findings(tmp_path, scenes):
    shutil.copy(next((scenes / "scenes").glob("*.jpg")), tmp_path / "a.jpg")
    images = [{"id": 1, "file_name": "a.jpg"}, {"id": 2, "file_name": "gone.jpg"}]
    annotations = [{"image_id": 1, "category_id": 1}, {"image_id": 2, "category_id": 1}]
    coco = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "x"}]}
    (tmp_path / "coco.json").write_text(json.dumps(coco))
    result = [{"value": {"choices": ["x"]}, "type": "choices"}]
    tasks = [{"data": {"image": name}, "annotations": [{"result": result}]} for name in ("a.jpg", "gone.jpg")]
    (tmp_path / "tasks.json").write_text(json.dumps(tasks))
    for name in ("coco.json", "tasks.json"):
        source = read_source(tmp_path / name)
        assert [item.image.name for item in source.items] == ["a.jpg"]
        with pytest.raises(TableError, match=r"gone\.jpg"):
            source.require_usable()


# Files that change


def test_a_byte_that_changed_since_the_first_check_is_noticed(place):
    _, before = found_in(place, rows())
    assert not before.errors
    times = (place / "5.jpg").stat()
    data = bytearray((place / "5.jpg").read_bytes())
    data[-40] ^= 4
    (place / "5.jpg").write_bytes(data)
    os.utime(place / "5.jpg", ns=(times.st_atime_ns, times.st_mtime_ns))
    rule = "bytes changed behind the file system's back"
    for _ in range(2):  # it stays noticed until it is put right
        rules, _ = found_in(place, rows())
        assert rules[rule].level == "error"
        assert rules[rule].where.endswith("5.jpg")
    os.utime(place / "5.jpg")
    rules, _ = found_in(place, rows())
    assert rules["file changed since it was last checked"].level == "note"
    rules, _ = found_in(place, rows())
    assert rule not in rules
    assert "file changed since it was last checked" not in rules


def test_a_second_audit_decodes_nothing(place, monkeypatch):
    _, first = found_in(place, rows())
    monkeypatch.setattr("foveal.audit.inspection.open_image", lambda _: pytest.fail("an image was opened again"))
    _, second = found_in(place, rows())
    assert first == second


def test_points_outside_are_found_in_a_table_of_several(place):
    table = rows()
    for name, value in (("x1", 10), ("y1", 20), ("x2", 4000), ("y2", 5)):
        table[name] = [value] * 12
    rules, _ = found_in(place, table, points=("x1", "y1", "x2", "y2"))
    assert rules["point outside the image"].level == "warning"
    with pytest.raises(Exception, match="pairs of columns"):
        found_in(place, table, points=("x1", "y1", "x2"))
    assert np.asarray(read_table(place / "t.csv", columns=TableColumns(points=("x1", "y1"))).items[0].label).shape == (
        1,
        2,
    )


@pytest.mark.parametrize("kind", ["GIF", "WEBP"])
def test_an_animation_is_noted(kind, place):
    frames = [Image.new("RGB", (60, 50), (40 * i, 90, 120)) for i in range(3)]
    frames[0].save(place / "moving", kind, save_all=True, append_images=frames[1:])
    rules, _ = found_in(place, rows(fname=[(1, "moving")]))
    finding = rules["several frames, of which the first is used"]
    assert (finding.level, finding.where) == ("note", "t.csv, row 3")
