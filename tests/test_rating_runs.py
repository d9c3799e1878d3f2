"""Runs on ratings: Bayesian factorisation, other units, small tables, splits, and going on after a stop."""

import json
import re

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import foveal
from foveal.collab import fits
from foveal.collab.bayes import Sampler
from foveal.collab.factors import choose_factors
from foveal.collab.interactions import Interactions
from foveal.collab.run import read_table
from foveal.collab.run_data import run_data
from foveal.collab.settings import RatingRun
from foveal.collab.task import Ids, Rating
from foveal.core.errors import InputError, ModelFileError
from foveal.inference.loading import load_predictor


def drawn(seed=0, n_users=60, n_items=40, n=1200, noise=0.5, n_factors=2):
    """Ratings from 1 to 5 of vectors, biases and noise, each pair once, in time order."""
    rng = np.random.default_rng(seed)
    places = rng.permutation(n_users * n_items)[:n]
    users, items = places // n_items, places % n_items
    of_users, of_items = rng.normal(size=(n_users, n_factors)), rng.normal(size=(n_items, n_factors))
    exact = 3 + 0.4 * rng.normal(size=n_users)[users] + 0.4 * rng.normal(size=n_items)[items]
    exact += 0.7 * (of_users[users] * of_items[items]).sum(axis=1)
    rating = np.clip(np.round(exact + noise * rng.normal(size=n)), 1, 5)
    return pd.DataFrame({"user": users, "item": items, "rating": rating, "timestamp": np.arange(n) + 10**9})


def sampled(frame, n_factors, sweeps, seed=0):
    pairs = torch.tensor(frame[["user", "item"]].to_numpy()) + 1
    sizes = int(pairs[:, 0].max()) + 1, int(pairs[:, 1].max()) + 1
    table = Interactions.of(pairs, *sizes, torch.tensor(frame["rating"].to_numpy()))
    sampler = Sampler(table, n_factors, seed=seed, sweeps=sweeps)
    task = Rating(Ids(tuple(range(1, sizes[0]))), Ids(tuple(range(1, sizes[1]))), low=-1e9, high=1e9)
    return sampler, task, pairs


def rmse_of(sampler, task, pairs, truth):
    with torch.inference_mode():
        answers = sampler.model(task).eval()(pairs).numpy()
    return float(np.sqrt(((answers - truth) ** 2).mean()))


# The sampler


def test_biases_alone_are_those_of_a_ridge_regression():
    """With the noise and the spreads that were drawn, the mean of the draws is the ridge solution."""
    frame = drawn(1, 30, 20, 400, n_factors=0)
    sampler, task, pairs = sampled(frame, 0, 600)
    for _ in range(600):
        sampler.sweep()
    model = sampler.model(task)
    design = np.zeros((len(frame), 50))
    design[np.arange(len(frame)), frame["user"]] = 1
    design[np.arange(len(frame)), 30 + frame["item"]] = 1
    truth = (frame["rating"] - frame["rating"].mean()).to_numpy()
    best = min(
        np.abs(
            design @ np.linalg.solve(design.T @ design + penalty * np.eye(50), design.T @ truth)
            - (model(pairs).detach().numpy() - frame["rating"].mean())
        ).max()
        for penalty in np.geomspace(0.5, 20, 40)
    )
    assert best < 0.12


def test_what_was_planted_is_found_up_to_the_noise():
    frame = drawn(2, 100, 60, 3600, noise=0.3)
    train, valid = frame[:3000], frame[3000:]
    errors = {}
    for n_factors in (0, 4):
        sampler, task, _ = sampled(train, n_factors, 80)
        for _ in range(80):
            sampler.sweep()
        pairs = torch.tensor(valid[["user", "item"]].to_numpy()) + 1
        errors[n_factors] = rmse_of(sampler, task, pairs, valid["rating"].to_numpy())
    assert errors[4] < 0.55  # the noise, .3, and rounding, .29
    assert errors[4] < 0.7 * errors[0]


def test_a_sampler_goes_on_to_the_same_bits():
    frame = drawn(3)
    whole, task, _ = sampled(frame, 3, 60)
    for _ in range(60):
        whole.sweep()
    first, _, _ = sampled(frame, 3, 60)
    for _ in range(40):
        first.sweep()
    assert first.can_pause
    again, _, _ = sampled(frame, 3, 60)
    again.resume({name: tensor.clone() for name, tensor in first.state().items()})
    for _ in range(20):
        again.sweep()
    for name, tensor in whole.model(task).state_dict().items():
        assert torch.equal(tensor, again.model(task).state_dict()[name]), name
    other, _, _ = sampled(drawn(3, 61), 3, 60)
    with pytest.raises(ModelFileError, match="other users, items or factors"):
        other.resume(first.state())


@given(st.floats(1e-4, 1e4), st.floats(-1e3, 1e3))
@settings(max_examples=10, deadline=None)
def test_other_units_of_the_ratings_are_other_units_of_the_answers(scale, shift):
    frame = drawn(4, 20, 15, 150)
    answers = []
    for one in (frame, frame.assign(rating=scale * frame["rating"] + shift)):
        sampler, task, pairs = sampled(one, 2, 30)
        for _ in range(30):
            sampler.sweep()
        with torch.inference_mode():
            answers.append(sampler.model(task).eval()(pairs).double())
    assert torch.allclose(answers[1], scale * answers[0] + shift, rtol=1e-4, atol=1e-4 * scale)


@pytest.mark.parametrize(("n_factors", "n", "expected"), [(0, 900, {0}), (2, 1500, {2, 4}), (2, 60, {0, 1, 2})])
def test_a_small_table_gets_as_many_factors_as_it_supports(n_factors, n, expected, tmp_path):
    table = write(drawn(12, n=n, n_factors=n_factors).drop(columns="timestamp"), tmp_path / "r.csv")
    assert choose_factors(data_of(table).dls.train.dataset, 0) in expected


# Runs


def write(frame, path):
    frame.to_csv(path, index=False)
    return path


@pytest.mark.parametrize("steps", [{}, {"epochs": 2}])
def test_an_affine_change_of_the_ratings_changes_the_unit_alone(steps, tmp_path):
    frame = drawn(5, 60, 40, 1500)
    found = []
    for at, (scale, shift) in enumerate(((1, 0), (0.01, -0.03), (20, 7))):
        table = write(frame.assign(rating=scale * frame["rating"] + shift), tmp_path / f"r{at}.csv")
        run = foveal.train(table, out=tmp_path / f"run{at}", task="rating", **steps)
        predictor = load_predictor(run.folder / "model.safetensors")
        lists = {user: [one.item for one in items] for user, items in predictor.recommend_all(5)}
        found.append((run.metrics["rmse"].value / scale, lists, run.metrics["ndcg_at_10"].value))
    for rmse, lists, ndcg in found[1:]:
        assert rmse == pytest.approx(found[0][0], rel=1e-3)
        assert lists == found[0][1]
        assert ndcg == found[0][2]


@pytest.mark.parametrize("n", [80, 210])
def test_a_small_table_ends_no_worse_than_biases_or_says_so(n, tmp_path, capsys):
    for seed in range(3):
        table = write(drawn(seed, 20, 15, n, noise=1.0).drop(columns="timestamp"), tmp_path / f"{n}-{seed}.csv")
        run = foveal.train(table, out=tmp_path / f"run{n}-{seed}", task="rating")
        said = capsys.readouterr().out
        rmse, of_biases = run.metrics["rmse"].value, run.metrics["rmse_of_biases"].value
        assert ("worse than user and item biases alone" in said) == (rmse > of_biases)
        assert rmse < 1.05 * of_biases


def test_the_last_lines_compare_with_what_is_most_popular(tmp_path, capsys):
    run = foveal.train(write(drawn(6), tmp_path / "r.csv"), out=tmp_path / "run", task="rating")
    said = " ".join(capsys.readouterr().out.split())
    summary = json.loads((run.folder / "summary.json").read_text())
    assert all(" ".join(one.split()) in said for one in summary["verdicts"])
    assert summary["verdicts"][0] in (run.folder / "report.html").read_text()
    assert {"most popular", "predicted rating"} <= set(summary["rankings"])
    assert "the latest 20% of each user by `timestamp`" in said
    assert re.search(r"model Bayesian factorisation: \d+ factors", said)


def data_of(path, **values):
    run = RatingRun.of(table=path, **values)
    return run_data(run, read_table(run))


def test_the_split_is_by_time_where_there_are_times_and_says_so(tmp_path):
    frame = drawn(7)
    table = write(frame, tmp_path / "r.csv")
    bare = write(frame.drop(columns="timestamp"), tmp_path / "bare.csv")
    last = frame["timestamp"].quantile(0.8)
    for values, path, words in (
        ({}, table, "the latest 20% of each user by `timestamp`"),
        ({"hold_out": "time"}, table, "the latest 20% by `timestamp`"),
        ({"hold_out": "rows"}, table, "20% of the rows, drawn"),
        ({}, bare, "20% of the rows, drawn"),
        ({"hold_out": "user"}, bare, "20%, drawn, of each user"),
    ):
        data = data_of(path, **values)
        assert data.split == words
        assert data.dls.train.n + data.dls.valid.n == len(frame)
        assert data.dls.valid.n == pytest.approx(0.2 * len(frame), abs=20)
        valid = data.dls.valid.dataset
        pairs = {valid.ids(pair) for pair in valid.inputs}
        rows = frame[[(user, item) in pairs for user, item in zip(frame["user"], frame["item"], strict=True)]]
        if words.startswith("the latest 20% by"):
            assert rows["timestamp"].min() > last - 5
        if words == "the latest 20% of each user by `timestamp`":
            newest = frame.groupby("user")["timestamp"].max()
            assert set(newest) <= set(rows["timestamp"])
    with pytest.raises(InputError, match="needs a column of times"):
        data_of(bare, hold_out="time")
    marked = write(frame.assign(is_valid=frame.index % 7 == 0), tmp_path / "marked.csv")
    assert data_of(marked).split == "as column `is_valid` says"
    with pytest.raises(InputError, match="does not go with column `is_valid`"):
        data_of(marked, hold_out="user")


def test_who_only_had_an_item_is_recommended_to_and_not_rated_for(tmp_path):
    frame = drawn(8)
    had = np.random.default_rng(0).random(len(frame)) < 0.6
    table = write(frame.assign(rating=frame["rating"].where(~had, 0)), tmp_path / "r.csv")
    data = data_of(table)
    assert data.dls.train.dataset.targets.min() == 1
    assert len(data.known.pairs) == pytest.approx(0.8 * len(frame), abs=10)
    assert int(data.known.ratings.isnan().sum()) == pytest.approx(0.6 * 0.8 * len(frame), rel=0.1)
    assert len(data.dls.train) < len(data.known.pairs) / 64


@pytest.mark.parametrize("layout", ["counts", "seen"])
def test_without_ratings_who_had_what_is_learned(layout, tmp_path, capsys):
    frame = drawn(9)[["user", "item", "rating"]]
    rng = np.random.default_rng(0)
    plays = frame.assign(plays=np.ceil(rng.lognormal(3, 2, len(frame))).astype(int)).drop(columns="rating")
    table = write(plays if layout == "counts" else frame[["user", "item"]], tmp_path / "r.csv")
    run = foveal.train(table, out=tmp_path / "run", task="rating", epochs=1)
    assert "rmse" not in run.metrics
    assert 0 <= run.metrics["ndcg_at_10"].value <= 1
    predictor = load_predictor(run.folder / "model.safetensors")
    assert len(predictor.recommend(1, 3)) == 3
    assert 0 <= predictor.predict(1, 2).label <= 1


def test_a_run_that_was_stopped_goes_on_to_the_same_bits(tmp_path, monkeypatch):
    table = write(drawn(10), tmp_path / "r.csv")
    foveal.train(table, out=tmp_path / "whole", task="rating", factors=3)
    monkeypatch.setattr(fits, "EVERY_SECONDS", 0.0)
    sweep, swept = Sampler.sweep, []

    def stopping(self):
        if len(swept) == 130:
            raise KeyboardInterrupt
        swept.append(1)
        sweep(self)

    monkeypatch.setattr(Sampler, "sweep", stopping)
    with pytest.raises(KeyboardInterrupt):
        foveal.train(table, out=tmp_path / "stopped", task="rating", factors=3)
    monkeypatch.setattr(Sampler, "sweep", sweep)
    foveal.train(resume=tmp_path / "stopped")
    one, other = (load_predictor(tmp_path / name / "model.safetensors") for name in ("whole", "stopped"))
    for name, tensor in one.model.state_dict().items():
        assert torch.equal(tensor, other.model.state_dict()[name]), name
    lines = [(tmp_path / name / "history.jsonl").read_text().splitlines() for name in ("whole", "stopped")]
    rmses = [[json.loads(line)["metrics"]["rmse"] for line in of] for of in lines]
    assert rmses[0] == rmses[1]


def test_predictions_name_the_ids_of_the_table_also_where_training_did_not_know_them(tmp_path):
    frame = drawn(13)
    valid = frame.index >= 1000
    frame.loc[frame.index >= 1190, "item"] += 1000  # only the last rows have these
    run = foveal.train(write(frame.assign(is_valid=valid), tmp_path / "r.csv"), out=tmp_path / "run", task="rating")
    found = pd.read_csv(run.folder / "predictions.csv")
    assert (
        found[["user", "item", "rating"]].to_numpy().tolist()
        == frame.loc[valid, ["user", "item", "rating"]].to_numpy().tolist()
    )
    assert found["prediction"].between(1, 5).all()


def test_steps_are_taken_where_they_are_asked_for(tmp_path, capsys):
    foveal.train(write(drawn(11), tmp_path / "r.csv"), out=tmp_path / "run", task="rating", lr=0.01, factors=3)
    said = capsys.readouterr().out
    assert "product of vectors with biases, 3 factors, by gradient steps of 64" in " ".join(said.split())
