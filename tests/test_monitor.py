"""Whether what a model is asked is still like what it was validated on: the index, the counts, service and command."""

import csv
import datetime as dt
import json
import re
import signal

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter

from foveal.core.errors import InputError, ModelFileError
from foveal.evaluation.figures import decide_anew
from foveal.images.prepare import IMAGENET, Preparation
from foveal.inference.loading import load_image_predictor
from foveal.inference.predictor import Predictor
from foveal.inference.reference import Histogram, Tally, count_answer, drift_of
from foveal.inference.signals import (
    DISTANCE,
    signal_names,
    signals_of,
)
from foveal.inference.store import read_bundle
from foveal.inference.territory import Territory
from foveal.inference.watching import CountingFolder, read_watched
from foveal.metrics.stability import stability_index
from foveal.models.vision import ModelSpec, build_model
from foveal.tasks.multi_label import MultiLabel
from foveal.tasks.points import Points
from foveal.tasks.single_label import SingleLabel
from foveal.tasks.vocab import Vocab
from serving import serving

pytestmark = pytest.mark.filterwarnings("ignore:The label `.*` occurs in validation only")


def true_index(p, q):
    return float(((q - p) * np.log(q / p)).sum())


@pytest.mark.parametrize(("n", "m"), [(100, 200), (300, 300), (300, 5000), (5000, 300)])
@pytest.mark.parametrize("tilt", [0.0, 0.4, 1.0])
def test_the_index_is_right_on_average_and_its_interval_holds_the_truth(n, m, tilt):
    rng = np.random.default_rng(0)
    p = np.full(10, 0.1)
    q = np.exp(np.linspace(-tilt, tilt, 10))
    q /= q.sum()
    found = [stability_index(rng.multinomial(n, p), rng.multinomial(m, q)) for _ in range(200)]
    truth = true_index(p, q)
    assert np.mean([one.low <= truth <= one.high for one in found]) >= 0.92
    assert abs(np.median([one.value for one in found]) - truth) < 0.25 * truth + 2 * 9 * (1 / n + 1 / m) / 9
    if tilt == 0:
        assert np.mean([one.low > 0.1 for one in found]) == 0


def test_the_index_of_large_samples_is_the_formula():
    before, now = [4000, 3000, 2000, 1000], [1000, 2000, 3000, 4000]
    p, q = np.array(before) / 10_000, np.array(now) / 10_000
    assert stability_index(before, now).value == pytest.approx(true_index(p, q), abs=2e-3)
    doubled = stability_index([2 * n for n in before], now)
    assert doubled.value == pytest.approx(true_index(p, q), abs=2e-3)


def test_rare_bins_are_taken_together_and_nothing_to_compare_is_nan():
    many = [500, 400]
    rare = stability_index([*many, 2, 2, 1], [*many, 0, 3, 2])
    assert rare == stability_index([*many, 5], [*many, 5])
    assert stability_index([500, 4], [500, 400]).high != stability_index([500, 4], [500, 400]).high  # NaN
    for nothing in ([], [10]):
        assert np.isnan(stability_index(nothing, nothing).value)
    assert np.isnan(stability_index([10, 10], [0, 0]).value)


def test_bins_hold_the_reference_evenly_and_ties_once():
    rng = np.random.default_rng(0)
    spread = Histogram.of(rng.random(1000).astype(np.float32))
    assert len(spread.counts) == 10
    assert min(spread.counts) >= 99
    tied = Histogram.of(np.array([1.0] * 90 + [2.0] * 10, np.float32))
    assert sum(tied.counts) == 100
    assert len(tied.counts) == len(tied.edges) + 1
    assert Histogram.of(np.zeros(3, np.float32)).counts == [3]
    outside = spread.emptied()
    for value in (-1e30, 1e30, float(spread.edges[0])):
        outside.add(value)
    assert outside.counts == [2, *[0] * 8, 1]  # a value at an edge is below it


def test_signals_of_each_kind():
    one, several = SingleLabel(Vocab(("a", "b"))), MultiLabel(Vocab(("a", "b")))
    values = torch.tensor([[0.9, 0.1], [0.4, 0.6]])
    assert signals_of(one, values)[:, 0].tolist() == pytest.approx([0.9, 0.6])
    assert signals_of(several, values)[:, 0].tolist() == pytest.approx([0.9, 0.6])
    points = Points(2)
    places = torch.tensor([[[-1.0, 0.0], [0.0, 0.5]]])
    spread = torch.tensor([[0.1, 0.3]])
    assert dict(
        zip(signal_names(points), signals_of(points, places, spread)[0].tolist(), strict=True)
    ) == pytest.approx({"x": -0.5, "y": 0.25, "spread": 0.2})


def small_predictor(reference=None, territory=None):
    torch.manual_seed(0)
    task = MultiLabel(Vocab(("a", "b", "c", "d")))
    model = build_model(ModelSpec("test_efficientnet", 4, (32, 32), None, "linear"))
    predictor = Predictor.of(model, task, Preparation.of((32, 32), "crop", IMAGENET))
    predictor.training = predictor.training.model_copy(update={"reference": reference})
    predictor.territory = territory
    return predictor


@pytest.mark.parametrize(
    ("reference", "territory", "message"),
    [
        (Tally(labels={"a": 1, "b": 2}), None, "counts of validation answers are not those of its task"),
        (Tally(signals={"size": Histogram(edges=(), counts=[1])}), None, "are not those of its task"),
        (Tally(), Territory(torch.ones(7)), "where 7 features lie; its model has"),
        (Tally(), Territory(torch.ones(7, 7)), r"does not say where features lie.*\[7, 7\]"),
        (Tally(), Territory(torch.ones(7), torch.ones(2, 6)), r"does not say where features lie.*\[7\], \[2, 6\]"),
    ],
)
def test_a_bundle_that_compares_with_something_else_is_refused(tmp_path, reference, territory, message):
    small_predictor(reference, territory).save(tmp_path / "m.safetensors")
    with pytest.raises(ModelFileError, match=message):
        load_image_predictor(tmp_path / "m.safetensors")


@pytest.fixture(scope="module")
def trained(photographs, tmp_path_factory):
    """A run on 300 photographs and the photographs that it did not see."""
    import foveal

    folder = tmp_path_factory.mktemp("monitor")
    images = photographs / "voc2012_mini" / "train"
    with (photographs / "voc2012_mini" / "train.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    order = np.random.default_rng(0).permutation(len(rows))
    with (folder / "table.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["fname", "labels", "is_valid"])
        writer.writerows([rows[at]["fname"], rows[at]["labels"], n % 2] for n, at in enumerate(order[:400]))
    foveal.train(folder / "table.csv", images=images, size=64, recipe="probe", epochs=0, out=folder / "run")
    return folder / "run" / "model.safetensors", [images / rows[at]["fname"] for at in order[400:700]]


def tally_of(predictor, images):
    tally = predictor.training.reference.emptied()
    for answer in predictor.predict_batch(images):
        count_answer(tally, predictor.task, answer)
    return tally


def blurred(images, folder):
    folder.mkdir(exist_ok=True)
    for file in images:
        with Image.open(file) as image:
            image.filter(ImageFilter.GaussianBlur(10)).save(folder / file.name)
    return sorted(folder.iterdir())


def test_new_images_of_the_same_kind_show_no_change_and_others_do(trained, photographs, tmp_path):
    model, others = trained
    predictor = load_image_predictor(model)
    reference = predictor.training.reference
    assert reference.n == 200
    assert set(reference.signals) == {"confidence", DISTANCE}
    same = drift_of(reference, tally_of(predictor, others))
    assert same.change == "none"
    assert same.rates == ()
    far = drift_of(reference, tally_of(predictor, blurred(others, tmp_path / "blurred")))
    assert far.change == "large"
    assert {shift.name: shift.change for shift in far.shifts}[DISTANCE] == "large"
    pets = drift_of(reference, tally_of(predictor, sorted((photographs / "pets_mini" / "images").glob("*.jpg"))))
    assert {shift.name: shift.change for shift in pets.shifts}["labels"] in ("small", "large")
    fewer = {rate.label: rate.now.value < rate.reference for rate in pets.rates}
    assert fewer.get("person")  # the photographs of pets show pets alone
    assert drift_of(reference, tally_of(predictor, others[:29])).shifts == ()


def test_another_decision_has_a_reference_of_its_own(trained, tmp_path):
    predictor = load_image_predictor(trained[0])
    before = predictor.training.reference
    name = max(before.labels, key=before.labels.get)
    decided = decide_anew(predictor, thresholds={name: 0.999}).predictor
    decided.save(tmp_path / "set.safetensors")
    after = read_bundle(tmp_path / "set.safetensors").manifest.training.reference
    assert after.labels[name] < before.labels[name]
    assert {other: n for other, n in after.labels.items() if other != name} == {
        other: n for other, n in before.labels.items() if other != name
    }
    assert after.signals == before.signals
    warmer = decide_anew(predictor, temperature=3.0).predictor.training.reference
    assert warmer.labels == before.labels
    assert warmer.signals[DISTANCE] == before.signals[DISTANCE]
    assert warmer.signals["confidence"] != before.signals["confidence"]


def test_the_command_answers_for_images_and_for_what_a_service_counted(trained, foveal, tmp_path):
    model, others = trained
    printed = json.loads(foveal("monitor", *others[:60], "--model", model, "--json").out)
    assert printed[0]["change"] in ("none", "unclear")
    files = blurred(others[:100], tmp_path / "blurred")
    text = foveal("monitor", tmp_path / "blurred", "--model", model, "--exit-code", code=1).out
    assert "changed much: look now" in text
    assert max(map(len, text.splitlines())) <= 80
    counts = tmp_path / "counts"
    with serving(model, "--monitor", counts) as service:
        for file in files:
            assert service.ask("POST", "/predict", file.read_bytes(), {"Content-Type": "image/jpeg"})[0] == 200
        metrics = service.ask("GET", "/metrics")[2].decode()
    drawn = dict(re.findall(r"^foveal_drift_index\{(.*)\} (.*)$", metrics, re.MULTILINE))
    assert float(drawn['bound="low",signal="feature distance"']) > 0.25
    assert "foveal_drift_images 100.0" in metrics
    (watched,) = json.loads(foveal("monitor", counts, "--json", "--exit-code", code=1).out)
    (asked,) = json.loads(foveal("monitor", tmp_path / "blurred", "--model", model, "--json").out)
    same = ("images", "signals", "labels", "sha256", "change", "model")
    assert {name: watched[name] for name in same} == {name: asked[name] for name in same}
    kept = "".join(file.read_text() for file in counts.rglob("*.json"))
    assert not any(file.stem in kept for file in files)
    assert "run" in foveal("monitor", counts, "--days", 1).out


def test_processes_count_together_and_a_killed_one_loses_a_minute_at_most(trained, foveal, tmp_path):
    model, others = trained
    counts = tmp_path / "counts"
    image = others[0].read_bytes()
    with serving(model, "--monitor", counts, "--workers", "2") as service:
        for _ in range(40):
            assert service.ask("POST", "/predict", image, {"Content-Type": "image/jpeg"})[0] == 200
    assert json.loads(foveal("monitor", counts, "--json").out)[0]["images"] == 40
    with serving(model, "--monitor", counts) as service:
        for _ in range(5):
            service.ask("POST", "/predict", image, {"Content-Type": "image/jpeg"})
        service.end(signal.SIGKILL)
    assert json.loads(foveal("monitor", counts, "--json").out)[0]["images"] == 40


def counting(folder, reference, hours):
    process = CountingFolder.begin(folder, "m", "ab" * 32, reference)
    tally = reference.emptied()
    for _ in range(50):
        tally.add({}, ["a"])
    for hour in hours:
        process.write(hour, tally.model_dump_json())


def test_days_that_are_asked_about(tmp_path):
    reference = Tally(n=100, labels={"a": 50, "b": 50})
    now = dt.datetime.now(dt.UTC).replace(minute=0, second=0, microsecond=0)
    counting(tmp_path, reference, [now, now - dt.timedelta(days=10), now - dt.timedelta(days=2)])
    (whole,) = read_watched(tmp_path)
    assert (whole.drift.n, whole.last - whole.first) == (150, dt.timedelta(days=10))
    assert whole.drift.change == "large"
    (late,) = read_watched(tmp_path, since=now - dt.timedelta(days=3))
    assert late.drift.n == 100
    (none,) = read_watched(tmp_path, since=now + dt.timedelta(days=3))
    assert (none.drift.n, none.first, none.drift.change) == (0, None, "unclear")


@pytest.mark.parametrize("content", ["", "{", '{"n": -1}', '{"n": 1, "labels": {"z": 1}}', "[" * 100_000])
def test_counts_that_are_damaged_are_named(tmp_path, content):
    reference = Tally(n=100, labels={"a": 50, "b": 50})
    counting(tmp_path, reference, [dt.datetime(2026, 1, 2, 3, tzinfo=dt.UTC)])
    (file,) = tmp_path.glob("*/2026-*.json")
    file.write_text(content)
    with pytest.raises(InputError, match=re.escape(file.name)):
        read_watched(tmp_path)


def test_what_the_command_cannot_use_is_said(foveal, tmp_path, trained):
    assert "holds no counts of a service" in foveal("monitor", tmp_path, code=2).err
    assert "--model" in foveal("monitor", tmp_path, "--device", "cpu", code=2).err
    assert "--days" in foveal("monitor", tmp_path, "--model", trained[0], "--days", 2, code=2).err
    small_predictor().save(tmp_path / "m.safetensors")
    error = foveal("monitor", tmp_path, "--model", tmp_path / "m.safetensors", code=2).err
    assert "does not say what it answered on validation images" in error
    error = foveal("serve", tmp_path / "m.safetensors", "--monitor", tmp_path / "counts", code=2).err
    assert "with which --monitor compares" in error


def test_a_full_disk_stops_no_answers(tmp_path, caplog):
    from foveal.serve.watcher import Watcher

    reference = Tally(n=100, labels={"a": 50, "b": 50, "c": 0, "d": 0})
    predictor = small_predictor(reference)
    folder = CountingFolder.begin(tmp_path, "m", "ab" * 32, reference)
    watcher = Watcher(predictor.task, reference, folder)
    answer = predictor.predict(np.zeros((40, 40, 3), np.uint8))
    watcher.count(answer)
    stored = folder.folder
    (stored / "model.json").rename(tmp_path / "aside.json")
    stored.rmdir()
    stored.write_text("in the way")
    watcher.finish()
    assert "Counts of answers are not written for now" in caplog.text
    stored.unlink()
    watcher.finish()
    (stored / "model.json").write_text((tmp_path / "aside.json").read_text())
    assert read_watched(tmp_path)[0].drift.n == 1
