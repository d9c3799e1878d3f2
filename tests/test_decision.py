"""Other thresholds and temperatures: a bundle's figures are always those of the decision in force."""

import json

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from foveal.cli.decide import parse_thresholds
from foveal.core.errors import InputError, ModelFileError, UnknownNameError
from foveal.evaluation.figures import Figures, decide_anew, kept_answers
from foveal.evaluation.predictions import Predictions
from foveal.geometry.homography import Homography
from foveal.images.prepare import IMAGENET, Preparation
from foveal.inference.loading import load_learner
from foveal.inference.manifest import TrainingPart
from foveal.inference.predictor import Predictor
from foveal.inference.store import read_bundle
from foveal.models.vision import ModelSpec, build_model
from foveal.reporting.card import card_of
from foveal.tasks.multi_label import MultiLabel
from foveal.tasks.points import Points
from foveal.tasks.single_label import SingleLabel
from foveal.tasks.vocab import Vocab

pytestmark = pytest.mark.filterwarnings("ignore:.*have fewer than 10 validation images")
NAMES = ("ant", "bee", "c=at", "never")


def drawn(task, n=400, seed=0):
    """Outputs that know something of the truth, and that truth; the last class is never there."""
    rng = np.random.default_rng(seed)
    truth = rng.random((n, 4)) < (0.5, 0.3, 0.1, 0.0)
    outputs = torch.from_numpy(rng.normal(0, 1.5, (n, 4)) + 3.0 * truth - 2.0).float()
    targets = (
        torch.from_numpy(truth).float() if isinstance(task, MultiLabel) else torch.from_numpy(truth.argmax(axis=1))
    )
    return outputs, targets


def predictions_of(task, outputs, targets):
    values = task.activate(outputs)
    labels = task.decode(values, Homography.stack([Homography()] * len(values)))
    return Predictions([b""] * len(values), values, labels, targets, task, outputs)


def bundle(folder, task, *, keep=True):
    torch.manual_seed(0)
    model = build_model(ModelSpec("test_efficientnet", task.n_outputs, (32, 32), None, "linear"))
    predictions = predictions_of(task, *drawn(task))
    scores, intervals = predictions.scores(), predictions.intervals()
    figures = Figures.of(scores, {name: (one.low, one.high) for name, one in intervals.items()})
    training = figures.into(
        TrainingPart(n_valid=len(predictions.values), valid_loss=0.5, counts=dict.fromkeys(NAMES, 20))
    )
    predictor = Predictor.of(model, task, Preparation.of((32, 32), "crop", IMAGENET), training)
    predictor.validation = kept_answers(predictions) if keep else None
    predictor.save(folder / "model.safetensors")
    return folder / "model.safetensors"


@pytest.fixture
def several(tmp_path):
    return bundle(tmp_path, MultiLabel(Vocab(NAMES)))


def test_a_bundle_keeps_what_it_answered_and_loads_as_it_did(several, tmp_path):
    found, manifest = read_bundle(several), read_bundle(several).manifest
    outputs, targets = drawn(found.task)
    assert torch.equal(found.validation.outputs, outputs)
    assert torch.equal(found.validation.targets, targets)
    assert manifest.format == 2
    assert not any(name.startswith("validation/") for name in found.tensors)
    without = bundle(tmp_path, MultiLabel(Vocab(NAMES)), keep=False)
    assert read_bundle(without).manifest.format == 1
    assert read_bundle(without).validation is None


def test_changed_validation_answers_are_refused(several):
    tensors = load_file(several)
    with safe_open(several, framework="pt") as opened:
        metadata = opened.metadata()
    tensors["validation/targets"][0] = 1 - tensors["validation/targets"][0]
    save_file(tensors, several, metadata)
    with pytest.raises(ModelFileError, match="the tensor `validation/targets` is not the one exported"):
        load_learner(several)


@pytest.mark.parametrize(
    "options",
    [
        {"thresholds": 0.3},
        {"thresholds": {"ant": 0.9, "c=at": 0.05}},
        {"tune": "f1"},
        {"tune": "precision>=0.9", "per_class": False},
        {"temperature": 2.5},
        {"temperature": 0.5, "thresholds": {"bee": 0.7}},
    ],
)
def test_the_figures_are_those_that_the_decision_has(several, options):
    """As if the model had been judged with that decision in the first place."""
    decided = decide_anew(load_learner(several, device="cpu"), **options)
    task = decided.predictor.task
    anew = predictions_of(task, *drawn(task))
    figures, scores = decided.predictor.training.figures, anew.scores()
    assert set(figures) == set(task.report_metrics())
    for name, one in figures.items():
        assert one.value == pytest.approx(scores[name], abs=1e-9), name
        assert one.low <= one.value <= one.high
    row = decided.predictor.training.parts["ant"]
    assert row["threshold"] == pytest.approx(task.decision.thresholds[0])
    assert decided.before.headline != decided.after.headline or set(options) == {"temperature"}


def test_a_temperature_alone_changes_no_answer(several):
    predictor = load_learner(several, device="cpu")
    decided = decide_anew(predictor, temperature=3.0)
    outputs, _ = drawn(predictor.task)
    before, after = (predictions_of(one.task, *drawn(one.task)).labels for one in (predictor, decided.predictor))
    assert before == after
    assert not torch.equal(predictor.task.activate(outputs), decided.predictor.task.activate(outputs))
    assert decided.predictor.training.valid_loss is None
    for name in ("f1", "precision", "recall", "exact_match"):
        assert decided.after.headline[name].value == pytest.approx(decided.before.headline[name].value)


def test_without_validation_answers_no_figure_of_another_decision_stays(tmp_path):
    predictor = load_learner(bundle(tmp_path, MultiLabel(Vocab(NAMES)), keep=False), device="cpu")
    assert predictor.training.figures
    decided = decide_anew(predictor, thresholds=0.9)
    assert decided.predictor.training.figures == {}
    assert decided.predictor.training.parts == {}
    with pytest.raises(InputError, match="this bundle holds none"):
        decide_anew(predictor, tune="f1")


def test_what_cannot_be_set_is_refused_by_name(several, tmp_path):
    predictor = load_learner(several, device="cpu")
    with pytest.raises(UnknownNameError, match="Did you mean `bee`"):
        decide_anew(predictor, thresholds={"bees": 0.4})
    with pytest.raises(InputError, match=r"between 0 and 1; got 1.5"):
        decide_anew(predictor, thresholds=1.5)
    with pytest.raises(InputError, match="positive number; got -1"):
        decide_anew(predictor, temperature=-1.0)
    (tmp_path / "one").mkdir()
    one = load_learner(bundle(tmp_path / "one", SingleLabel(Vocab(NAMES))), device="cpu")
    with pytest.raises(InputError, match="A threshold per class is for tasks of multi-label"):
        decide_anew(one, thresholds=0.4)
    assert decide_anew(one, temperature=2.0).after.headline["accuracy"] == one.training.figures["accuracy"]
    points = Predictor.of(
        build_model(ModelSpec("test_efficientnet", 2, (32, 32), None, "linear")), Points(1), one.preparation
    )
    with pytest.raises(InputError, match="Another decision is for tasks of multi-label, single-label"):
        decide_anew(points, temperature=2.0)


def test_thresholds_are_written_as_words():
    assert parse_thresholds(["ant=0.9", "c=at=.2"]) == {"ant": 0.9, "c=at": 0.2}
    assert parse_thresholds(["0.4"]) == 0.4
    assert parse_thresholds([]) is None
    for wrong, reason in ((["ant=x"], "CLASS=VALUE"), (["0.4", "ant=1"], "for all classes"), (["a=1", "a=0"], "twice")):
        with pytest.raises(InputError, match=reason):
            parse_thresholds(wrong)


def test_the_command_writes_a_bundle_whose_card_is_true(several, foveal):
    said = foveal("set", several, "--tune", "precision>=0.9", "--out", several.parent / "new.safetensors").out
    assert "tuned on these very images. Expect on others: f1" in said
    new = load_learner(several.parent / "new.safetensors", device="cpu")
    card = card_of(read_bundle(several.parent / "new.safetensors").manifest, several.parent / "new.safetensors")
    text = card.markdown()
    assert f"| f1 | {new.training.figures['f1'].value:.4g} |" in text.replace("&#95;", "_")
    assert "Thresholds were chosen on the validation images" in text
    assert "Never seen in validation" in text
    assert "never" in text
    taken = foveal("set", several, "--tune", "f1", "--out", several.parent / "new.safetensors", code=2)
    assert "exists already" in taken.err
    assert "Nothing is to be set" in foveal("set", several, code=2).err
    assert "give --tune" in foveal("set", several, "--one-for-all", "--temperature", "2", code=2).err
    manifest = json.loads(foveal("info", several.parent / "new.safetensors", "--json").out)
    assert manifest["training"]["on_others"].keys() == {"f1", "precision", "recall"}


def test_the_command_prints_the_classes_that_were_tuned_and_what_the_goal_costs(several, foveal):
    before = load_learner(several, device="cpu").training.parts
    kept = foveal("set", several, "--tune", "precision>=0.9", "--for", "bee", "--out", several.parent / "1.safetensors")
    now = load_learner(several.parent / "1.safetensors", device="cpu").training.parts
    for name in ("precision", "recall"):
        cells = [f"{parts['bee'][name]:.4g}" for parts in (before, now)]
        assert next(line for line in kept.out.splitlines() if line.startswith(f"{name} of bee")).split()[3:] == cells
    assert now["bee"]["precision"] >= 0.9
    assert "of ant" not in kept.out
    assert "finds nothing" not in kept.out
    against, file = load_learner(several, device="cpu"), several.parent / "2.safetensors"
    against.validation.outputs[:, 0] *= -1  # the surest of its answers is wrong
    against.save(several)
    lost = foveal("set", several, "--tune", "precision>=1", "--for", "ant", "--for", "never", "--out", file)
    assert load_learner(file, device="cpu").training.parts["ant"]["recall"] == 0
    assert "No threshold of ant keeps precision>=1 but one that finds nothing" in lost.out
    assert "never keep" not in lost.out  # it has no validation image: nothing could be found
    assert "not defined" in next(line for line in lost.out.splitlines() if line.startswith("precision of ant"))
