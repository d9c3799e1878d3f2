"""Radii of points: they hold the truth as often as they say, scale with the image, and are the same wherever shown."""

import json
import math
import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from fastapi.testclient import TestClient
from matplotlib.patches import Circle

import foveal as library
from foveal.core.errors import InputError
from foveal.evaluation.predictions import Predictions, predict_dataset
from foveal.evaluation.radii import FEWEST, coverage_of, fit_radii
from foveal.evaluation.show import results_sheet
from foveal.geometry.homography import Homography
from foveal.images.prepare import IMAGENET, Preparation
from foveal.inference.exports import export_model
from foveal.inference.loading import load_learner
from foveal.inference.prediction import Prediction
from foveal.inference.predictor import Predictor
from foveal.inference.store import read_bundle
from foveal.learner.vision import vision_learner
from foveal.metrics.conformal import conformal_quantile
from foveal.models.vision import ModelSpec, build_model
from foveal.runs.run import Run
from foveal.serve.http import app_of
from foveal.serve.service import ServeSettings
from foveal.sources.synthetic import write_scenes
from foveal.tasks.base import Decision
from foveal.tasks.confidence import json_of, legend_of, radius_note, radius_of, row_of, spread_of
from foveal.tasks.multi_label import MultiLabel
from foveal.tasks.points import Points
from foveal.tasks.vocab import Vocab


def predictions_of(errors, spread, task=None):
    """Predictions [n, N] that are off by so much, NaN for an unknown truth."""
    n, n_points = errors.shape
    task = task or Points(n_points)
    labels = [np.zeros((n_points, 2))] * n
    targets = torch.stack([errors, torch.where(errors.isnan(), errors, 0.0)], dim=2)
    return Predictions(
        [f"{at}.jpg" for at in range(n)], torch.zeros(n, n_points, 2), labels, targets, task, spread=spread
    )


def errors_like(spread, generator):
    """Errors whose size is the spread's, with a heavy tail, as those of a model that is sometimes lost."""
    return spread * torch.randn(spread.shape, generator=generator, dtype=torch.float64).abs() ** 3


# Conformal prediction ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n", "share", "place"), [(9, 0.9, 9), (19, 0.9, 18), (99, 0.9, 90), (100, 0.9, 91), (3, 0.5, 2)]
)
def test_the_bound_is_the_value_in_the_place_of_the_corrected_quantile(n, share, place):
    ratios = torch.randperm(n).double() + 1
    assert conformal_quantile(ratios, share) == place
    unknown = torch.cat([ratios, torch.full((7,), torch.nan, dtype=torch.float64)])
    assert conformal_quantile(unknown, share) == place


def test_too_few_ratios_give_no_bound():
    assert FEWEST == 9
    assert conformal_quantile(torch.rand(FEWEST - 1)) is None
    assert conformal_quantile(torch.rand(FEWEST)) is not None
    assert conformal_quantile(torch.zeros(0)) is None


@pytest.mark.parametrize("n", [9, 19, 40])
def test_one_more_ratio_lies_within_the_bound_as_often_as_its_place_says(n):
    """Of exchangeable ratios, whatever their distribution: k of n + 1, k the bound's place."""
    generator = torch.Generator().manual_seed(n)
    draws = torch.randn(20_000, n + 1, generator=generator).exp()
    place = math.ceil((n + 1) * 0.9 - 1e-9)
    bounds = draws[:, :n].sort(dim=1).values[:, place - 1]
    assert conformal_quantile(draws[0, :n]) == pytest.approx(float(bounds[0]))
    held = float((draws[:, n] <= bounds).double().mean())
    assert held == pytest.approx(place / (n + 1), abs=4 * math.sqrt(0.09 / 20_000))
    assert place / (n + 1) >= 0.9


def test_radii_hold_the_truth_in_nine_of_ten_new_images_point_by_point():
    generator = torch.Generator().manual_seed(0)
    held = []
    for _ in range(40):
        spread = torch.rand(1200, 2, generator=generator, dtype=torch.float64) * 30 + 1
        errors = errors_like(spread, generator) * torch.tensor([1.0, 5.0])  # the second point is five times as hard
        fitted = fit_radii(predictions_of(errors[:200], spread[:200]))
        assert fitted.factors[1] > 2 * fitted.factors[0]
        assert fitted.known == (200, 200)
        task = Points(2, Decision(radius_factors=fitted.factors))
        new = predictions_of(errors[200:], spread[200:], task).with_decision(task.decision)
        held.append((coverage_of(new), (errors[200:] <= new.radius).double().mean(dim=0)[1], fitted.coverage))
    overall, second, on_halves = np.mean(held, axis=0)
    assert overall == pytest.approx(0.9, abs=0.01)
    assert second == pytest.approx(0.9, abs=0.01)
    assert on_halves == pytest.approx(0.9, abs=0.01)


def test_unknown_points_are_left_out_and_a_point_without_a_radius_is_named():
    generator = torch.Generator().manual_seed(1)
    spread = torch.rand(50, 2, generator=generator, dtype=torch.float64) + 1
    errors = errors_like(spread, generator)
    errors[FEWEST - 1 :, 1] = torch.nan
    named = Points(2, point_names=("eye", "nose"))
    fitted = fit_radii(predictions_of(errors, spread, named))
    assert fitted.factors == (conformal_quantile(errors[:, 0] / spread[:, 0]), None)
    assert fitted.without == {"nose": FEWEST - 1}
    assert math.isnan(fitted.coverages[1])
    assert fitted.coverage == fitted.coverages[0]
    task = named.with_decision(Decision(radius_factors=fitted.factors))
    assert radius_note(task, 0.8949) == (
        "The radius of a point holds the truth in 90 of 100 new images like those of validation. Chosen on one half of "
        "the validation images, it held the truth in 89.5 of 100 images of the other. Without a radius, for too few "
        "images with a known place: nose."
    )
    radius = radius_of(task, spread)
    assert radius[:, 1].isnan().all()
    torch.testing.assert_close(radius[:, 0], spread[:, 0] * fitted.factors[0])
    with pytest.raises(InputError, match="A radius needs 9 images with a known place or more; there are 8"):
        fit_radii(predictions_of(errors[: FEWEST - 1], spread[: FEWEST - 1], named))
    with pytest.raises(InputError, match=r"A radius needs the spread of each answer.*validation_predictions"):
        fit_radii(predictions_of(errors, None, named))


# The spread -------------------------------------------------------------------------------------------------------


def spreads(logits, source_to_unit, task=None):
    task = task or Points(logits.shape[1])
    return spread_of(task, logits, task.activate(logits), Homography.stack([source_to_unit.inverse] * len(logits)))


def test_the_spread_is_the_distance_that_the_heatmap_expects():
    """Against the plain sum over cells in source pixels, cell by cell."""
    logits = torch.randn(2, 3, 4, 6, generator=torch.Generator().manual_seed(0)) * 3
    source_to_unit = Homography.scaling(0.5, 0.25).then(Homography.translation(3, -1), Homography.unit_frame((40, 60)))
    found = spreads(logits, source_to_unit)
    cell = np.array([60 / 6 / 0.5, 40 / 4 / 0.25])  # in source pixels
    for image in range(2):
        for point in range(3):
            chance = logits[image, point].double().flatten().softmax(dim=0).numpy()
            centres = np.array([((at % 6 + 0.5) * cell[0], (at // 6 + 0.5) * cell[1]) for at in range(24)])
            answer = chance @ centres
            expected = chance @ np.sqrt(((centres - answer) ** 2).sum(axis=1) + (cell**2).sum() / 12)
            assert float(found[image, point]) == pytest.approx(expected, rel=1e-5)


def test_a_sharp_heatmap_has_the_spread_of_a_cell_and_a_divided_one_that_of_its_parts():
    frame = Homography.unit_frame((100, 100))
    logits = torch.full((1, 2, 10, 10), -60.0)
    logits[0, 0, 3, 4] = logits[0, 1, 5, 0] = logits[0, 1, 5, 8] = 60.0
    sharp, divided = spreads(logits, frame)[0].tolist()
    assert sharp == pytest.approx(math.hypot(10, 10) / math.sqrt(12), rel=1e-6)
    assert divided == pytest.approx(math.hypot(40, sharp), rel=1e-6)


def test_the_spread_scales_with_the_source_image_and_does_not_mind_turns():
    logits = torch.randn(3, 2, 7, 7, generator=torch.Generator().manual_seed(2)) * 4
    frame = Homography.unit_frame((64, 64))
    plain = spreads(logits, frame)
    torch.testing.assert_close(spreads(logits, Homography.scaling(1 / 5, 1 / 5).then(frame)), plain * 5)
    torch.testing.assert_close(spreads(logits, Homography.rotation(33).then(frame)), plain)
    swapped = Points(2, flip_pairs=((0, 1),))
    torch.testing.assert_close(spreads(logits, Homography.scaling(-1, 1).then(frame), swapped), plain.flip(1))


def test_without_heatmaps_the_spread_is_the_diagonal_of_the_image():
    source_to_unit = Homography.scaling(48 / 300, 48 / 400).then(Homography.unit_frame((48, 48)))
    output = torch.randn(4, 6)
    np.testing.assert_allclose(spreads(output.reshape(4, 6), source_to_unit, Points(3)).numpy(), np.full((4, 3), 500.0))


# The decision, and what is written of it ---------------------------------------------------------------------------


def test_factors_travel_with_the_decision_and_what_is_usual_is_not_written():
    assert "radius_factors" not in Decision(temperature=0.5).to_dict()
    decision = Decision(radius_factors=(0.25, None))
    assert Decision.from_dict(json.loads(json.dumps(decision.to_dict()))) == decision
    assert Decision.from_dict({"thresholds": [], "temperature": 1.0}).radius_factors == ()
    task = Points(2, decision)
    assert Points.from_dict(json.loads(json.dumps(task.to_dict()))) == task
    with pytest.raises(InputError, match=r"A factor of radii is a number from 0 on, or None for no radius; got -1"):
        Decision(radius_factors=(-1.0,))
    with pytest.raises(InputError, match=r"2 points need a factor each; got \(1\.0,\)"):
        Points(2, Decision(radius_factors=(1.0,)))


@pytest.mark.parametrize(
    ("names", "columns"),
    [
        ((), ("x", "y", "radius")),
        (("eye", "nose"), ("eye_x", "eye_y", "nose_x", "nose_y", "eye_radius", "nose_radius")),
    ],
)
def test_columns_and_json_name_what_they_hold(names, columns):
    n = max(1, len(names))
    task = Points(n, Decision(radius_factors=(2.0,) * n), names)
    label, radius = np.arange(2.0 * n).reshape(n, 2), np.arange(n) + 7.5
    assert row_of(task, None, label, radius) == dict(zip(columns, [*label.reshape(-1), *radius], strict=True))
    assert list(row_of(task, None, label, None)) == list(task.names)
    points = json_of(task, None, label, radius)["points"]
    assert [point["radius"] for point in points] == radius.tolist()
    plain = [{key: value for key, value in point.items() if key != "radius"} for point in points]
    assert json_of(task, None, label, None) == {"points": plain} == task.to_json(None, label)
    assert list(row_of(Points(2), None, np.zeros((2, 2)), np.ones(2)))[-2:] == ["radius1", "radius2"]


def test_a_prediction_stays_a_tuple_of_three():
    answer = Prediction("a", torch.ones(1), torch.zeros(1), spread=np.ones(1), radius=np.array([2.5]))
    label, decoded, values = answer
    assert (label, decoded, values) == (answer.label, answer.decoded, answer.values)
    again = pickle.loads(pickle.dumps(answer))  # noqa: S301 -- made here; Ray sends it so
    np.testing.assert_array_equal(again.radius, answer.radius)
    np.testing.assert_array_equal(again.spread, answer.spread)
    assert repr(answer).endswith("radius=array([2.5]))")
    assert Prediction("a", label, values).radius is None
    assert "radius" not in repr(Prediction("a", label, values))


def predictor(task, head="spatial"):
    torch.manual_seed(1)
    model = build_model(ModelSpec("test_efficientnet", task.n_outputs if head != "spatial" else 2 * task.n_points,
                                  (64, 64), task.y_range if head != "spatial" else None, head))  # fmt: skip
    if head == "spatial":
        torch.nn.init.normal_(model[1][1].weight)
    return Predictor.of(model, task, Preparation.of((64, 64), "squish", IMAGENET))


def test_a_bundle_keeps_its_radii_and_one_without_them_has_none(tmp_path):
    image = np.random.default_rng(0).integers(0, 255, (90, 120, 3), dtype=np.uint8)
    plain, known = predictor(Points(2)), predictor(Points(2, Decision(radius_factors=(0.5, None))))
    for model, name in ((plain, "plain"), (known, "known")):
        model.save(tmp_path / f"{name}.safetensors")
    before, after = known.predict(image), load_learner(tmp_path / "known.safetensors").predict(image)
    np.testing.assert_array_equal(after.radius, before.radius)
    assert after.radius[0] == pytest.approx(0.5 * after.spread[0])
    assert math.isnan(after.radius[1])
    old = load_learner(tmp_path / "plain.safetensors")
    assert old.predict(image).radius is None
    np.testing.assert_array_equal(old.predict(image).spread, before.spread)
    np.testing.assert_array_equal(old.predict(image).label, before.label)
    manifest = read_bundle(tmp_path / "plain.safetensors").manifest
    assert manifest.task["decision"] == {"thresholds": [], "temperature": 1.0}  # as version 0.1 wrote it


def test_radii_of_a_larger_copy_of_an_image_are_as_much_larger():
    model = predictor(Points(2, Decision(radius_factors=(0.5, 2.0))))
    small, large = (model.predict(np.full((n, n, 3), 90, dtype=np.uint8)) for n in (70, 210))  # alike at 64 pixels
    np.testing.assert_allclose(large.radius, 3 * small.radius, rtol=1e-9)
    np.testing.assert_allclose(large.label, 3 * small.label, rtol=1e-9)


def test_tasks_without_confidence_have_no_spread():
    task = MultiLabel(Vocab(("a", "b")))
    model = build_model(ModelSpec("test_resnet", 2, (64, 64), None, "linear"))
    answer = Predictor.of(model, task, Preparation.of((64, 64), "crop", IMAGENET)).predict(
        np.zeros((64, 64, 3), np.uint8)
    )
    assert (answer.spread, answer.radius) == (None, None)
    for each in (task, task.with_decision(Decision(radius_factors=(1.0, 2.0)))):  # as a file that was made up may say
        assert (radius_note(each), legend_of(each), radius_of(each, None)) == ("", task.legend, None)


def test_an_exported_model_says_that_it_has_no_radius(tmp_path):
    model = predictor(Points(1, Decision(radius_factors=(0.5,))))
    export_model(model, tmp_path / "m.pt2", to="torch-export")
    assert "the radius of points" in json.loads((tmp_path / "m.pt2.json").read_text())["not_exported"]
    export_model(predictor(Points(1)), tmp_path / "n.pt2", to="torch-export")
    assert "not_exported" not in json.loads((tmp_path / "n.pt2.json").read_text())


# A whole run -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def balloons(tmp_path_factory):
    """A folder with a table of enough balloons to choose a radius on, half of them to validate."""
    folder = tmp_path_factory.mktemp("balloons")
    write_scenes(folder, n=200)
    frame = pd.read_csv(folder / "balloons.csv")
    frame["is_valid"] = np.arange(len(frame)) % 2 == 0
    frame.to_csv(folder / "balloons.csv", index=False)
    return folder


@pytest.fixture(scope="module")
def run(balloons):
    return library.train(
        balloons / "balloons.csv",
        images=balloons / "scenes",
        points="x,y",
        size=64,
        epochs=1,
        batch_size=4,
        out=balloons / "run",
    )


def test_a_run_chooses_radii_and_says_what_they_mean(run, foveal):
    summary = json.loads((run.folder / "summary.json").read_text())
    decided = summary["decision"]["radius"]["point 1"]
    task = run.predictor().task
    assert task.decision.radius_factors == (decided["factor"],)
    predictions = Predictions.load(run.folder / "predictions.safetensors")
    assert decided["images"] == len(predictions.labels) >= FEWEST
    assert fit_radii(predictions).factors == task.decision.radius_factors
    rows = run.predictions
    np.testing.assert_allclose(rows.radius, predictions.radius[:, 0], rtol=1e-6)
    assert summary["metrics"]["median_radius_pixels"] == pytest.approx(rows.radius.median(), rel=1e-6)
    assert set(run.metrics) >= {"radius_coverage", "median_radius_pixels"}
    off = np.hypot(*(rows[["x", "y"]].to_numpy() - predictions.targets[:, 0].numpy()).T)
    n = len(off)
    assert (off <= rows.radius + 1e-9).sum() == math.ceil((n + 1) * 0.9 - 1e-9)  # on what they were chosen on
    sentence = "holds the truth in 90 of 100 new images like those of validation"
    assert summary["metrics"]["radius_coverage"] == decided["coverage"] <= 1
    assert sentence in " ".join(foveal("info", run.folder / "model.safetensors").out.split())
    assert sentence in (run.folder / "report.html").read_text()
    assert "median_radius_pixels" in json.loads(foveal("info", run.folder / "model.safetensors", "--json").out)[
        "training"]["figures"]  # fmt: skip


def test_python_csv_json_lines_and_http_give_the_same_radius(run, balloons, tmp_path, foveal):
    model = run.folder / "model.safetensors"
    files = sorted((balloons / "scenes").glob("*.jpg"))[:3]
    answers = [load_learner(model).predict(file) for file in files]
    for name in ("a.csv", "a.jsonl", "a.parquet"):
        foveal("predict", model, *files, "--out", tmp_path / name)
    lines = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    with TestClient(app_of(ServeSettings(model=model)), base_url="http://localhost") as client:
        posted = client.post("/predict", files=[("file", file.read_bytes()) for file in files]).json()["answers"]
        assert client.get("/model").json()["radius_note"] == radius_note(run.predictor().task)
        described = client.get("/openapi.json").json()["components"]["schemas"]["NamedPoint"]["properties"]["radius"]
        assert "90 of 100" in described["description"]
    for at, answer in enumerate(answers):
        expected = pytest.approx(float(answer.radius[0]), rel=1e-5)
        assert pd.read_csv(tmp_path / "a.csv").radius[at] == expected
        assert pd.read_parquet(tmp_path / "a.parquet").radius[at] == expected
        assert lines[at]["radius"] == expected
        assert posted[at]["points"][0]["radius"] == expected
    assert "radius" in foveal("predict", model, files[0]).out


def test_the_sheet_draws_a_circle_of_the_radius_around_each_answer(run):
    predictions = Predictions.load(run.folder / "predictions.safetensors")
    figure = results_sheet(predictions, max_n=3)
    assert "thin circle: holds the truth in 90 of 100 images" in figure.get_suptitle().replace("\n", " ")
    drawn = {round(patch.radius, 6) for axes in figure.axes for patch in axes.patches if isinstance(patch, Circle)}
    known = {round(radius, 6) for radius in predictions.radius[:, 0].tolist()}
    assert len(drawn) == 3
    assert drawn <= known
    for axes in figure.axes[:3]:
        height, width = axes.images[0].get_array().shape[:2]
        assert (axes.get_xlim(), axes.get_ylim()) == ((0, width), (height, 0))  # as the image's, whatever the radius
        cross = next(line for line in axes.lines if line.get_marker() in "x^")
        assert axes.patches[0].center == pytest.approx([cross.get_xdata()[0], cross.get_ydata()[0]]) or (
            cross.get_marker() == "^"
        )


def test_another_split_is_told_how_often_the_radius_holds(run, balloons, foveal):
    result = json.loads(foveal("evaluate", run.folder / "model.safetensors", balloons / "balloons.csv",
                               "--images", balloons / "scenes", "--points", "x,y", "--split", "train").out)  # fmt: skip
    assert 0 <= result["metrics"]["radius_coverage"] <= 1


def test_a_learner_chooses_radii_from_one_pass(scene_loaders, tmp_path):
    learn = vision_learner(scene_loaders(points=True, bs=4), "test_resnet", pretrained=False)
    predictions = learn.validation_predictions()
    if len(predictions.labels) < FEWEST:
        with pytest.raises(InputError, match="A radius needs 9 images"):
            learn.calibrate_radius(predictions)
        predictions = predict_dataset(learn.predictor(), learn.dls.train.dataset)
    assert predictions.radius is None
    fitted = learn.calibrate_radius(predictions)
    assert learn.task.decision.radius_factors == fitted.factors
    again = predict_dataset(learn.predictor(), learn.dls.train.dataset)
    if len(again.labels) == len(predictions.labels):
        torch.testing.assert_close(predictions.with_decision(learn.task.decision).radius, again.radius)
    loaded = load_learner(learn.export(tmp_path / "m.safetensors"))
    assert loaded.task.decision.radius_factors == fitted.factors


def test_labels_have_no_radius(scene_loaders):
    learn = vision_learner(scene_loaders(), "test_resnet", pretrained=False)
    with pytest.raises(InputError, match="A radius is for tasks of points; this task is multi-label"):
        learn.calibrate_radius()


def test_predictions_keep_radii_through_files_and_folds(tmp_path):
    generator = torch.Generator().manual_seed(3)
    spread = torch.rand(20, 2, generator=generator, dtype=torch.float64) + 1
    both = []
    for factor in (0.5, 2.0):
        decision = Decision(radius_factors=(factor, None))
        both.append(predictions_of(errors_like(spread, generator), spread, Points(2)).with_decision(decision))
    joined = Predictions.concatenate(both)
    torch.testing.assert_close(joined.radius[:, 0], torch.cat([spread[:, 0] * 0.5, spread[:, 0] * 2.0]))
    joined.save(tmp_path / "p.safetensors")
    loaded = Predictions.load(tmp_path / "p.safetensors")
    torch.testing.assert_close(loaded.radius, joined.radius, equal_nan=True)
    torch.testing.assert_close(loaded.spread, joined.spread)
    without = predictions_of(errors_like(spread, generator), None)
    without.save(tmp_path / "q.safetensors")
    assert Predictions.load(tmp_path / "q.safetensors").radius is None
    assert Predictions.concatenate([without, both[0]]).radius is None
    assert [row["radius1"] for row in loaded.rows()] == joined.radius[:, 0].tolist()
    assert math.isnan(coverage_of(without))


def test_a_point_without_a_radius_is_warned_of_by_name(scene_loaders):
    learn = vision_learner(scene_loaders(points=True, bs=4), "test_resnet", pretrained=False)
    spread = torch.ones(30, 1, dtype=torch.float64)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        learn.calibrate_radius(predictions_of(spread, spread))
    errors = torch.ones(30, 2, dtype=torch.float64)
    errors[5:, 1] = torch.nan
    two = vision_learner(
        scene_loaders(points=True, bs=4, get_y=lambda r: [r["x"], r["y"]] * 2), "test_resnet", pretrained=False
    )
    found = predictions_of(errors, torch.ones_like(errors), Points(2, point_names=("eye", "nose")))
    with pytest.warns(
        UserWarning, match=r"No radius where fewer than 9 validation images have a known place: nose \(5\)"
    ):
        two.calibrate_radius(found)


def test_a_run_is_reopened_with_its_radii(run):
    assert Run(run.folder).predictions.columns.tolist() == ["fname", "x", "y", "true_x", "true_y", "loss", "radius"]
