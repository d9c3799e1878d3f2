"""Several runs: folds, seeds, comparisons, and what a run's folder says when it is read again."""

import csv
import json
import statistics
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from foveal.core.errors import InputError, ModelFileError
from foveal.data.splits.stratify import KFoldSplitter
from foveal.evaluation.compare import compare
from foveal.evaluation.interpret import Interpretation
from foveal.evaluation.predictions import Predictions
from foveal.images.decode import name_of
from foveal.sources.recognise import read_source
from foveal.tasks.base import Decision
from foveal.tasks.multi_label import MultiLabel
from foveal.tasks.points import Points
from foveal.tasks.regression import Regression
from foveal.tasks.single_label import SingleLabel
from foveal.tasks.vocab import Vocab

VOCAB = Vocab(("ant", "bee", "cat"))
QUICK = ("--size", "32", "--epochs", "1", "--batch-size", "16", "--empty", "none")


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def folds(scenes, tmp_path_factory):
    """A run over three folds of a table that also names a camera, as the command leaves it."""
    place = tmp_path_factory.mktemp("folds")
    frame = pd.read_csv(scenes / "scenes.csv", keep_default_na=False)
    frame["camera"] = [("left", "right", "roof")[at % 3] for at in range(len(frame))]
    frame.to_csv(place / "scenes.csv", index=False)
    from typer.testing import CliRunner

    from foveal.cli.main import app

    out = place / "out"
    arguments = ("train", place / "scenes.csv", "--images", scenes / "scenes", *QUICK, "--folds", 3, "--out", out)
    done = CliRunner().invoke(app, [*map(str, arguments), "--by", "camera"])
    assert done.exit_code == 0, done.output
    return out


def test_each_image_is_answered_by_the_model_that_had_not_seen_it(folds, scenes):
    seen = {}
    for name in ("fold-1", "fold-2", "fold-3"):
        sides = rows_of(folds / name / "split.csv")
        held = [row["path"] for row in sides if row["split"] == "valid"]
        assert len(sides) == 60
        assert 18 <= len(held) <= 22
        answers = Predictions.load(folds / name / "predictions.safetensors")
        for image, values in zip(answers.images, answers.values, strict=True):
            assert str(image) in held
            seen[str(image)] = values
    joined = Predictions.load(folds / "predictions.safetensors")
    assert len(seen) == 60
    assert {str(image) for image in joined.images} == set(seen)
    for image, values in zip(joined.images, joined.values, strict=True):
        assert torch.equal(values, seen[str(image)])
    assert len(rows_of(folds / "predictions.csv")) == 60


def test_mean_and_spread_are_those_of_the_runs(folds):
    summary = json.loads((folds / "summary.json").read_text())
    each = [json.loads((folds / name / "summary.json").read_text()) for name in summary["runs"]]
    values = [one["metrics"]["mean_average_precision"] for one in each]
    assert [run["mean_average_precision"] for run in summary["runs"].values()] == values
    page = (folds / "report.html").read_text()
    assert f"{statistics.fmean(values):.3f}" in page
    assert f"{statistics.stdev(values):.3f}" in page
    assert summary["n_valid"] == 60


def test_a_stopped_series_goes_on_with_what_is_missing(folds, foveal):
    before = json.loads((folds / "summary.json").read_text())
    kept = (folds / "fold-1" / "model.safetensors").stat().st_mtime_ns
    (folds / "summary.json").unlink()
    (folds / "fold-3" / "summary.json").unlink()
    foveal("train", "--resume", folds)
    again = json.loads((folds / "summary.json").read_text())
    assert (folds / "fold-1" / "model.safetensors").stat().st_mtime_ns == kept
    for name, figures in before["runs"].items():
        assert again["runs"][name] == pytest.approx(figures, abs=1e-5)


def test_the_report_gives_figures_by_columns_of_the_table(folds, foveal, tmp_path):
    first = (folds / "fold-1" / "report.html").read_text()
    assert "By camera, worst first" in first
    foveal("report", folds, "--by", "camera,labels", "--no-embed-images", "--out", tmp_path / "r.html")
    page = (tmp_path / "r.html").read_text()
    assert "By labels, worst first" in page
    assert "image/jpeg" not in page
    assert page.count("<td>left</td>") == 1
    refused = foveal("report", folds, "--by", "kamera", code=2)
    assert "no column `kamera`. Did you mean `camera`" in refused.err


def test_a_report_that_is_written_again_keeps_what_it_had(folds, foveal):
    run = folds / "fold-2"
    assert "By camera, worst first" in (run / "report.html").read_text()
    foveal("report", run, "--by", "labels")
    foveal("report", run)
    page = (run / "report.html").read_text()
    assert "By camera, worst first" in page
    assert "By labels, worst first" in page
    foveal("report", run, "--by", "none")
    assert "worst first" not in (run / "report.html").read_text().replace("most wrong", "")


def test_doubts_are_read_back_by_the_tools_formats(folds, foveal, scenes, tmp_path):
    joined = Predictions.load(folds / "predictions.safetensors")
    joined.values[:] = joined.targets * 0.996 + 0.002  # sure, and wrong of the first image alone
    had = joined.task.decode_target(joined.targets[0])
    joined.values[0] = 0.998 - joined.targets[0] * 0.996
    interp = Interpretation(joined)
    doubted = {name_of(doubt.image) for doubt in interp.label_issues()}
    assert doubted == {name_of(joined.images[0])}
    for layout in ("coco", "label-studio"):
        file = tmp_path / f"{layout}.json"
        assert interp.export_label_issues(file, layout=layout) == 1
        source = read_source(file, images=scenes / "scenes", task="multi-label", predictions=layout == "label-studio")
        (item,) = source.items
        assert item.image.name == joined.images[0].name
        suggested = {name for doubt in interp.label_issues() if (name := doubt.suggested)}
        removed = {name for doubt in interp.label_issues() if (name := doubt.given)}
        assert set(item.label) == (set(had) - removed) | suggested
    assert interp.export_label_issues(tmp_path / "d.csv") == len(interp.label_issues())
    assert set(rows_of(tmp_path / "d.csv")[0]) == {"fname", "given", "suggested", "confidence"}


def test_seeds_share_a_split_and_are_compared(scenes, foveal, tmp_path):
    bare = pd.read_csv(scenes / "scenes.csv", keep_default_na=False).drop(columns="is_valid")
    bare.to_csv(tmp_path / "bare.csv", index=False)
    out = tmp_path / "out"
    recipe = (*QUICK, "--recipe", "book")
    foveal("train", tmp_path / "bare.csv", "--images", scenes / "scenes", *recipe, "--seeds", 2, "--out", out)
    first, second = (rows_of(out / name / "split.csv") for name in ("seed-0", "seed-1"))
    assert first == second
    said = json.loads(foveal("compare", out / "seed-0", out / "seed-1", "--json").out)
    assert said["images"] == 12
    found = said["figures"]["mean_average_precision"]
    assert found["value"] == pytest.approx(found["second"] - found["first"])
    assert found["value"] != 0
    assert found["low"] <= found["value"] <= found["high"]
    assert "Name one of them" in foveal("compare", out, out / "seed-0", code=2).err
    assert "not the folder of a run" in foveal("compare", tmp_path, out, code=2).err


@given(st.data())
@settings(max_examples=50)
def test_folds_divide_the_items_and_keep_groups_together(data):
    n = data.draw(st.integers(8, 60))
    n_folds = data.draw(st.integers(2, 4))
    items = [{"label": data.draw(st.sampled_from("abc")), "group": data.draw(st.integers(0, 30))} for _ in range(n)]
    grouped = len({item["group"] for item in items}) >= n_folds and data.draw(st.booleans())
    options = {"group": "group"} if grouped else {}
    splits = [KFoldSplitter(n_folds, fold, "label", seed=3, **options)(items) for fold in range(n_folds)]
    assert sorted(at for _, valid in splits for at in valid) == list(range(n))
    for train, valid in splits:
        assert sorted(train + valid) == list(range(n))
        if grouped:
            assert not {items[at]["group"] for at in train} & {items[at]["group"] for at in valid}
        else:
            assert abs(len(valid) - n / n_folds) <= 2


def test_folds_keep_the_rate_of_every_label():
    items = ["rare"] * 10 + ["usual"] * 90
    for fold in range(5):
        _, valid = KFoldSplitter(5, fold, lambda item: item)(items)
        assert sum(items[at] == "rare" for at in valid) == 2
        assert len(valid) == 20
    with pytest.raises(InputError, match="fold 5 of 5"):
        KFoldSplitter(5, 5)


def some(task, labels, values):
    targets = torch.stack([task.encode(label) for label in labels])
    answers = task.decode(values, None) if not isinstance(task, Points) else list(values.double().numpy())
    return Predictions([f"{at}.jpg" for at in range(len(labels))], values, answers, targets, task)


@pytest.mark.parametrize(
    ("task", "labels", "values"),
    [
        (
            MultiLabel(VOCAB, Decision((0.2, 0.5, 0.9))),
            [["ant", "cat"], []],
            torch.tensor([[0.9, 0.1, 0.8], [0, 1, 0]]),
        ),
        (SingleLabel(VOCAB), ["bee", "cat"], torch.tensor([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8]])),
        (Points(2), [np.array([[1, 2], [np.nan, np.nan]])] * 2, torch.tensor([[[3.0, 4], [5, 6]], [[7, 8], [9, 1]]])),
        (Regression(("age", "weight")), [[1.0, 2.0], [3.0, 4.0]], torch.tensor([[1.5, 2.0], [3.0, 5.0]])),
    ],
    ids=lambda value: getattr(value, "kind", ""),
)
def test_predictions_come_back_from_their_file(task, labels, values, tmp_path):
    before = some(task, labels, values)
    before.save(tmp_path / "p.safetensors")
    after = Predictions.load(tmp_path / "p.safetensors")
    assert after.task == task
    assert [name_of(image) for image in after.images] == before.images
    assert after.targets.allclose(before.targets, equal_nan=True)
    assert after.comparable.double().allclose(before.comparable.double())
    assert str(after.scores()) == str(before.scores())  # as text, for NaN is not equal to itself
    (tmp_path / "other.safetensors").write_bytes((tmp_path / "p.safetensors").read_bytes()[:-1])
    with pytest.raises(ModelFileError):
        Predictions.load(tmp_path / "other.safetensors")


def several(scores, seed=0):
    task = MultiLabel(VOCAB)
    truth = torch.from_numpy(np.random.default_rng(seed).integers(0, 2, (80, 3)).astype(np.float32))
    noise = torch.from_numpy(np.random.default_rng(seed + 1).normal(size=(80, 3)).astype(np.float32))
    values = torch.sigmoid((truth - 0.5) * scores + noise)
    names = [f"{at}.jpg" for at in range(80)]
    return Predictions(names, values, task.decode(values, None), truth, task)


def test_the_better_of_two_models_is_told_from_luck():
    good, poor = several(4.0), several(0.5)
    found = {one.metric: one for one in compare(poor, good).differences}
    assert found["mean_average_precision"].verdict == "second"
    assert found["mean_average_precision"].difference.low > 0
    turned = {one.metric: one for one in compare(good, poor).differences}
    for name, one in found.items():
        assert turned[name].difference.value == pytest.approx(-one.difference.value)
        assert turned[name].difference.low == pytest.approx(-one.difference.high)
    assert {one.verdict for one in compare(good, good).differences} == {""}


def test_only_images_of_both_are_compared():
    whole = several(2.0)
    part = Predictions(whole.images[20:], whole.values[20:], whole.labels[20:], whole.targets[20:], whole.task)
    found = compare(whole, part)
    assert (found.n, found.left_out) == (60, 20)
    assert all(one.difference.value == 0 for one in found.differences)
    with pytest.raises(InputError, match="labels of the same images differ"):
        compare(whole, several(2.0, seed=5))
    elsewhere = replace(whole, images=[f"x{name}" for name in whole.images])
    with pytest.raises(InputError, match="they share none of 80 and 80"):
        compare(whole, elsewhere)
    few = replace(whole, images=[*whole.images[:7], *elsewhere.images[7:]])
    with pytest.raises(InputError, match=r"share only 7 of 80 and 80.*--split-file.*--on-shared"):
        compare(whole, few)
    assert (compare(whole, few, on_shared=True).n, compare(whole, few, on_shared=True).verdict) == (7, "unclear")
    with pytest.raises(InputError, match="different questions"):
        compare(whole, some(SingleLabel(VOCAB), ["bee"], torch.tensor([[0.5, 0.3, 0.2]])))
