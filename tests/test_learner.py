"""What a learner offers besides training: time budgets, memory, logs, plots, saving, summaries, answers of every form."""

import csv
import json
import math
import re
import sys
import time

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from foveal.core import runtime
from foveal.core.errors import InputError, MissingDependencyError, ModelFileError, TrainingError
from foveal.evaluation.interpret import Interpretation
from foveal.learner.learner import Learner
from foveal.learner.vision import vision_learner
from foveal.metrics.several_labels import accuracy_multi
from foveal.models.summary import layers_table
from foveal.tasks.regression import RegressionBlock
from foveal.training import measure, phases
from foveal.training.callbacks.logs import CSVLogger, HistoryFile, TensorBoardLogger
from foveal.training.groups import Freeze


@pytest.fixture
def learn(scene_loaders):
    learn = vision_learner(scene_loaders(), "test_resnet", pretrained=False, seed=0, metrics=accuracy_multi)
    learn.recorder.silent = True
    yield learn
    plt.close("all")


class Hungry(nn.Module):
    """A model that needs too much memory for more than `most` items."""

    def __init__(self, most):
        super().__init__()
        self.layer, self.most = nn.Linear(4, 1), most

    def forward(self, x):
        if len(x) > self.most:
            raise torch.OutOfMemoryError
        return self.layer(x)


def trial_of(model):
    return measure.Trial(model, Freeze(), nn.functional.mse_loss, torch.device("cpu"))


@pytest.mark.parametrize(("most", "found"), [(100, 64), (64, 64), (40, 32), (3, 2), (0, 1)])
def test_the_largest_batch_is_found_by_halving(most, found):
    inputs, targets = torch.randn(64, 4), torch.randn(64, 1)
    assert measure.largest_batch(trial_of(Hungry(most)), inputs, targets, "fp32") == found


def test_what_the_backward_pass_keeps_is_counted_where_the_device_does_not_complain(monkeypatch):
    model = nn.Sequential(nn.Linear(4, 1000), nn.ReLU(), nn.Linear(1000, 1))
    inputs, targets = torch.randn(64, 4), torch.randn(64, 1)
    each = 1000 * 4  # what the middle keeps, which two of its layers share
    monkeypatch.setattr(runtime, "free_memory", lambda _: 20 * each / 0.6)
    assert measure.largest_batch(trial_of(model), inputs, targets, "fp32") == 16
    monkeypatch.undo()
    assert measure.largest_batch(trial_of(model), inputs, targets, "fp32") == 64
    assert all(p.grad is None for p in model.parameters())


def test_out_of_memory_ends_with_the_batch_that_fits(learn, monkeypatch):
    whole = type(learn.model).forward

    def hungry(model, x):
        if model.training and len(x) > 5:
            raise torch.OutOfMemoryError
        return whole(model, x)

    monkeypatch.setattr(type(learn.model), "forward", hungry)
    with pytest.raises(TrainingError, match=r"batch of 16\. A batch of 4 fits.*--batch-size 4.*accumulate=4"):
        learn.fit(1)
    assert learn.largest_batch() == 4


def test_the_time_of_an_epoch_is_foretold(learn, monkeypatch):
    foretold = []
    monkeypatch.setattr(phases, "seconds_of_epoch", lambda *a: foretold.append(measure.seconds_of_epoch(*a)) or 1e9)
    learn.fit(minutes=1)
    seconds = learn.recorder.history[0].seconds
    assert seconds / 4 < foretold[0] < seconds * 4


def test_a_time_budget_becomes_a_number_of_epochs(learn, monkeypatch):
    monkeypatch.setattr(phases, "seconds_of_epoch", lambda *_: 19.0)
    learn.fit_one_cycle(minutes=1)
    n = len(learn.recorder.history)
    assert n == 3
    rates = learn.recorder._steps["rate"]
    assert rates[-1] < 0.2 * max(rates)  # the schedule was fitted to the length
    learn.fit(minutes=1e-6)
    assert len(learn.recorder.history) == n + 1
    with pytest.raises(InputError, match="one of the two"):
        learn.fit(2, minutes=1)
    with pytest.raises(InputError, match="one of the two"):
        learn.fine_tune()


def test_no_time_left_after_a_probe_leaves_the_probe(scene_loaders):
    learn = vision_learner(scene_loaders(), "test_resnet", pretrained=False, head="linear")
    learn.recorder.silent = True
    learn.fine_tune(minutes=1e-6, probe=True)
    assert len(learn.recorder.history) == 1


def test_the_optimizer_goes_on_unless_told_otherwise(scene_loaders):
    """Two fits are not one, but the second begins with the averages of the first: fastai's way."""

    def weights(**options):
        dls = scene_loaders(num_workers=0)
        torch.manual_seed(1)
        learn = vision_learner(dls, "test_resnet", pretrained=False, seed=0)
        learn.recorder.silent = True
        torch.manual_seed(0)
        learn.fit(1, 1e-3)
        learn.fit(1, 1e-3, **options)
        return torch.cat([p.detach().reshape(-1) for p in learn.model.parameters()])

    kept, fresh = weights(), weights(reset_opt=True)
    assert torch.equal(kept, weights())
    assert not torch.equal(kept, fresh)


def test_saved_and_loaded_again_it_trains_on_as_if_nothing_had_been(learn, scene_loaders, tmp_path):
    learn.path = tmp_path
    learn.fit(1)
    assert learn.save("one") == tmp_path / "models" / "one.safetensors"
    torch.manual_seed(1)
    learn.fit(1)
    expected = {name: tensor.clone() for name, tensor in learn.model.state_dict().items()}
    other = vision_learner(scene_loaders(), "test_resnet", pretrained=False, seed=3)
    other.path, other.recorder.silent = tmp_path, True
    assert other.load("one") is other
    other._training.data_epoch = 1  # the same images
    torch.manual_seed(1)
    other.fit(1)
    for name, tensor in other.model.state_dict().items():
        assert torch.equal(tensor, expected[name]), name
    with pytest.raises(ModelFileError, match=r"There is no file `.*two.safetensors`"):
        learn.load("two")
    another = vision_learner(scene_loaders(), "test_resnet", pretrained=False, head="linear")
    another.path = tmp_path
    with pytest.raises(ModelFileError, match="does not fit this model"):
        another.load("one")


def test_logs_are_written_as_the_run_goes(learn, tmp_path):
    seen = []

    class Reader:
        def after_epoch(self, state):
            seen.append(len((tmp_path / "h.jsonl").read_text().splitlines()))

    events = tmp_path / "events"
    hooks = [HistoryFile(tmp_path / "h.jsonl"), CSVLogger(tmp_path / "h.csv"), TensorBoardLogger(events), Reader()]
    learn.fit(2, cbs=hooks)
    learn.fit(1, cbs=hooks[1])
    assert seen == [1, 2]
    lines = [json.loads(line) for line in (tmp_path / "h.jsonl").read_text().splitlines()]
    assert [line["metrics"]["accuracy_multi"] for line in lines] == [
        result.metrics["accuracy_multi"] for result in learn.recorder.history[:2]
    ]
    with (tmp_path / "h.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["0", "1", "2"]
    assert float(rows[2]["valid_loss"]) == learn.recorder.history[2].valid_loss

    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    log = EventAccumulator(str(events)).Reload()
    assert len(log.Scalars("step/loss")) == 2 * len(learn.dls.train)
    found = [event.value for event in log.Scalars("epoch/valid_loss")]
    assert found == pytest.approx([result.valid_loss for result in learn.recorder.history[:2]])


def test_a_log_whose_package_is_missing_says_how_to_get_it(learn, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(MissingDependencyError, match=r'pip install "foveal\[tensorboard\]"'):
        learn.fit(1, cbs=TensorBoardLogger(tmp_path))


def test_plots_show_the_whole_history(learn):
    with pytest.raises(InputError, match="nothing to plot"):
        learn.recorder.plot_loss()
    learn.fine_tune(2, freeze_epochs=1)
    n_steps = 3 * len(learn.dls.train)
    learn.recorder.plot_loss(skip_start=2)
    train, valid = plt.gca().lines
    assert len(train.get_xdata()) == n_steps - 2
    assert train.get_ydata()[-1] == pytest.approx(learn.recorder.history[-1].train_loss, rel=1e-5)
    assert list(valid.get_xdata()) == [n_steps // 3, 2 * n_steps // 3, n_steps]
    assert list(valid.get_ydata()) == [result.valid_loss for result in learn.recorder.history]
    learn.recorder.plot_sched()
    assert [len(axes.lines[0].get_xdata()) for axes in plt.gcf().axes] == [n_steps, n_steps]
    learn.recorder.plot_metrics()
    assert plt.gca().get_ylabel() == "accuracy_multi"
    assert len(plt.gca().lines[0].get_xdata()) == 3


def test_predictions_with_losses_and_answers(learn):
    learn.fit(1)
    preds, targs, decoded, losses = learn.get_preds(with_loss=True, with_decoded=True)
    assert torch.equal(decoded, (preds > 0.5).float())
    assert float(losses.mean()) == pytest.approx(learn.validate()[0], rel=1e-5)
    assert len(preds) == len(targs) == len(losses) == learn.dls.valid.n
    train_preds, train_targs = learn.get_preds(0)
    assert torch.equal(train_targs, learn.dls.train.dataset.targets)
    answer = learn.predict(learn.dls.train.dataset.images[0])
    torch.testing.assert_close(answer.values, train_preds[0], atol=1e-5, rtol=0)
    label, tensor, probabilities = answer
    assert torch.equal(tensor, learn.dls.task.encode(label))
    assert torch.equal(tensor, (probabilities > 0.5).float())


def test_a_summary_tells_what_trains(learn, capsys):
    learn.freeze()
    learn.summary()
    text = capsys.readouterr().out
    total = sum(p.numel() for p in learn.model.parameters())
    trained = sum(p.numel() for p in learn.model.parameters() if p.requires_grad)
    assert f"{total:,} parameters, {trained:,} of them train" in text
    assert trained < total
    for name in ("layer1", "head.0 (ConcatPool)", "MiB per item"):
        assert name in text
    lines = {line.split()[0]: line for line in text.splitlines() if line}
    assert lines["head.3"].endswith("yes")
    assert lines["conv1.0"].endswith("no")


def test_loaders_are_exchanged_for_others_of_the_same_task(learn, scene_loaders):
    learn.dls = scene_loaders(size=96)
    assert learn.dls.one_batch()[0].shape[-2:] == (96, 96)
    learn.fit(1)
    assert learn.predictor().preparation.input_size_hw == (96, 96)
    with pytest.raises(InputError, match="another task: points of x, y"):
        learn.dls = scene_loaders(points=True, bs=4)


def test_a_compiled_model_trains_alike(scene_loaders):
    losses = []
    for compiled in (False, True):
        dls = scene_loaders(num_workers=0, bs=8, size=32)
        torch.manual_seed(0)
        layers = nn.Conv2d(3, 8, 3, stride=2), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
        learn = Learner(dls, nn.Sequential(*layers, nn.Linear(8, dls.task.n_outputs)), compile=compiled)
        learn.recorder.silent = True
        learn.fit(1, 1e-4)
        losses.append(learn.recorder.history[0].valid_loss)
    assert losses[0] == pytest.approx(losses[1], rel=0.05)


def brightness(row, scenes):
    from foveal.images.decode import decode

    return float(decode(scenes / "scenes" / row["fname"]).mean())


def test_numbers_are_learned_in_their_own_units(scenes, scene_loaders):
    dls = scene_loaders(target=RegressionBlock, get_y=lambda row: brightness(row, scenes), size=48, bs=8, points=False)
    assert repr(dls.loss_func) == "FlattenedLoss of MSELoss()"
    task = dls.task
    values = dls.train.dataset.targets[:, 0]
    assert task.high[0] - task.low[0] == pytest.approx(1.1 * float(values.max() - values.min()), rel=1e-5)
    learn = vision_learner(dls, "tf_efficientnet_lite0", head="linear")
    learn.recorder.silent = True
    learn.probe()
    assert learn.recorder.history[0].train_loss < 0.2 * float(values.var())
    loss, error, off, share = learn.validate()
    assert error == pytest.approx(math.sqrt(loss), rel=1e-5)
    assert off <= error
    assert share == pytest.approx(1 - loss / float(dls.valid.dataset.targets.var(unbiased=False)), rel=1e-4)
    label, tensor, values = learn.predict(dls.valid.dataset.images[0])
    assert label.shape == (1,)
    assert float(tensor) == pytest.approx(float(values), rel=1e-6)
    assert repr(dls.valid.dataset[0][1]).startswith("TensorRegression(")


def test_several_numbers_from_the_command_line(scenes, tmp_path, foveal):
    frame = pd.read_csv(scenes / "scenes.csv", keep_default_na=False)
    frame["brightness"] = [brightness(row, scenes) for _, row in frame.iterrows()]
    frame["labels in thousands"] = [1000.0 * len(labels.split()) for labels in frame["labels"]]
    frame.loc[3, "brightness"] = np.nan
    frame.drop(columns="labels").to_csv(tmp_path / "n.csv", index=False)
    out = tmp_path / "run"
    columns = ["--targets", "brightness,labels in thousands"]
    foveal("check", tmp_path / "n.csv", "--images", scenes / "scenes", *columns)
    began = time.perf_counter()
    done = foveal(
        "train", tmp_path / "n.csv", "--images", scenes / "scenes", *columns, "--size", "64", "--batch-size", "auto",
        "--time", "0.01", "--out", out,
    )  # fmt: skip
    assert time.perf_counter() - began < 60
    assert "regression, brightness, labels in thousands" in done.out
    metrics = json.loads((out / "summary.json").read_text())["metrics"]
    assert set(metrics["numbers"]) == {"brightness", "labels in thousands"}
    assert metrics["numbers"]["labels in thousands"]["rmse"] > 50
    assert re.search(r"batch_size = \d+", (out / "run.toml").read_text())
    history = (out / "history.jsonl").read_text().splitlines()
    assert len(history) >= 1
    evaluated = json.loads(
        foveal("evaluate", out / "model.safetensors", tmp_path / "n.csv", "--images", scenes / "scenes", *columns).out
    )
    assert evaluated["metrics"]["mean_r2"] == pytest.approx(metrics["mean_r2"], abs=1e-6)
    said = foveal("predict", out / "model.safetensors", scenes / "scenes" / frame["fname"][0]).out
    assert "labels in thousands" in said


def test_figures_do_not_depend_on_batches_or_workers(learn, scene_loaders):
    before = [float(value) for value in learn.validate()]
    learn.dls = scene_loaders(bs=5, num_workers=3)
    assert [float(value) for value in learn.validate()] == pytest.approx(before, abs=1e-5)


def test_a_loader_without_labels_stays_one_when_it_is_made_anew(scene_loaders):
    dls = scene_loaders()
    loader = dls.test_dl(dls.valid.items)
    assert len(next(iter(loader))) == len(next(iter(loader.new(bs=2)))) == 1
    assert len(next(iter(dls.valid.new(bs=2)))) == 2


@pytest.mark.parametrize("side", [2, -3, "valid", 1.0])
def test_loaders_have_two_sides(learn, side):
    message = re.escape(f"Loaders have two sides, 0 to train on and 1 to validate; got {side!r}.")
    for call in (learn.validate, learn.get_preds, learn.tta, learn.show_results, learn.dls.__getitem__):
        with pytest.raises(InputError, match=message):
            call(side)
    with pytest.raises(InputError, match=message):
        Interpretation.from_learner(learn, side)
    predictor = learn.predictor()
    predictor.dls = learn.dls
    with pytest.raises(InputError, match=message):
        predictor.get_preds(side)
    assert learn.dls[-1] is learn.dls[1] is learn.dls.valid


class Scaled(nn.Module):
    """A layer within, and a parameter of its own."""

    def __init__(self):
        super().__init__()
        self.layer, self.scale = nn.Linear(4, 3), nn.Parameter(torch.ones(3))

    def forward(self, x):
        return self.scale * self.layer(x)


@pytest.mark.parametrize(
    ("model", "rows"),
    [
        (nn.Linear(4, 3), ["own (Linear)  3               15  yes"]),
        (Scaled(), ["layer (Linear)  3               15  yes", "own (Scaled)  3                3  yes"]),
        (nn.Sequential(nn.Linear(4, 3)), ["0 (Linear)  3               15  yes"]),
    ],
)
def test_the_rows_of_a_summary_are_all_of_the_model(model, rows):
    lines = layers_table(model, torch.zeros(1, 4)).splitlines()
    assert [" ".join(line.split()) for line in lines[2:-2]] == [" ".join(row.split()) for row in rows]
    counts = [int(row.split()[-2]) for row in rows]
    assert lines[-2].startswith(f"{sum(counts)} parameters, {sum(counts)} of them train")
