"""Which images to label next: the criterion, and that fewer labels do with it than without."""

import csv
import json
import re

import numpy as np
import pytest
import torch

from foveal import Run
from foveal.core.errors import InputError, UnknownNameError
from foveal.evaluation.choosing import choose_next, uncertainties_of
from foveal.tasks.multi_label import MultiLabel
from foveal.tasks.points import Points
from foveal.tasks.single_label import SingleLabel
from foveal.tasks.vocab import Vocab

pytestmark = pytest.mark.filterwarnings("ignore:.*occurs in validation only", "ignore:There are .* items to train on")


def left_over(features, chosen, weights):
    """The weighted sum of what is uncertain once the chosen are labelled, by its definition."""
    rows = torch.nn.functional.normalize(features.double(), dim=1)
    rows = rows - rows.mean(dim=0)
    rows = rows / rows.square().sum(dim=1).mean().sqrt()
    known = rows[chosen]
    inner = torch.linalg.inv(known @ known.T + torch.eye(len(chosen), dtype=torch.float64)) if chosen else None
    covered = 0 if inner is None else ((rows @ known.T @ inner) * (rows @ known.T)).sum(dim=1)
    return float((weights * (rows.square().sum(dim=1) - covered)).sum())


def test_each_choice_is_the_one_after_which_least_is_left():
    rng = np.random.default_rng(0)
    features = torch.from_numpy(rng.normal(size=(25, 6)) + 1).float()
    uncertainties = torch.from_numpy(rng.random(25)).float()
    weights = 0.1 + 0.9 * uncertainties.double()
    chosen = choose_next(features, 4, uncertainties=uncertainties)
    for at in range(4):
        before = chosen[:at]
        gains = [
            float(weights[one]) * (left_over(features, before, weights) - left_over(features, [*before, one], weights))
            for one in range(25)
        ]
        gains = [gain if one not in before else -1 for one, gain in enumerate(gains)]
        assert int(np.argmax(gains)) == chosen[at]


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
    for by in ("both", "diversity", "uncertainty"):
        assert sorted(choose_next(features, 400, by=by)) == list(range(n))
    assert sorted(choose_next(torch.ones(n, 3), n)) == list(range(n))  # all alike


def test_what_cannot_be_chosen_is_said():
    with pytest.raises(InputError, match="At least one image"):
        choose_next(torch.ones(3, 2), 0)
    with pytest.raises(InputError, match="At least one image"):
        choose_next(torch.ones(0, 2), 3)
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
    printed = foveal("next", run, files[0].parent, tmp_path / "bad.jpg", "-k", 7, code=1)
    assert "Label these 7 of 259 images next; the run was trained on 74." in printed.out
    assert "bad.jpg" in printed.err
    names = re.findall(r"^uncertainty [\d.]+  (.*?\.jpg):", printed.out, re.MULTILINE)
    assert len(set(names)) == 7
    new = {str(file) for at, file in enumerate(files) if at % 10 >= 3}
    assert set(names) <= new
    out = tmp_path / "next.jsonl"
    foveal("next", run, files[0].parent, "-k", 7, "--out", out)
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["fname"] for row in rows] == names
    assert [one.image for one in Run(run).suggest(map(str, files), 7)] == names
    uncertain = Run(run).suggest(files, 300, by="uncertainty")
    assert [one.uncertainty for one in uncertain] == sorted((one.uncertainty for one in uncertain), reverse=True)
    assert "labelled in" in foveal("next", run, files[0], code=2).err
    assert "none of" in foveal("next", run, tmp_path / "bad.jpg", code=2).err.lower()
    assert "diversity" in foveal("next", run, files[3], "--by", "divercity", code=2).err
