"""A split from a file of its own, and a table without what the audit found."""

import shutil

import numpy as np
import pandas as pd
import pytest

from foveal import check
from foveal.core.errors import InputError, TableError
from foveal.runs import write_clean
from foveal.runs.door import settings_for
from foveal.runs.folds import parts_of
from foveal.runs.images import audit_source, loaders, read
from foveal.sources.coco import write_coco
from foveal.sources.recognise import read_source
from foveal.sources.split_file import with_split_file
from foveal.tasks.multi_label import MultiLabel
from foveal.tasks.vocab import Vocab


@pytest.fixture
def folders(scenes, tmp_path):
    """Class folders with twelve scenes."""
    files = sorted((scenes / "scenes").iterdir())[:12]
    for at, file in enumerate(files):
        target = tmp_path / "folders" / ("even", "odd")[at % 2]
        target.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, target)
    return tmp_path / "folders"


def sides_of(source):
    return {item.image.name: item.is_valid for item in source.items}


@pytest.mark.parametrize("called", ["below the folder", "file name", "without ending", "from the root"])
def test_a_table_of_sides_splits_class_folders(folders, tmp_path, called):
    source = read_source(folders)
    sides = ["train", "valid", "train", "Test"]
    wanted = {item.image: sides[at % 4] for at, item in enumerate(source.items)}
    name = {
        "below the folder": lambda path: path.relative_to(folders).as_posix(),
        "file name": lambda path: path.name,
        "without ending": lambda path: path.stem,
        "from the root": lambda path: path.absolute().as_posix(),
    }[called]
    table = tmp_path / "sides.csv"
    pd.DataFrame([{"fname": name(path), "split": side} for path, side in wanted.items()]).to_csv(table, index=False)
    found = read(settings_for(folders, {"split_file": table}))
    assert sides_of(found) == {path.name: side == "valid" for path, side in wanted.items() if side != "Test"}
    assert {item.image for item in found.test} == {path for path, side in wanted.items() if side == "Test"}


def test_a_list_of_names_is_the_validation_side_of_a_coco_file(scenes, tmp_path):
    table = pd.read_csv(scenes / "scenes.csv", keep_default_na=False).head(20)
    vocab = Vocab(tuple(sorted({name for cell in table.labels for name in cell.split()})))
    rows = [(row.fname, (90, 120), row.labels.split()) for row in table.itertuples()]
    write_coco(tmp_path / "labels.json", rows, MultiLabel(vocab))
    names = table.fname[3:8].tolist()
    (tmp_path / "valid.txt").write_text("\n".join(names) + "\n")
    source = read_source(tmp_path / "labels.json", images=scenes / "scenes")
    found = with_split_file(source, tmp_path / "valid.txt", scenes / "scenes")
    labelled = {item.image.name for item in source.items}
    assert sides_of(found) == {name: name in names for name in labelled}


def test_what_does_not_fit_is_named(folders, tmp_path):
    source = read_source(folders)
    names = [item.image.name for item in source.items]
    table = tmp_path / "sides.csv"

    def refused(rows, error, match):
        table.write_text("fname,split\n" + "".join(f"{name},{side}\n" for name, side in rows))
        with pytest.raises(error, match=match):
            with_split_file(source, table, folders)

    refused([(name, "train") for name in names[1:]], InputError, rf"no side to 1 of 12 images, such as `{names[0]}`")
    refused([("nothing.jpg", "train")], InputError, "names no image of the source. It begins with `nothing.jpg`")
    refused(
        [(names[0], "perhaps")], TableError, "row 2: `split` must be true, false or the name of a side; got 'perhaps'"
    )
    refused([(names[0], "train"), (names[0], "valid")], TableError, "row 3: .* is on two sides")
    with pytest.raises(InputError, match="There is no file"):
        with_split_file(source, tmp_path / "none.csv", folders)
    table.write_text(
        "fname,split\n" + "".join(f"{name},train\n" for name in names[:-1]) + f"{names[-1]},valid\nmore.jpg,train\n"
    )
    (finding,) = with_split_file(source, table, folders).findings
    assert (finding.level, finding.value) == ("warning", "more.jpg")


@pytest.fixture
def faulty(scenes, tmp_path):
    """A folder with 24 scenes, of which one is cut, and one a copy of another."""
    images = tmp_path / "images"
    images.mkdir()
    names = []
    for file in sorted((scenes / "scenes").iterdir())[:24]:
        shutil.copy(file, images)
        names.append(file.name)
    (images / names[0]).write_bytes((images / names[0]).read_bytes()[:200])
    shutil.copy(images / names[1], images / names[23])
    return images, names


def clean(table, images, path, **settings):
    audit = check(table, images=images, **settings)
    cleaned = write_clean(table, audit, path, images=images, **settings)
    return audit, cleaned, check(path, **cleaned.settings), read(settings_for(path, cleaned.settings))


def of(source, names):
    labels = {item.image.name: item.label for item in source.items}
    return [labels[name] for name in names]


@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".parquet"])
def test_a_clean_table_is_what_is_left_without_errors(faulty, tmp_path, ending):
    images, names = faulty
    table = tmp_path / "t.csv"
    rows = [(name, ("a b", "a", "c d")[at % 3], at > 18) for at, name in enumerate(names)]
    rows[23] = (names[23], rows[1][1], True)
    pd.DataFrame(rows, columns=["fname", "labels", "is_valid"]).to_csv(table, index=False)
    audit, cleaned, again, source = clean(table, images, tmp_path / f"clean{ending}")
    assert {finding.rule for finding in audit.errors} == {"image that cannot be used", "exact copy across the split"}
    assert (cleaned.n, dict(cleaned.left_out)) == (22, {finding.rule: 1 for finding in audit.errors})
    assert not again.errors
    kept = [name for name in names if name not in {names[0], names[1]}]  # of the copies that to train on goes
    assert sorted(item.image.name for item in source.items) == sorted(kept)
    assert [set(label) for label in of(source, kept)] == [
        set(dict(zip(names, rows, strict=True))[name][1].split()) for name in kept
    ]
    assert {item.image.name: item.is_valid for item in source.items} == {name: names.index(name) > 18 for name in kept}


def test_points_numbers_and_unknown_classes_keep_their_cells(faulty, tmp_path):
    images, names = faulty
    points = tmp_path / "points.csv"
    rows = [
        {"fname": name, "a_x": at + 0.5, "a_y": 3.0, "b_x": np.nan if at == 5 else 7, "b_y": np.nan if at == 5 else 9}
        for at, name in enumerate(names[:23])
    ]
    pd.DataFrame(rows).to_csv(points, index=False)
    _, cleaned, again, source = clean(points, images, tmp_path / "p.csv", points="a_x,a_y,b_x,b_y")
    assert (cleaned.n, again.errors) == (22, [])
    np.testing.assert_allclose(np.ravel(of(source, [names[5]])), [5.5, 3.0, np.nan, np.nan])

    numbers = tmp_path / "numbers.csv"
    pd.DataFrame({"fname": names[:23], "age": range(23), "mass": 0.25}).to_csv(numbers, index=False)
    _, cleaned, _, source = clean(numbers, images, tmp_path / "n.csv", targets="age,mass")
    np.testing.assert_allclose(np.ravel(of(source, [names[7]])), [7, 0.25])

    wide = tmp_path / "wide.csv"
    pd.DataFrame({"fname": names[:23], "cat": [1, 0, -1] * 7 + [1, 0], "big dog": 1}).to_csv(wide, index=False)
    _, cleaned, _, source = clean(wide, images, tmp_path / "w.csv", label_columns="cat,big dog")
    label = of(source, [names[2]])[0]
    assert (set(label), set(label.unknown)) == ({"big dog"}, {"cat"})


def test_of_exact_copies_one_stays_and_of_conflicting_ones_none(faulty, tmp_path):
    images, names = faulty
    shutil.copy(images / names[2], images / names[22])
    rows = [(name, "ab"[at % 2]) for at, name in enumerate(names[1:], 1)]  # 1 and 23 are both b, 2 and 22 both a
    conflict = [(name, "a" if name == names[23] else label) for name, label in rows]
    for table, gone in ((rows, {names[22], names[23]}), (conflict, {names[1], names[22], names[23]})):
        path = tmp_path / "t.csv"
        pd.DataFrame(table, columns=["fname", "label"]).to_csv(path, index=False)
        before = path.read_bytes()
        _, cleaned, again, source = clean(path, images, tmp_path / "clean.csv")
        assert {item.image.name for item in source.items} == set(names[1:]) - gone
        assert not any("exact copy" in finding.rule for finding in again.findings)
        assert sum(cleaned.left_out.values()) == len(gone)
        assert path.read_bytes() == before
    with pytest.raises(InputError, match=r"must end in \.csv"):
        write_clean(path, check(path, images=images), tmp_path / "clean.txt", images=images)


def test_what_leaving_out_cannot_mend_is_named(faulty, tmp_path):
    images, names = faulty
    table = tmp_path / "t.csv"
    rows = [(name, "ab"[at % 2], at > 18, f"g{at % 3}") for at, name in enumerate(names[1:23])]
    pd.DataFrame(rows, columns=["fname", "label", "is_valid", "who"]).to_csv(table, index=False)
    audit = check(table, images=images, group_column="who")
    cleaned = write_clean(table, audit, tmp_path / "clean.csv", images=images, group_column="who")
    assert (cleaned.n, dict(cleaned.left_out)) == (22, {})
    assert dict(cleaned.remaining) == {"group on both sides of the split": 3}
    assert cleaned.settings["group_column"] == "group"


@pytest.mark.parametrize("column", [None, "who"])
def test_a_split_that_is_drawn_keeps_copies_and_groups_together(scenes, tmp_path, column):
    files = sorted((scenes / "scenes").iterdir())[:20]
    rows = []
    for at, file in enumerate(files):
        for copy in range(1 + (at < 6)):
            shutil.copy(file, tmp_path / f"{at}-{copy}.jpg")
            rows.append((f"{at}-{copy}.jpg", "ab"[at % 2], f"g{(at + 7 * copy) % 20}"))
    pd.DataFrame(rows, columns=["fname", "label", "who"]).to_csv(tmp_path / "t.csv", index=False)
    given = {"images": tmp_path} | ({} if column is None else {"group_column": column})
    for seed in range(4):
        settings = settings_for(tmp_path / "t.csv", {**given, "folds": 3, "seed": seed})
        source, _ = audit_source(settings, read(settings))
        for part in parts_of(settings).values():
            valid = {image.name for image in loaders(part, source).valid_ds.images}
            train = {image.name for image in loaders(part, source).train_ds.images}
            for at in range(6):
                assert len({f"{at}-0.jpg", f"{at}-1.jpg"} & valid) in {0, 2}
            if column:
                of = {name: who for name, _, who in rows}
                assert not {of[name] for name in valid} & {of[name] for name in train}
            assert valid
            assert train
