"""Tables as people have them: in any encoding and with any separator text stays text, and every row counts once."""

import contextlib
import gzip
import json
import time
import unicodedata

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exports import picture
from foveal.core.errors import InputError, TableError
from foveal.data.image_loaders import ImageDataLoaders
from foveal.data.splits.splitters import ColSplitter
from foveal.data.splits.stratify import GroupSplitter
from foveal.geometry.resize import Resize
from foveal.sources.delimited import read_delimited, typed
from foveal.sources.formats import TableColumns
from foveal.sources.recognise import read_source
from foveal.sources.sides import side_in, side_of, side_of_cell
from foveal.sources.table import read_frame, read_table

N = 8


@pytest.fixture
def place(tmp_path):
    for at in range(N):
        picture(tmp_path / f"p{at}.jpg", at)
    return tmp_path


def csv(place, rows, header="fname,label", name="t.csv", encoding="utf-8"):
    file = place / name
    file.write_bytes(("\n".join([header, *rows]) + "\n").encode(encoding))
    return file


def labels(source):
    return [item.label for item in source.items]


WORDS = {
    "cp1252": ("grün", "café", "señor", "Straße"),
    "cp932": ("ねこ", "いぬ", "キツネ", "日本"),
    "gb2312": ("猫的图像", "狗的图像", "狐狸", "中国"),
    "euc_kr": ("고양이", "강아지", "여우", "한국"),
    "utf-16-le": ("cat", "grün", "dog", "fox"),
    "utf-16-be": ("cat", "grün", "dog", "fox"),
    "utf-16": ("猫", "grün", "dog", "fox"),
    "utf-8-sig": ("猫", "grün", "dog", "fox"),
}


@pytest.mark.parametrize("encoding", WORDS)
@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_words_come_out_in_whatever_encoding_and_with_whatever_separator(encoding, separator, place):
    words = [WORDS[encoding][at % 4] for at in range(N)]
    rows = [f"p{at}.jpg{separator}{word}" for at, word in enumerate(words)]
    file = csv(place, rows, f"fname{separator}label", encoding=encoding)
    assert labels(read_source(file)) == words
    assert labels(read_source(file, encoding=encoding)) == words
    with pytest.raises(TableError, match="not in the encoding ascii"):
        read_source(file, encoding="ascii")


TEXTS = ("007", "7", "1.10", "1.1", "1e5", "2E3", "NA", "00012")


def as_file(frame, place, kind):
    file = place / f"t.{kind}"
    if kind == "csv.gz":
        file.write_bytes(gzip.compress(frame.to_csv(index=False).encode()))
    elif kind == "parquet":
        frame.to_parquet(file)
    elif kind == "jsonl":
        frame.to_json(file, orient="records", lines=True)
    elif kind == "xlsx":
        frame.to_excel(file, index=False)
    else:
        frame.to_csv(file, index=False, sep="\t" if kind == "tsv" else ",")
    return file


@pytest.mark.parametrize("kind", ["csv", "tsv", "csv.gz", "parquet", "jsonl", "xlsx"])
def test_text_that_looks_like_a_number_stays_text(kind, place):
    frame = pd.DataFrame({"fname": [f"p{at}.jpg" for at in range(N)], "label": TEXTS, "group": TEXTS})
    source = read_source(as_file(frame, place, kind), columns=TableColumns(group="group"))
    assert labels(source) == list(TEXTS)
    assert [item.group for item in source.items] == list(TEXTS)


@pytest.mark.parametrize("kind", ["parquet", "jsonl", "xlsx", "frame"])
def test_whole_numbers_beside_a_blank_stay_whole(kind, place):
    frame = pd.DataFrame({"fname": [f"p{at}.jpg" for at in range(N)], "label": [1, 2, None, 1, 2, 1, 2, 1]})
    source = read_frame(frame, images=place) if kind == "frame" else read_source(as_file(frame, place, kind))
    assert labels(source) == ["1", "2", "1", "2", "1", "2", "1"]
    assert source.n_left_out == 1


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["['a', 'b']", "['b']"], [["a", "b"], ["b"]]),
        (['["a", "b"]', "[]"], [["a", "b"], []]),
        (["['a' 'b']", "['b']"], [["a", "b"], ["b"]]),
        ([["a", "b"], ["b"]], [["a", "b"], ["b"]]),
        (["a|b", "b"], [["a", "b"], ["b"]]),
        (["a, b", "b"], [["a", "b"], ["b"]]),
        (["red fox;wolf", "wolf"], [["red fox", "wolf"], ["wolf"]]),
        (["a b", "b"], [["a", "b"], ["b"]]),
    ],
)
@pytest.mark.parametrize("column", ["labels", "tags"])
def test_several_labels_in_a_cell_are_found(cells, expected, column, place):
    frame = pd.DataFrame({"fname": [f"p{at}.jpg" for at in range(N)], column: cells * (N // 2)})
    assert labels(read_frame(frame, images=place)) == expected * (N // 2)


@pytest.mark.parametrize(
    "cells",
    [
        ["red apple", "green apple", "red pear", "green pear", "yellow pear", "yellow apple"],
        ["Tench, Tinca tinca", "goldfish, Carassius auratus"],
        ["golden retriever", "german shepherd"],
        ["C#", "C++"],
    ],
)
def test_one_label_with_spaces_or_commas_is_not_split(cells, place):
    words = [cells[at % len(cells)] for at in range(N)]
    frame = pd.DataFrame({"fname": [f"p{at}.jpg" for at in range(N)], "label": words})
    source = read_frame(frame, images=place)
    assert (source.task, labels(source)) == ("single-label", words)


@given(st.data())
def test_a_stray_quote_never_swallows_a_row_unseen(tmp_path_factory, data):
    n = data.draw(st.integers(3, 12))
    cells = [[f"p{row}.jpg", data.draw(st.sampled_from(["a", "b", "a b", ""])), "x"] for row in range(n)]
    for _ in range(data.draw(st.integers(1, 2))):
        row, column = data.draw(st.integers(0, n - 1)), data.draw(st.integers(1, 2))
        where = data.draw(st.sampled_from(["before", "after"]))
        cells[row][column] = f'"{cells[row][column]}' if where == "before" else f'{cells[row][column]}"'
    file = tmp_path_factory.mktemp("q") / "t.csv"
    file.write_text("\n".join(["fname,label,note", *(",".join(row) for row in cells)]) + "\n")
    with contextlib.suppress(TableError):
        frame, findings = read_delimited(file)
        assert len(frame) + sum(finding.level == "error" for finding in findings) == n
        return
    with pytest.raises(TableError, match=r"row \d+"):
        read_delimited(file)


def test_cells_of_several_lines_are_no_stray_quotes(place):
    rows = [f'p{at}.jpg,{"ab"[at % 2]},"first line\nsecond line, with a comma"' for at in range(N)]
    frame, _ = read_delimited(csv(place, rows, "fname,label,remark"))
    assert len(frame) == N
    assert "second line" in frame["remark"][0]


def test_rows_are_counted_as_an_editor_counts_lines(place):
    rows = ["p0.jpg,a", "", "p1.jpg,b", "  ", "gone.jpg,a", 'p2.jpg,"b"']
    source = read_source(csv(place, rows))
    assert [item.origin for item in source.items] == ["t.csv, row 2", "t.csv, row 4", "t.csv, row 7"]
    assert [finding.where for finding in source.findings if finding.level == "error"] == ["t.csv, row 6"]


def test_headers_with_spaces_and_capitals_and_a_comma_at_every_end(place):
    source = read_source(csv(place, [f"p{at}.jpg, {'ab'[at % 2]}," for at in range(N)], " Filename , LABEL ,"))
    assert labels(source) == list("abab" * 2)
    source = read_source(csv(place, [f"p{at}.jpg, 1, 0" for at in range(N)], "filename, helmet, no-helmet"))
    assert labels(source) == [["helmet"]] * N
    named = TableColumns(labels=("helmet", "no-helmet"))
    assert labels(read_source(place / "t.csv", columns=named)) == [["helmet"]] * N


def test_a_table_without_a_header_loses_no_row(place):
    source = read_source(csv(place, [f"p{at}.jpg,{at % 2 + 1}" for at in range(1, N)], "p0.jpg,1"))
    assert labels(source) == ["1", "2"] * (N // 2)
    assert [item.origin for item in source.items][:2] == ["t.csv, row 1", "t.csv, row 2"]


def test_a_row_with_too_many_cells_is_an_error_at_its_row(place):
    source = read_source(csv(place, ["p0.jpg,a", "p1.jpg,a,b", "p2.jpg,b"]))
    (found,) = [f for f in source.findings if f.level == "error"]
    assert (found.rule, found.where) == ("row with too many cells", "t.csv, row 3")
    assert len(source.items) == 2


def test_decimal_commas_are_numbers_where_cells_are_not_separated_by_them(place):
    rows = [f"p{at}.jpg;{10 + at},5;{20 + at},25" for at in range(N)]
    source = read_source(csv(place, rows, "fname;x;y"), columns=TableColumns(points=("x", "y")))
    np.testing.assert_allclose(source.items[3].label, [[13.5, 23.25]])


# Columns


@pytest.mark.parametrize(
    ("given", "names"),
    [
        (("x1", "y1", "x2", "y2"), ("x1", "y1", "x2", "y2")),
        (("x*", "y*"), ("x1", "y1", "x2", "y2")),
        (("x1..y2",), ("x1", "y1", "x2", "y2")),
        ((), ("x1", "y1", "x2", "y2")),
        ((), ("nose_x", "nose_y", "left eye_x", "left eye_y")),
        ((), ("0", "1", "2", "3")),
    ],
)
def test_columns_of_points_need_not_all_be_typed(given, names, place):
    rows = [f"p{at}.jpg,1.5,2.5,3.5,{4.5 + at}" for at in range(N)]
    file = csv(place, rows, ",".join(["fname", *names]))
    source = read_source(file, columns=TableColumns(points=given) if given else None)
    assert source.task == "points"
    np.testing.assert_allclose(source.items[2].label, [[1.5, 2.5], [3.5, 6.5]])
    assert source.point_names == (("nose", "left eye") if "nose_x" in names else ())


def test_boxes_are_no_points(place):
    file = csv(place, [f"p{at}.jpg,{'ab'[at % 2]},1,1,9,9" for at in range(N)], "image,name,x,y,w,h")
    assert read_source(file).task == "single-label"


def test_rows_that_are_objects_are_joined(place):
    rows = [f"p{at}.jpg,48,40,{kind},1,1,9,9" for at in range(N) for kind in ("cat", "dog")[: at % 2 + 1]]
    source = read_source(csv(place, rows, "filename,width,height,class,xmin,ymin,xmax,ymax"))
    assert labels(source) == [["cat"], ["cat", "dog"]] * (N // 2)


@pytest.mark.parametrize("header", ["split", "set", "Subset", "is_valid"])
def test_a_column_of_sides_is_the_split(header, place):
    sides = ["train", "Training", "val", "VALIDATION", "test", "Test", "train", "valid"]
    rows = [f"p{at}.jpg,{'ab'[at % 2]},{side}" for at, side in enumerate(sides)]
    source = read_source(csv(place, rows, f"fname,label,{header}"))
    assert [item.is_valid for item in source.items] == [False, False, True, True, False, True]
    assert [item.image.name for item in source.test] == ["p4.jpg", "p5.jpg"]


def test_a_split_for_some_rows_is_an_error(place):
    rows = [f"p{at}.jpg,{'ab'[at % 2]},{'train' if at < 5 else ''}" for at in range(N)]
    with pytest.raises(TableError, match="row 7: \\(empty\\)"):
        read_source(csv(place, rows, "fname,label,split")).require_usable()
    rows = [f"p{at}.jpg,{'ab'[at % 2]},{'xyz'[at % 3]}" for at in range(N)]
    source = read_source(csv(place, rows, "fname,label,set"))
    assert not source.has_split
    assert "column `set` names no sides of a split" in [f.rule for f in source.findings]


def test_blank_groups_are_single():
    groups = [None, "", float("nan"), " ", "a", "a", "a", "a"] * 4
    frame = pd.DataFrame({"who": groups})
    sides = [GroupSplitter("who", 0.25, seed)(frame) for seed in range(20)]
    assert all(len({at % 8 >= 4 for at in valid}) for _, valid in sides)
    blanks = [{at for at in valid if at % 8 < 4} for _, valid in sides]
    assert any(0 < len(some) < 16 for some in blanks)


def test_truth_is_read_alike_in_a_notebook_and_on_the_command_line(place):
    for cells in ([True, False], ["True", "False"], ["1", "0"], [1.0, 0.0], ["yes", "no"], ["valid", "train"]):
        frame = pd.DataFrame({"f": range(N), "v": cells * (N // 2)})
        assert ColSplitter("v")(frame) == ([1, 3, 5, 7], [0, 2, 4, 6])
    for cells in ([True, None], ["yes", ""], [1.0, float("nan")], ["maybe", "no"]):
        with pytest.raises(TableError, match="Column `v` must be true or false"):
            ColSplitter("v")(pd.DataFrame({"f": range(N), "v": cells * (N // 2)}))
    with pytest.warns(UserWarning, match="4 items are of the test side"):
        assert ColSplitter("v")(pd.DataFrame({"v": ["train", "test", "val", "test"] * 2}))[1] == [2, 6]


def test_from_csv_keeps_zeros(tmp_path):
    for at in range(N):
        picture(tmp_path / "z" / f"{at:05}.jpg", at)
    rows = [f"{at:05},{('007', '7')[at % 2]}" for at in range(N)]
    csv(tmp_path, rows, "image_name,tags", name="z.csv")
    dls = ImageDataLoaders.from_csv(tmp_path, "z.csv", folder="z", suff=".jpg", item_tfms=Resize(16), bs=2, seed=1)
    assert tuple(dls.vocab) == ("007", "7")
    assert dls.one_batch()[0].shape == (2, 3, 16, 16)


def test_columns_of_plain_numbers_are_numbers_for_who_needs_them(tmp_path):
    file = csv(tmp_path, ["1,0.5,007,1", "2,1.5,7,", "3,2.25,8,2"], "id,score,code,count")
    frame = typed(read_delimited(file)[0])
    assert frame["id"].tolist() == [1, 2, 3]
    assert frame["score"].tolist() == [0.5, 1.5, 2.25]
    assert frame["code"].tolist() == ["007", "7", "8"]
    assert frame["count"].tolist() == [1, None, 2]


# Names of images


NAMES = {
    "backslashes": lambda at: f"sub\\p{at}.jpg",
    "a dot before": lambda at: f"./sub/p{at}.jpg",
    "an invisible space": lambda at: f"\u200bsub/p{at}.jpg\ufeff",
    "spaces around": lambda at: f" sub/p{at}.jpg ",
    "no ending": lambda at: f"sub/p{at}",
    "another root": lambda at: f"/home/me/set/sub/p{at}.jpg",
    "a drive": lambda at: f"C:\\Users\\me\\sub\\p{at}.jpg",
    "a name alone": lambda at: f"p{at}.jpg",
    "capitals": lambda at: f"SUB/P{at}.JPG",
}


@pytest.mark.parametrize("case", NAMES)
def test_an_image_is_found_by_whatever_form_of_its_name(case, tmp_path):
    for at in range(N):
        picture(tmp_path / "sub" / f"p{at}.jpg", at)
    file = csv(tmp_path, [f"{NAMES[case](at)},{'ab'[at % 2]}" for at in range(N)])
    source = read_source(file)
    assert [item.image for item in source.items] == [tmp_path / "sub" / f"p{at}.jpg" for at in range(N)]


@pytest.mark.parametrize("forms", [("NFC", "NFD"), ("NFD", "NFC")])
def test_accents_may_be_written_in_either_form(forms, tmp_path):
    on_disk, in_table = (unicodedata.normalize(form, "Zoë-é.jpg") for form in forms)
    picture(tmp_path / on_disk, 1)
    (item,) = read_table(csv(tmp_path, [f"{in_table},a"])).items
    assert item.image.name == on_disk


def test_a_name_that_can_mean_two_files_means_none(tmp_path):
    for at, folder in enumerate(("cat", "dog")):
        picture(tmp_path / folder / "1.jpg", at)
    source = read_source(csv(tmp_path, ["1.jpg,a"]))
    assert not source.items
    assert "More than one file can be meant: cat/1.jpg and dog/1.jpg" in source.findings[0].hint
    (tmp_path / "dog" / "1.jpg").unlink()
    source = read_source(csv(tmp_path, ["sub/1.jpg,a", "other/1.jpg,b"]))
    assert not source.items
    assert "could be meant, but just as well by `other/1.jpg`" in source.findings[0].hint


def test_where_most_are_as_written_the_others_are_missing(place):
    """A file of the same name elsewhere, such as a mask, is another image."""
    picture(place / "masks" / "p9.jpg", 9)
    source = read_source(csv(place, [*(f"p{at}.jpg,{'ab'[at % 2]}" for at in range(N)), "p9.jpg,a"]))
    assert len(source.items) == N
    assert [finding.rule for finding in source.findings] == ["no such image file"]


@pytest.mark.parametrize("name", ["data:image/png;base64," + "A" * 5000, "x" * 5000 + ".jpg", "a\0b.jpg", "..", "sub/"])
def test_names_that_no_file_has_are_findings(name, place):
    frame = pd.DataFrame({"fname": [name, "p0.jpg", "p1.jpg", "p2.jpg"], "label": list("abab")})
    source = read_frame(frame, images=place)
    assert len(source.items) == 3
    (found,) = [finding for finding in source.findings if finding.level == "error"]
    assert found.where == "table, row 2"
    assert len(found.value) < 300


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("t.xlsx", b"no workbook", "t.xlsx"),
        ("t.jsonl", b'{"a": 1}\n[1]\n', "line 2: expected an object"),
        ("t.csv.gz", b"\x1f\x8bnothing", "cannot be unpacked"),
        ("t.csv", b"PK\x03\x04" + bytes(40), "a ZIP archive or a workbook"),
        ("t.csv", b"id,when\n1,2020\n2,2021\n", "none that names images"),
        ("t.feather", b"x", "is no source: expected a table"),
    ],
)
def test_a_table_that_cannot_be_read_says_what_it_is(name, data, message, tmp_path):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(InputError, match=message) as refused:
        read_source(tmp_path / name)
    assert f"Did you mean `{name}`" not in str(refused.value)


# Cells and columns of other kinds


@pytest.mark.parametrize(
    "cells",
    [[{"a": 1}, {"b": 2}], [b"a", b"b"], [["a"], {"b": 1}], [[["a", "b"]], ["b"]], ["['a'", "['b']"]],
)  # fmt: skip
def test_cells_that_hold_no_names_are_refused(cells, place):
    frame = pd.DataFrame({"fname": [f"p{at}.jpg" for at in range(N)], "labels": cells * (N // 2)})
    with pytest.raises(TableError, match=r"(?i)cells? (must )?holds? "):
        read_frame(frame, images=place)


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["a", '{"choices": ["a", "b"]}'], [["a"], ["a", "b"]]),
        (['[{"x": 1, "rectanglelabels": ["a"]}]', '[{"x": 1, "rectanglelabels": ["b"]}]'], [["a"], ["b"]]),
        (["['a', 'b']", "b"], [["a", "b"], ["b"]]),
        ([["a", None], ["b"]], [["a"], ["b"]]),
    ],
)
def test_lists_and_names_may_be_mixed(cells, expected, place):
    frame = pd.DataFrame({"fname": [f"p{at}.jpg" for at in range(N)], "labels": cells * (N // 2)})
    assert labels(read_frame(frame, images=place)) == expected * (N // 2)


@pytest.mark.parametrize("kind", ["Int64", "string", "boolean"])
def test_blanks_of_pandas_are_blanks(kind, place):
    values = {"Int64": [1, 2, None], "string": ["a", "b", None], "boolean": [True, False, None]}[kind]
    cells = pd.Series((values * N)[:N], dtype=kind)
    frame = pd.DataFrame({"fname": [f"p{at}.jpg" for at in range(N)], "label": cells, "who": cells})
    frame.to_parquet(place / "t.parquet")
    for source in (
        read_frame(frame, images=place, columns=TableColumns(group="who")),
        read_source(place / "t.parquet", columns=TableColumns(group="who")),
    ):
        assert source.n_left_out == 2
        assert None not in labels(source)
        assert "<NA>" not in {str(item.group) for item in source.items}


def test_points_that_are_not_known_in_any_word_are_missing(place):
    for word in ("NaN", "NA", "nan", "null", ""):
        rows = [f"p{at}.jpg,{word if at == 2 else 5},{word if at == 2 else 6}" for at in range(N)]
        source = read_source(csv(place, rows, "fname,x,y"))
        assert np.isnan(source.items[2].label).all()
        assert source.task == "points"


@pytest.mark.parametrize(
    ("header", "cells", "expected"),
    [
        ("Usage", ["Training", "Training", "PublicTest", "PrivateTest"], (4, 0, 4)),
        ("type", ["train", "val", "train", "test"], (4, 2, 2)),
        ("is_test", ["0", "1", "0", "0"], (6, 0, 2)),
        ("is_train", ["1", "1", "0", "1"], (6, 2, 0)),
    ],
)
def test_a_column_of_sides_goes_by_what_it_holds(header, cells, expected, place):
    rows = [f"p{at}.jpg,{'ab'[at % 2]},{cells[at % 4]}" for at in range(N)]
    source = read_source(csv(place, rows, f"fname,label,{header}"))
    n_valid = sum(item.is_valid is True for item in source.items)
    assert (len(source.items) - n_valid, n_valid, len(source.test)) == expected
    assert any(header in finding.value for finding in source.findings)


def test_a_test_side_is_left_out_beside_a_mark_of_validation(place):
    rows = [f"p{at}.jpg,{'ab'[at % 2]},{int(at == 1)},{'test' if at > 5 else 'train'}" for at in range(N)]
    source = read_source(csv(place, rows, "fname,label,is_valid,split"))
    assert (len(source.test), sum(bool(item.is_valid) for item in source.items)) == (2, 1)


def test_sheets_are_sides_or_named(place):
    frame = pd.DataFrame({"fname": [f"p{at}.jpg" for at in range(N)], "label": list("abab") * 2})
    with pd.ExcelWriter(place / "t.xlsx") as book:
        frame[:6].to_excel(book, sheet_name="train", index=False)
        frame[6:].to_excel(book, sheet_name="test", index=False)
    source = read_source(place / "t.xlsx")
    assert (len(source.items), len(source.test)) == (6, 2)
    with pd.ExcelWriter(place / "t.xlsx") as book:
        frame.to_excel(book, sheet_name="labels", index=False)
        frame.to_excel(book, sheet_name="old", index=False)
    assert "labels is read; not read: old" in [finding.value for finding in read_source(place / "t.xlsx").findings]


def test_one_and_minus_one_alone_are_present_and_absent(place):
    rows = [f"p{at}.jpg,{1 if at % 2 else -1},{-1 if at % 3 else 1}" for at in range(N)]
    source = read_source(csv(place, rows, "image_id,Smiling,Young"))
    assert labels(source)[:4] == [["Young"], ["Smiling"], [], ["Smiling", "Young"]]


def test_a_column_that_was_only_guessed_is_named(place):
    rows = [f"p{at}.jpg,{'ab'[at % 2]},{at * 1.5}" for at in range(N)]
    source = read_source(csv(place, rows, "image,species,weight"))
    assert source.notes == (
        "Column `species` is taken for labels; not used: weight. Numbers are learned with --targets weight.",
    )
    rows = [f"p{at}.jpg,{'a|b' if at % 2 else 'b'}" for at in range(N)]
    assert labels(read_source(csv(place, rows, "Image Index,Finding Labels"))) == [["b"], ["a", "b"]] * (N // 2)
    rows = [f"p{at}.jpg,a caption with words number {at}" for at in range(N)]
    with pytest.raises(TableError, match="has none of the columns"):
        read_source(csv(place, rows, "file_name,text"))


@pytest.mark.parametrize("name", ["1" * 60, "train" + "1" * 60, "set_" * 40 + "x", "a b " * 30])
def test_a_long_name_is_no_side_and_takes_no_time(name):
    began = time.perf_counter()
    side_of(name), side_in(name), side_of_cell(name)
    assert time.perf_counter() - began < 0.1


@pytest.mark.parametrize(("word", "encoding"), [("żółty", "cp1250"), ("кошка", "cp1251"), ("猫", "cp932")])
def test_other_encodings_are_found_too(word, encoding, place):
    file = csv(place, [f"p{at}.jpg,{word if at % 2 else 'b'}" for at in range(N)], encoding=encoding)
    source = read_source(file)
    assert labels(source) == ["b", word] * (N // 2)
    assert encoding in source.findings[0].hint


def test_what_is_wrong_with_a_test_row_stops_nothing(place):
    rows = [f"p{at}.jpg,{5 + at},{'6xQ' if at == 7 else 6},{'test' if at > 5 else 'train'}" for at in range(N)]
    source = read_source(csv(place, [*rows, "gone.jpg,1,1,test"], "fname,x,y,split"))
    source.require_usable()
    assert (len(source.items), len(source.test)) == (6, 1)
    assert {finding.level for finding in source.findings} == {"warning"}


def test_a_list_of_objects_is_a_table(place):
    rows = [{"file_name": f"p{at}.jpg", "label": "ab"[at % 2]} for at in range(N)]
    (place / "list.json").write_text(json.dumps(rows))
    assert labels(read_source(place / "list.json")) == ["a", "b"] * (N // 2)
    (place / "odd.json").write_text(json.dumps([{"when": 1}]))
    with pytest.raises(TableError, match="no annotation of a known format"):
        read_source(place / "odd.json")


@pytest.mark.parametrize("name", ["t.csv.gz", "ratings.csv.gz", "rows.jsonl.gz"])
def test_a_packed_table_may_not_stand_for_all_the_memory(name, tmp_path, monkeypatch, foveal):
    monkeypatch.setattr("foveal.core.packed.MAX_BYTES", 10_000)
    rows = {
        "t.csv.gz": "fname,labels\n" + "a.jpg,x\n" * 5000,
        "ratings.csv.gz": "user,item,rating\n" + "1,2,3\n" * 5000,
        "rows.jsonl.gz": '{"user": 1, "item": 2, "rating": 3}\n' * 5000,
    }[name]
    (tmp_path / name).write_bytes(gzip.compress(rows.encode()))
    printed = foveal("check", tmp_path / name, code=1 if name.startswith("rows") else 2)
    assert "unpacks to more than" in printed.err + printed.out
