"""Splits keep groups and rates; the audit finds every planted fault."""

import json
import os
import shutil
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFilter

from foveal.audit import inspection
from foveal.audit.checks import audit, audit_labels
from foveal.audit.inspection import Ledger, inspect_all
from foveal.cli import main
from foveal.core.errors import InputError
from foveal.core.rng import generator_for
from foveal.data.splits.stratify import GroupSplitter, StratifiedSplitter, choose_balanced
from foveal.reporting.audit_page import print_audit, write_audit_page
from foveal.sources.items import Item, Source
from foveal.sources.table import read_table


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32), st.integers(2, 60))
def test_no_group_is_ever_on_both_sides(seed, n_groups):
    rng = np.random.default_rng(seed)
    items = [{"group": int(g)} for g in rng.permutation([*range(n_groups), *rng.integers(0, n_groups, 200)])]
    train, valid = GroupSplitter("group", seed=seed)(items)
    assert not {items[i]["group"] for i in train} & {items[i]["group"] for i in valid}
    assert sorted(train + valid) == list(range(len(items)))
    assert train
    assert valid


def rates(matrix, chosen):
    return matrix[chosen].mean(axis=0), matrix.mean(axis=0)


def test_every_label_keeps_its_rate_over_100_000_rows_in_seconds():
    rng = np.random.default_rng(0)
    n, n_labels = 100_000, 80
    common = np.geomspace(25 / n, 0.5, n_labels)
    matrix = (rng.random((n, n_labels)) < common).astype(np.float32)
    matrix[:, 1] = np.maximum(matrix[:, 1], matrix[:, 0])  # labels that come together
    counts = np.concatenate([np.ones((n, 1), np.float32), matrix], axis=1)
    began = time.perf_counter()
    chosen = choose_balanced(counts, 0.2, generator_for(0))
    assert time.perf_counter() - began < 5
    found, overall = rates(matrix, chosen)
    comparable = matrix.sum(axis=0) >= 25
    assert (np.abs(found - overall)[comparable] <= 0.2 * overall[comparable]).all()
    assert chosen.mean() == pytest.approx(0.2, abs=0.002)


def test_labels_and_groups_together():
    rng = np.random.default_rng(1)
    items = [{"who": int(rng.integers(200)), "labels": [n for n in "abcd" if rng.random() < 0.3]} for _ in range(3000)]
    train, valid = StratifiedSplitter("labels", group="who")(items)
    assert not {items[i]["who"] for i in train} & {items[i]["who"] for i in valid}
    for name in "abcd":
        everywhere = np.mean([name in item["labels"] for item in items])
        here = np.mean([name in items[i]["labels"] for i in valid])
        assert here == pytest.approx(everywhere, rel=0.1)
    assert (train, valid) == StratifiedSplitter("labels", group="who")(items)
    assert (train, valid) != StratifiedSplitter("labels", group="who", seed=1)(items)


def test_one_group_cannot_be_split():
    with pytest.raises(InputError, match="one group"):
        GroupSplitter("g")([{"g": 1}] * 5)


# The audit


@pytest.fixture
def faults(scenes, tmp_path, monkeypatch):
    """A table with planted faults: its folder, and what should be found."""
    monkeypatch.setenv("FOVEAL_HOME", str(tmp_path / "home"))
    table = pd.read_csv(scenes / "scenes.csv", keep_default_na=False).iloc[:40].assign(is_valid=False)
    table.loc[30:, "is_valid"] = True
    table["labels"] = table["labels"].replace("", "tree")
    folder = tmp_path / "images"
    folder.mkdir()
    for name in table["fname"]:
        shutil.copy(scenes / "scenes" / name, folder)
    rows = table.to_dict("records")

    def add(name, labels, is_valid=False):
        rows.append({"fname": name, "labels": labels, "is_valid": is_valid})

    shutil.copy(folder / rows[0]["fname"], folder / "exact.jpg")
    add("exact.jpg", rows[0]["labels"], is_valid=True)
    with Image.open(folder / rows[1]["fname"]) as image:
        image.resize((image.width * 2 // 3, image.height * 2 // 3)).save(folder / "near.jpg", quality=60)
    add("near.jpg", "zebra")
    (folder / "cut.jpg").write_bytes((folder / rows[2]["fname"]).read_bytes()[:-300])
    add("cut.jpg", "tree")
    Image.new("RGB", (90, 80), (3, 3, 3)).save(folder / "dark.png")
    add("dark.png", "Tree")
    Image.new("RGB", (300, 20), (200, 90, 10)).save(folder / "long.png")
    add("long.png", "new", is_valid=True)
    add(rows[3]["fname"], "other")
    pd.DataFrame(rows).to_csv(tmp_path / "table.csv", index=False)
    return tmp_path


def test_every_planted_fault_is_found_and_a_second_look_is_quick(faults, capsys):
    source = read_table(faults / "table.csv", images=faults / "images")
    found = audit(source)
    rules = {finding.rule: finding for finding in found.findings}
    assert rules["exact copy across the split"].level == "error"
    assert "exact.jpg" in rules["exact copy across the split"].value
    assert "near.jpg" in rules["near copy with another label"].value
    assert "cut.jpg: damaged JPEG" in rules["image that cannot be used"].value
    assert rules["one file with different labels"].level == "error"
    assert rules["class seen in validation only"].where == "new"
    assert "'Tree' / 'tree'" in rules["labels that differ in case or white space only"].where
    assert "dark.png" in rules["very dark image"].value
    assert {"tiny image", "odd aspect", "class with fewer than 5 images"} <= set(rules)
    assert found.figures["usable"] == found.figures["images"] - 1
    assert [f.level for f in found.findings] == sorted(
        (f.level for f in found.findings), key=["error", "warning", "note"].index
    )
    again = audit(source)
    assert again == found
    print_audit(found)
    assert "error: image that cannot be used (1)" in capsys.readouterr().out


def test_the_page_shows_the_images_and_keeps_markup_inert(faults):
    source = read_table(faults / "table.csv", images=faults / "images")
    items = [*source.items, Item(source.items[0].image, ["<script>alert(1)</script>"], False, "<b>row</b>")]
    page = faults / "audit.html"
    write_audit_page(page, audit(Source("table", "multi-label", items)), title="<i>t</i>")
    text = page.read_text()
    assert "<script>" not in text
    assert "<b>row" not in text
    assert text.count("<img") >= 5
    assert "http" not in text.replace("http-equiv", "")


def test_near_copies_are_found_and_strangers_are_not(scenes, tmp_path, monkeypatch):
    monkeypatch.setenv("FOVEAL_HOME", str(tmp_path / "home"))
    originals = sorted((scenes / "scenes").glob("*.jpg"))
    items = [Item(file, "x", None, file.name) for file in originals]
    copies = []
    for number, file in enumerate(originals):
        with Image.open(file) as image:
            changed = image.resize((image.width * (4 + number % 5) // 7, image.height * (4 + number % 5) // 7))
        copy = tmp_path / f"copy_{file.name}"
        changed.save(copy, quality=50 + number % 40)
        copies.append(Item(copy, "x", None, copy.name))
    alone = [f for f in audit(Source("x", "single-label", items)).findings if "copy" in f.rule]
    n_pairs = len(items) * (len(items) - 1) / 2
    assert len(alone) <= 0.001 * n_pairs
    both = [f for f in audit(Source("x", "single-label", items + copies)).findings if "near copy" in f.rule]
    right = [f for f in both if f.images[1].name == f"copy_{f.images[0].name}"]
    assert len(right) >= 0.95 * len(copies)


def test_swapped_and_outside_points(scenes, tmp_path, monkeypatch):
    monkeypatch.setenv("FOVEAL_HOME", str(tmp_path / "home"))
    wide = tmp_path / "wide.png"
    Image.effect_noise((300, 60), 50).convert("RGB").filter(ImageFilter.BLUR).save(wide)

    def rules(points):
        items = [Item(wide, np.array([p]), None, f"row {n}") for n, p in enumerate(points)]
        return {f.rule: f.level for f in audit(Source("x", "points", items)).findings}

    assert rules([(30.0, 250.0)])["x and y seem to be swapped"] == "error"
    assert "x and y seem to be swapped" not in rules([(250.0, 30.0), (30.0, 250.0)])
    assert rules([(250.0, 30.0), (-4.0, 30.0)])["point outside the image"] == "warning"
    assert rules([(np.nan, np.nan)])["no point given"] == "note"


def test_everything_on_one_side():
    items = [Item(f"{n}.jpg", "ab"[n % 2], False, str(n)) for n in range(12)]
    assert [f.rule for f in audit_labels(Source("x", "single-label", items))] == ["everything on one side of the split"]


@pytest.fixture
def foveal(monkeypatch, capsys):
    def call(*arguments):
        monkeypatch.setattr("sys.argv", ["foveal", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            main.run()
        return stopped.value.code or 0, capsys.readouterr()

    return call


def test_the_command_says_errors_by_its_exit_code(faults, scenes, foveal):
    code, printed = foveal("check", faults / "table.csv", "--images", faults / "images", "--html", faults / "a.html")
    assert code == 1
    assert "error: image that cannot be used (1)" in printed.out
    assert (faults / "a.html").is_file()
    code, printed = foveal("check", scenes / "scenes.csv", "--images", scenes / "scenes", "--empty", "none", "--json")
    assert code == 0
    table = pd.read_csv(faults / "table.csv").assign(who=1)
    table.to_csv(faults / "groups.csv", index=False)
    _, grouped = foveal(
        "check", faults / "groups.csv", "--images", faults / "images", "--group-column", "who", "--json"
    )
    assert "group on both sides of the split" in grouped.out
    assert '"usable": 60' in printed.out


@pytest.mark.filterwarnings("ignore:The label `new`")
def test_training_stops_on_errors_or_leaves_bad_images_out(faults, foveal):
    arguments = (
        "train",
        faults / "table.csv",
        "--images",
        faults / "images",
        "--size",
        "32",
        "--out",
        faults / "out",
    )
    code, printed = foveal(*arguments)
    assert code == 2
    assert "cut.jpg" in printed.err
    assert not (faults / "out").exists()
    table = pd.read_csv(faults / "table.csv")
    table[~table["fname"].isin(["exact.jpg", table["fname"][3]])].to_csv(faults / "table.csv", index=False)
    code, printed = foveal(*arguments, "--on-bad", "skip", "--epochs", "1", "--batch-size", "16")
    assert code == 0, printed.err
    assert "cut.jpg" not in (faults / "out" / "split.csv").read_text()
    assert "cut.jpg" in (faults / "out" / "audit.json").read_text()


def test_a_group_column_keeps_groups_together_on_the_command_line(scenes, tmp_path, foveal):
    table = pd.read_csv(scenes / "scenes.csv", keep_default_na=False).drop(columns="is_valid")
    table["who"] = np.arange(len(table)) % 11
    table.to_csv(tmp_path / "t.csv", index=False)
    options = (
        "--images",
        scenes / "scenes",
        "--empty",
        "none",
        "--group-column",
        "who",
        "--size",
        "32",
        "--epochs",
        "1",
    )
    code, printed = foveal("train", tmp_path / "t.csv", *options, "--batch-size", "16", "--out", tmp_path / "out")
    assert code == 0, printed.err
    split = pd.read_csv(tmp_path / "out" / "split.csv").assign(fname=lambda f: f["fname"].str.rsplit("/").str[-1])
    sides = split.merge(table, on="fname").groupby("who")["split"].nunique()
    assert (sides == 1).all()


@pytest.fixture
def ledger_file(tmp_path, monkeypatch):
    """The ledger's file in a home of its own, which does not exist yet."""
    monkeypatch.setenv("FOVEAL_HOME", str(tmp_path / "home"))
    return tmp_path / "home" / "inspections.jsonl"


ODD_NAMES = [
    "plain.jpg",
    'a", ["b.jpg',
    'c", {"d.jpg',
    "[1, 2].jpg",
    "ä\u2028 ö.jpg",
    "'q'\\.jpg",
    "0" * 62 + '", {".jpg',
]


def test_the_ledger_knows_every_file_again(scenes, tmp_path, ledger_file):
    files = [tmp_path / name for name in [*ODD_NAMES, os.fsdecode(b"\xff.jpg")]]
    for file, image in zip(files, sorted((scenes / "scenes").iterdir()), strict=False):
        shutil.copy(image, file)
    seen = inspect_all(Ledger.load(), files)
    text = ledger_file.read_text()
    assert len(text.splitlines()) == 2 * len(files)
    assert all(len(json.loads(line)) == 2 for line in text.splitlines())
    for forget in (False, True):
        if forget:
            inspection._READ.clear()  # as another process would read it
        ledger = Ledger.load()
        again = inspect_all(ledger, files)
        assert again == seen
        assert not ledger.changes
        assert all(ledger.accepted_as(file) == (seen[file].sha256, file.stat().st_mtime_ns) for file in files)
        assert ledger_file.read_text() == text
    shutil.copy(files[1], files[0])
    ledger = Ledger.load()
    assert inspect_all(ledger, files[:1])[files[0]].sha256 == seen[files[1]].sha256
    assert ledger.changes == {files[0]: "openly"}


def test_only_the_lines_of_the_files_at_hand_are_parsed_and_the_ledger_is_read_once(
    scenes, tmp_path, ledger_file, monkeypatch
):
    files = sorted((scenes / "scenes").iterdir())
    inspect_all(Ledger.load(), files)
    inspection._READ.clear()
    parsed, read = [], []
    loads, read_bytes = json.loads, Path.read_bytes
    monkeypatch.setattr(inspection.json, "loads", lambda text: parsed.append(text) or loads(text))
    monkeypatch.setattr(Path, "read_bytes", lambda path: read.append(path) or read_bytes(path))
    for _ in range(2):
        inspect_all(Ledger.load(), files[:3])
    assert len(parsed) <= 2 * 2 * 3
    assert read.count(ledger_file) == 1


def test_a_damaged_line_of_the_ledger_costs_its_file_alone(scenes, ledger_file):
    files = sorted((scenes / "scenes").iterdir())[:4]
    seen = inspect_all(Ledger.load(), files)
    lines = ledger_file.read_text().splitlines()
    damaged = [lines[0][:-40], lines[1].replace('"thumb"', '"thum"'), *lines[2:], lines[-1][:30], "", "]"]
    ledger_file.write_text("\n".join(damaged))
    ledger = Ledger.load()
    known = [ledger.known_as(one.sha256) for one in seen.values()]
    assert sum(one is not None for one in known) == 2
    assert inspect_all(ledger, files) == seen
    other = inspect_all(Ledger.load(), sorted((scenes / "scenes").iterdir())[4:5])
    assert len(other) == 1  # which is new, so that the file is written anew
    assert all(len(json.loads(line)) == 2 for line in ledger_file.read_text().splitlines() if line)
    assert [Ledger.load().known_as(one.sha256) for one in seen.values()] == list(seen.values())


def test_what_another_process_wrote_is_read(scenes, ledger_file):
    first, second = sorted((scenes / "scenes").iterdir())[:2]
    inspect_all(Ledger.load(), [first])
    text = ledger_file.read_text()
    inspect_all(Ledger.load(), [second])
    ledger_file.write_text(text)
    assert Ledger.load().accepted_as(second) == ("", 0)
    ledger_file.unlink()
    assert Ledger.load().accepted_as(first) == ("", 0)
