"""The studio without its page: the journal, what stands, what is written, what is learned, and its addresses."""

import csv
import json
import os
import random
import time

import numpy as np
import pytest
import torch

from foveal import check
from foveal.core.errors import InputError
from foveal.core.tables import write_rows
from foveal.runs.door import settings_for
from foveal.serve.collect import Collector
from foveal.sources.formats import TableColumns
from foveal.sources.recognise import read_source
from foveal.studio import writing
from foveal.studio.collection import JOURNAL, Purpose, open_collection
from foveal.studio.desk import Desk
from foveal.studio.journal import Journal
from foveal.studio.learning import Taught, learn, next_images, score
from foveal.studio.marks import Marks, groups_of
from foveal.studio.studio import open_studio
from foveal.studio.writing import export, write_marks
from foveal.tasks.multi_label import MultiLabel
from foveal.tasks.vocab import Vocab
from serving import studio_of

CLASSES = ("house", "sun", "tree")


def rows_of(table):
    with table.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def folder(unlabelled):
    """A folder with twelve drawn scenes that nobody has labelled."""
    return unlabelled(12, name="pictures")


@pytest.fixture
def journal_at():
    """A function that opens a journal, which is closed at the end."""
    opened = []

    def open_journal(path):
        opened.append(Journal(path))
        return opened[-1]

    yield open_journal
    for journal in opened:
        journal._file.close()


@pytest.fixture
def desk_on(journal_at):
    """A function that returns a desk without anything that looks or learns."""

    def make(source, **given):
        settings = settings_for(source, given)
        collection = open_collection(settings)
        return Desk(collection, journal_at(collection.journal))

    return make


def as_it_stands(marks):
    return marks.purpose, marks.labels, marks.left_out, marks.right, marks.together, marks.decided


def test_a_journal_that_was_cut_anywhere_has_all_whole_lines(tmp_path, journal_at):
    whole = journal_at(tmp_path / "whole.jsonl")
    whole.add("begin", (), {"kind": "multi-label", "names": list(CLASSES), "labels": {}, "sides": {}}, "")
    for number in range(6):
        whole.add("label", (f"é{number}.jpg",), [CLASSES[number % 3]], "a")
    whole.add("back", ("é5.jpg",), 6, "a")
    content = whole.path.read_bytes()
    ends = [at for at, byte in enumerate(content, 1) if byte == ord("\n")]
    for cut in range(len(content) + 1):
        path = tmp_path / f"cut{cut}.jsonl"
        path.write_bytes(content[:cut])
        journal = journal_at(path)
        assert journal.entries == whole.entries[: sum(end <= cut for end in ends)]
        added = journal.add("label", ("new.jpg",), ["sun"], "b")
        journal.close()
        assert journal_at(path).entries[-1] == added


def test_a_line_that_is_broken_in_the_middle_is_refused_with_its_number(tmp_path, journal_at):
    (tmp_path / "j.jsonl").write_text('{"kind":"begin","images":[],"value":{},"session":"","at":""}\nnonsense\n{}\n')
    with pytest.raises(InputError, match="line 2, is not as a studio writes it"):
        journal_at(tmp_path / "j.jsonl")
    (tmp_path / "k.jsonl").write_text('{"version":9,"kind":"begin","images":[],"value":{},"session":"","at":""}\n')
    with pytest.raises(InputError, match="version 9"):
        journal_at(tmp_path / "k.jsonl")


def test_a_decision_that_cannot_be_written_leaves_everything_as_it_was(folder, monkeypatch, desk_on):
    desk = desk_on(folder)
    desk.begin("multi-label", CLASSES)
    desk.label(0, ["sun"], "a")
    before, content = as_it_stands(desk.snapshot()), desk.collection.journal.read_bytes()

    def full(_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space"):
            desk.label(1, ["tree"], "a")
    assert as_it_stands(desk.marks) == before
    assert desk.collection.journal.read_bytes() == content
    desk.label(1, ["house"], "a")
    assert desk.label_of(1) == ("house",)


def decide(desk, kind, at, other, label, session):
    match kind:
        case "label" | "none":
            desk.label(at, label if kind == "label" else None, session)
        case "out" | "in":
            desk.leave_out(at, kind == "out", session)
        case "right":
            desk.confirm(at, session)
        case "together":
            desk.keep_together(at, other, session)


@pytest.mark.parametrize("seed", range(5))
def test_what_is_taken_back_never_was(folder, seed, desk_on, journal_at):
    rng = random.Random(seed)
    desk, done = desk_on(folder), []
    desk.begin("multi-label", CLASSES)
    for _ in range(80):
        session, at, other = rng.choice("ab"), rng.randrange(12), rng.randrange(12)
        kind = rng.choice(["label", "label", "label", "none", "out", "in", "right", "together", "back"])
        label = [name for name in CLASSES if rng.random() < 0.4]
        if kind == "back":
            last = next((one for one in reversed(done) if one.session == session), None)
            assert desk.last_of(session) == desk.take_back(session) == last
            done = [one for one in done if one is not last]
        else:
            decide(desk, kind, at, other, label, session)
            done.append(desk._journal.entries[-1])
        expected = Marks()
        for entry in (desk._journal.entries[0], *done):
            expected.take(entry)
        assert as_it_stands(desk.marks) == as_it_stands(expected)
    desk.close()
    assert as_it_stands(Marks.of(journal_at(desk.collection.journal))) == as_it_stands(expected)


def test_a_label_is_one_of_its_kind():
    several, one = Purpose("multi-label", CLASSES), Purpose("single-label", CLASSES)
    assert several.checked(["tree", "house"]) == ("house", "tree")
    assert several.checked([]) == ()
    assert one.checked("sun") == "sun"
    points = Purpose("points", ("nose", "tail"))
    assert points.checked([[1, 2.5], None]) == ((1.0, 2.5), None)
    for purpose, odd, message in (
        (several, ["moon"], "'moon' is no class here. There are: house, sun, tree"),
        (several, "sun", "a list of names of classes"),
        (one, ["sun"], "the name of a class"),
        (points, [[1, 2]], "a list of 2 points"),
        (points, [[1, 2, 3], None], "two numbers"),
    ):
        with pytest.raises(InputError, match=message):
            purpose.checked(odd)
    with pytest.raises(InputError, match="of several classes no semicolon"):
        several.with_names(["a;b"])
    assert one.with_names(["a;b"]).names[-1] == "a;b"


def test_what_stays_together_is_one_group():
    pairs = {frozenset(pair) for pair in (("b", "a"), ("c", "b"), ("x", "y"))}
    assert groups_of(pairs) == {"a": "a", "b": "a", "c": "a", "x": "x", "y": "x"}


def test_two_sessions_never_get_the_same_image(folder, desk_on):
    desk = desk_on(folder)
    desk.begin("multi-label", CLASSES)
    first, second = desk.next_for("a", 4), desk.next_for("b", 4)
    assert not set(first) & set(second)
    assert desk.next_for("a", 4) == first
    desk.label(first[0], [], "a")
    assert set(desk.next_for("a", 3)) == set(first[1:])
    desk.release(first[1], "a")
    rest = desk.next_for("a", 12)
    assert set(rest) == set(range(12)) - set(second) - {first[0]}
    assert rest[-1] == first[1]  # it comes last
    assert desk.next_for("c", 12) == []


def test_the_table_of_a_folder_is_read_as_it_was_decided(folder, desk_on):
    desk = desk_on(folder)
    desk.begin("multi-label", ("big house", "sun"))
    desk.label(0, ["big house", "sun"], "a")
    desk.label(1, ["sun"], "a")
    desk.label(2, ["sun"], "a")
    desk.leave_out(2, True, "a")
    written = write_marks(desk.collection, desk.snapshot())
    assert (written.path, written.n, written.why_beside) == (folder / "labels.csv", 2, "")
    found = {item.image.name: item.label for item in read_source(folder).items}
    names = [one.name for one in desk.collection.images]
    assert found == {names[0]: ["big house", "sun"], names[1]: ["sun"]}
    assert not check(folder / "labels.csv").errors or all("too few" in str(one) for one in check(folder).errors)


def test_a_table_keeps_its_other_columns_and_rows(scenes, tmp_path, desk_on):
    source = tmp_path / "given.csv"
    rows = rows_of(scenes / "scenes.csv")
    for at, row in enumerate(rows):
        row |= {"who": f"person {at}", "number": f"0{at}"}
        if at % 2:
            row["labels"] = ""
    with source.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    before = source.read_bytes()
    desk = desk_on(source, images=scenes / "scenes")
    at = next(at for at in range(60) if desk.label_of(at) is None)
    name = desk.collection.images[at].name
    desk.label(at, ["tree"], "a")
    written = write_marks(desk.collection, desk.snapshot())
    assert written.path == source
    after = rows_of(source)
    assert [row | ({"labels": "tree"} if row["fname"] == name else {}) for row in rows] == after
    assert (tmp_path / "given.before-studio.csv").read_bytes() == before
    desk.label(at, [], "a")  # an empty cell would say that nobody has looked at it
    written = write_marks(desk.collection, desk.snapshot())
    assert written.path == tmp_path / "given.labels.csv"
    assert "an empty cell cannot say both" in written.why_beside


def test_further_images_get_the_side_of_training(scenes, tmp_path, desk_on):
    source = tmp_path / "given.csv"
    with source.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["fname", "labels", "is_valid"])
        writer.writeheader()
        writer.writerows({key: row[key] for key in writer.fieldnames} for row in rows_of(scenes / "scenes.csv")[:30])
    desk = desk_on(source, images=scenes / "scenes")
    named = {row["fname"] for row in rows_of(source)}
    at = next(at for at, one in enumerate(desk.collection.images) if one.name not in named)
    desk.label(at, ["sun"], "a")
    assert write_marks(desk.collection, desk.snapshot()).why_beside == ""
    added = rows_of(source)[-1]
    assert added == {"fname": desk.collection.images[at].name, "labels": "sun", "is_valid": "False"}
    assert read_source(source, images=scenes / "scenes").has_split


def test_images_of_a_test_side_are_left_alone(scenes, tmp_path, desk_on, journal_at):
    files = sorted((scenes / "scenes").iterdir())[:12]
    for at, file in enumerate(files):
        place = tmp_path / "set" / ("train", "valid", "test")[at % 3] / ("a", "b")[at % 2]
        place.mkdir(parents=True, exist_ok=True)
        (place / file.name).write_bytes(file.read_bytes())
    desk = desk_on(tmp_path / "set")
    assert len(desk.collection.images) == 8
    desk.label(0, "b", "a")
    sides = {one.name: one.is_valid for one in desk.collection.images}
    write_marks(desk.collection, desk.snapshot())
    desk.close()
    studio = open_studio(settings_for(tmp_path / "set", {}))
    assert {one.name: one.is_valid for one in studio.desk.collection.images} == sides
    assert studio.desk.marks.purpose == Purpose("single-label", ("a", "b"))
    studio.desk.close()


def test_a_table_that_is_no_csv_stays_as_it_is(scenes, tmp_path, desk_on):
    source = tmp_path / "given.tsv"
    source.write_text((scenes / "scenes.csv").read_text().replace(",", "\t"))
    before = source.read_bytes()
    desk = desk_on(source, images=scenes / "scenes")
    desk.label(3, ["sun"], "a")
    written = write_marks(desk.collection, desk.snapshot())
    assert written.path == tmp_path / "given.labels.csv"
    assert ".tsv" in written.why_beside
    assert source.read_bytes() == before


def test_points_go_into_the_columns_that_were_named_and_back(scenes, tmp_path, desk_on):
    source = tmp_path / "balloons.csv"
    source.write_bytes((scenes / "balloons.csv").read_bytes())
    desk = desk_on(source, images=scenes / "scenes", points=("x", "y"))
    assert desk.marks.purpose == Purpose("points", ("point 1",))
    desk.label(0, [[10.25, 20.5]], "a")
    assert write_marks(desk.collection, desk.snapshot()).path == source
    row = next(row for row in rows_of(source) if desk.collection.images[0].name.endswith(row["fname"]))
    assert (float(row["x"]), float(row["y"])) == (10.25, 20.5)
    desk.close()
    again = desk_on(source, images=scenes / "scenes", points=("x", "y"))
    assert again.label_of(0) == ((10.25, 20.5),)


@pytest.mark.parametrize("format", ["csv", "jsonl", "parquet", "coco", "label-studio"])
def test_every_export_is_read_back(folder, tmp_path, format, desk_on):
    desk = desk_on(folder)
    desk.begin("multi-label", CLASSES)
    for at in range(6):
        desk.label(at, [CLASSES[at % 3], CLASSES[(at + 1) % 3]], "a")
    path = folder / (f"out.{format}" if format in {"csv", "jsonl", "parquet"} else f"{format}.json")
    assert export(path, format, desk.collection, desk.snapshot()) == 6
    found = {item.image.name: sorted(map(str, item.label)) for item in read_source(path, images=folder).items}
    assert found == {desk.collection.images[at].name: sorted(desk.label_of(at)) for at in range(6)}


@pytest.mark.parametrize("format", ["csv", "jsonl", "parquet", "coco", "label-studio"])
def test_a_point_that_is_not_there_is_exported_as_such(folder, format, desk_on):
    desk = desk_on(folder)
    desk.begin("points", ("nose", "tail"))
    desk.label(0, [[10.5, 20.0], None], "a")
    desk.label(1, [[1.0, 2.0], [3.0, 4.5]], "a")
    is_table = format in {"csv", "jsonl", "parquet"}
    path = folder / (f"out.{format}" if is_table else f"{format}.json")
    export(path, format, desk.collection, desk.snapshot())
    columns = {"points": ("nose_x", "nose_y", "tail_x", "tail_y")} if is_table else {}
    found = read_source(path, images=folder, task="points", columns=TableColumns(**columns))
    points = [
        np.asarray(item.label, dtype=float).reshape(-1, 2) for item in sorted(found.items, key=lambda one: one.image)
    ]
    np.testing.assert_allclose(points[0], [[10.5, 20.0], [np.nan, np.nan]], atol=1e-6)
    np.testing.assert_allclose(points[1], [[1.0, 2.0], [3.0, 4.5]], atol=1e-6)


def test_images_that_cannot_be_read_are_left_out_and_named(unlabelled, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where the run is
    folder = unlabelled(12)
    images = sorted(folder.iterdir())
    images[0].write_bytes(b"not an image")
    with studio_of(folder, "--task", "single-label", "--names", "sun,tree") as service:
        until = time.monotonic() + 60
        while not (state := service.json("GET", "/state?session=a")[1])["refused"]:
            assert time.monotonic() < until, state
        for at in range(12):
            service.post("/decide", {"session": "a", "image": at, "label": ("sun", "tree")[at % 2]})
        status, coco = service.post("/export", {"format": "coco"})
        assert (status, coco["n"], coco["unreadable"]) == (200, 11, [images[0].name])
        status, table = service.post("/export", {"format": "csv"})
        assert (status, table["n"], table["unreadable"]) == (200, 12, [])
        command = service.post("/train", {"session": "a"})[1]["command"]
        assert command[command.index("--on-bad") + 1] == "skip"


def test_whoever_edited_the_table_last_is_right(folder, desk_on):
    desk = desk_on(folder)
    desk.begin("single-label", CLASSES)
    for at in range(4):
        desk.label(at, "sun", "a")
    table = write_marks(desk.collection, desk.snapshot()).path
    desk.close()
    text = table.read_text()
    table.write_text(text.replace("sun", "moon", 1))
    os.utime(table, (time.time() + 5, time.time() + 5))
    studio = open_studio(settings_for(folder, {}))
    assert studio.desk.label_of(0) == "moon"
    assert studio.desk.marks.purpose.names == (*CLASSES, "moon")
    studio.desk.close()
    studio = open_studio(settings_for(folder, {}))
    studio.desk.leave_out(1, True, "a")
    write_marks(studio.desk.collection, studio.desk.snapshot())
    studio.desk.close()
    header, *lines = table.read_text().splitlines()
    names = [one.name for one in studio.desk.collection.images]
    assert [line.split(",")[0] for line in lines] == [names[0], names[2], names[3]]
    table.write_text("\n".join([header, lines[0], lines[2], f"{names[1]},sun", f"{names[5]},tree"]) + "\n")
    os.utime(table, (time.time() + 10, time.time() + 10))
    studio = open_studio(settings_for(folder, {}))  # a row was removed, one is back, one is new
    assert [studio.desk.label_of(at) for at in range(6)] == ["moon", "sun", None, "sun", None, "tree"]
    assert not studio.desk.marks.left_out
    studio.desk.close()
    table.write_text(text.replace("sun", "tree", 1))
    os.utime(table, (time.time() - 500, time.time() - 500))  # older than the journal: written before it
    studio = open_studio(settings_for(folder, {}))
    assert studio.desk.label_of(0) == "moon"
    studio.desk.close()


def test_a_folder_belongs_to_one_studio_and_to_one_kind(folder, desk_on, journal_at):
    desk = desk_on(folder)
    with pytest.raises(InputError, match="Another studio is open"):
        journal_at(folder / JOURNAL)
    desk.begin("multi-label", CLASSES)
    desk.begin("single-label", CLASSES)  # asked again, as nothing is labelled yet
    desk.label(0, "sun", "a")
    with pytest.raises(InputError, match="chosen before"):
        desk.begin("multi-label", CLASSES)
    with pytest.raises(InputError, match="'sun' stays: images have it"):
        desk.remove_name("sun", "a")
    desk.remove_name("tree", "a")
    assert desk.marks.purpose == Purpose("single-label", ("house", "sun"))
    desk.leave_out(0, True, "a")
    desk.label(0, "house", "a")  # which takes it in
    assert not desk.marks.left_out
    desk.take_back("a")
    assert desk.marks.left_out
    desk.close()
    with pytest.raises(InputError, match="was begun for single-label"):
        desk_on(folder, task="multi-label")


def test_sides_are_kept_and_copies_stay_on_one(scenes, tmp_path, desk_on, journal_at):
    desk = desk_on(scenes / "scenes.csv", images=scenes / "scenes")
    desk._journal.close()
    (scenes / f"scenes.{JOURNAL}").unlink()
    by_side = {
        side: next(at for at, one in enumerate(desk.collection.images) if one.is_valid is side)
        for side in (True, False)
    }
    journal = journal_at(tmp_path / "j.jsonl")
    desk = Desk(desk.collection, journal)
    desk.keep_together(by_side[True], by_side[False], "a")
    write_rows(tmp_path / "all.csv", writing.rows_of(desk.collection, desk.snapshot()))
    source = read_source(tmp_path / "all.csv", images=scenes / "scenes")
    sides = {item.image.name: item.is_valid for item in source.items}
    names = [desk.collection.images[by_side[side]].file.name for side in (True, False)]
    assert sides[names[0]] == sides[names[1]]
    others = {one.file.name: one.is_valid for one in desk.collection.images if one.file.name not in names and one.label}
    assert {name: sides[name] for name in others} == others


def test_an_answer_is_that_of_a_head_that_was_fitted_without_the_label():
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(60, 12, generator=generator)
    marks = (features[:, :3] > 0.3).float()
    labels = {at: tuple(name for name, on in zip(CLASSES, marks[at].tolist(), strict=True) if on) for at in range(40)}
    purpose = Purpose("multi-label", CLASSES)
    taught = Taught.of(purpose, labels, [None] * 60)
    answers = learn(features, taught)
    assert answers.values.shape == (60, 3)
    assert float(((answers.values[40:] > 0.5) == marks[40:].bool()).double().mean()) > 0.8
    assert torch.equal(taught.targets, marks[:40])
    assert float((answers.held_out - answers.values[:40]).abs().max()) > 0.01
    found = score(features, answers)
    assert found.n == 40
    assert not found.on_valid
    assert [one.n for one in found.classes] == marks[:40].sum(0).int().tolist()
    assert found.whole.low <= found.whole.value <= found.whole.high
    chosen = next_images(features, answers, list(range(40, 60)), list(range(40)), 5)
    assert len(set(chosen)) == 5
    assert min(chosen) >= 40
    sided = Taught.of(purpose, labels, [at % 2 == 0 for at in range(60)])
    assert score(features, learn(features, sided)).on_valid
    assert sided.at == list(range(1, 40, 2))
    assert learn(features, Taught.of(purpose, dict.fromkeys(range(9), ("sun",)), [None] * 60)) is None


def test_points_that_change_are_learned_anew(photographs, tmp_path):
    from foveal.studio.points import PointTeacher

    with (photographs / "voc2012_mini" / "head_points.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))[:24]
    files = [photographs / "voc2012_mini" / "train" / row["fname"] for row in rows]
    truth = {at: ((float(row["cx"]), float(row["cy"])),) for at, row in enumerate(rows)}
    purpose = Purpose("points", ("head",))
    changed, fresh = (PointTeacher("tf_efficientnet_lite0", purpose) for _ in range(2))
    changed.learn(dict.fromkeys(range(8), ((0.0, 0.0),)), files, {})
    changed.learn(truth, files, {})
    assert not changed.is_behind(truth)
    expected = fresh.learn({at: truth[at] for at in changed._learned}, files, {})
    found = changed.learn(truth, files, {})
    torch.testing.assert_close(found.whole.mean, expected.whole.mean)
    assert found.n_learned == 24
    heads = [changed.points_of(found, file)[0] for file in files]
    off = np.linalg.norm(np.array(heads) - np.array([label[0] for label in truth.values()]), axis=1)
    assert np.median(off) < 25  # of photographs of 224 pixels and more, that it has learned
    assert changed.learn({at: truth[at] for at in range(3)}, files, {}) is None


def test_points_that_are_named_anew_are_learned_by_these_names(folder):
    studio = open_studio(settings_for(folder, {}))
    for names in (("left",), ("left", "right")):
        studio.desk.begin("points", names)
        assert studio._learned(torch.zeros(12, 4), {}) is None
        assert studio._points.names == names
    studio.desk.close()


@pytest.fixture
def running(folder):
    with studio_of(folder) as service:
        yield service


def test_only_this_machine_and_this_page_are_answered(running):
    assert running.ask("GET", "/state?session=a", headers={"Host": "evil.example.com"})[0] == 421
    odd = {"Origin": "https://evil.example.com", "Sec-Fetch-Site": "cross-site", "Content-Type": "application/json"}
    given = json.dumps({"session": "a", "names": ["a"], "task": "single-label"})
    assert running.ask("POST", "/begin", given, odd)[0] == 403
    status, headers, _ = running.ask("GET", "/")
    assert status == 200
    assert "default-src 'none'" in headers["content-security-policy"]


def test_a_refusal_says_what_is_expected(running):
    assert (
        "Say first what is labelled" in running.post("/decide", {"session": "a", "image": 0, "label": []})[1]["error"]
    )
    refused = running.post("/begin", {"session": "a", "names": ["cat"], "task": "multi-lable"})
    assert "Did you mean `multi-label`?" in refused[1]["error"]
    assert running.post("/begin", {"session": "a", "names": CLASSES, "task": "multi-label"})[0] == 200
    assert running.post("/decide", {"session": "a", "image": 99, "label": []}) == (
        422,
        {"error": "There are 12 images; got number 99."},
    )
    assert "no class here" in running.post("/decide", {"session": "a", "image": 0, "label": ["moon"]})[1]["error"]
    assert running.post("/decide", {"session": "a", "image": 0, "lable": []})[0] == 422
    assert running.ask("GET", "/large/0")[2][:2] == b"\xff\xd8"
    assert running.post("/export", {"format": "xml"})[0] == 422
    assert running.json("GET", "/hand-over/model")[0] == 404


def test_a_studio_that_is_killed_or_ended_begins_where_it_was(folder):
    with studio_of(folder, "--task", "single-label", "--names", "sun,tree") as service:
        for at in range(5):
            assert service.post("/decide", {"session": "a", "image": at, "label": "sun"})[0] == 200
        service.process.kill()
        service.process.wait()
    with studio_of(folder) as service:
        assert service.json("GET", "/state?session=a")[1]["n_labelled"] == 5
        assert service.post("/back", {"session": "a"})[1]["images"] == [4]
        assert service.end() == 0
    assert (folder / "labels.csv").read_text().count(",sun") == 4


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--names", "a,b"], "--names needs --task"),
        (["--task", "regression"], "regression"),
        (["--labels", "a"], "No such option"),
    ],
)
def test_the_command_refuses_by_name(foveal, folder, words, message):
    printed = foveal("studio", folder, "--no-browser", *words, code=2)
    assert message in printed.err + printed.out


def test_ratings_and_empty_folders_are_refused(foveal, tmp_path):
    (tmp_path / "none").mkdir()
    assert "holds no images" in foveal("studio", tmp_path / "none", "--no-browser", code=2).err
    (tmp_path / "ratings.csv").write_text(
        "user,item,rating\n" + "".join(f"{n % 9},{n % 7},{n % 5}\n" for n in range(90))
    )
    assert "is for images" in foveal("studio", tmp_path / "ratings.csv", "--no-browser", code=2).err


def test_what_a_service_collected_opens_and_both_may_write(scenes, tmp_path, desk_on):
    corrections = tmp_path / "corrections"
    collector = Collector(corrections, 10**9, MultiLabel(Vocab(CLASSES)), "0123")
    files = sorted((scenes / "scenes").iterdir())[:4]
    names = [
        collector.keep(file.read_bytes(), labels, ["sun"])
        for file, labels in zip(files, (["house", "tree"], [], ["sun"], ["tree"]), strict=True)
    ]
    desk = desk_on(corrections / "corrections.csv", empty="none")
    assert {one.name: one.label for one in desk.collection.images} == dict(
        zip(names, (("house", "tree"), (), ("sun",), ("tree",)), strict=True)
    )
    later = collector.keep(sorted((scenes / "scenes").iterdir())[5].read_bytes(), ["sun", "tree"], [])
    collector.keep(files[3].read_bytes(), ["house"], [])  # corrected again, while the studio is open
    at = next(at for at, one in enumerate(desk.collection.images) if one.name == names[2])
    desk.label(at, ["house", "sun"], "a")
    assert write_marks(desk.collection, desk.snapshot()).why_beside == ""
    collector.keep(files[0].read_bytes(), ["tree"], ["house"])
    rows = {row["fname"]: row for row in rows_of(corrections / "corrections.csv")}
    assert {name: row["labels"] for name, row in rows.items()} == {
        names[0]: "tree",
        names[1]: "",
        names[2]: "house;sun",
        names[3]: "house",
        later: "sun;tree",
    }
    assert rows[names[2]]["answered"] == "sun"
