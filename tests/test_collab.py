"""Collaborative filtering: the book's cells, what they find, and what a bundle of ratings answers."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import ndcg_score

import foveal.collab.all as star
from foveal.collab.drawn import write_ratings
from foveal.collab.learner import collab_learner
from foveal.collab.loaders import CollabDataLoaders, TimeSplitter
from foveal.collab.model import Embedding, EmbeddingDotBias, Module, embedding_size
from foveal.collab.rank_evaluation import rank_metrics
from foveal.collab.ranking import ndcg_at_k, precision_at_k, recall_at_k
from foveal.collab.task import Ids
from foveal.core.errors import InputError, ModelFileError, TableError, UnknownNameError
from foveal.inference.loading import load_image_predictor, load_learner
from foveal.learner.learner import Learner
from foveal.losses import MSELossFlat
from foveal.models.head import sigmoid_range


@pytest.fixture(scope="module")
def ratings(tmp_path_factory):
    """The sample's ratings, read and merged as the book does it."""
    path = tmp_path_factory.mktemp("ml")
    write_ratings(path)
    names = ["user", "movie", "rating", "timestamp"]
    ratings = pd.read_csv(path / "u.data", delimiter="\t", header=None, names=names)
    columns = {"usecols": (0, 1), "names": ("movie", "title"), "header": None}
    movies = pd.read_csv(path / "u.item", delimiter="|", encoding="latin-1", **columns)
    return ratings.merge(movies)


@pytest.fixture(scope="module")
def dls(ratings):
    return CollabDataLoaders.from_df(ratings, item_name="title", bs=64, seed=42)


@pytest.fixture(scope="module")
def learn(dls):
    learn = collab_learner(dls, n_factors=20, y_range=(0, 5.5), seed=0)
    learn.fit_one_cycle(5, 5e-3, wd=0.1)
    return learn


class DotProduct(Module):
    """The book's third model, word for word but for its names."""

    def __init__(self, n_users, n_movies, n_factors, y_range=(0, 5.5)):
        self.user_factors = Embedding(n_users, n_factors)
        self.user_bias = Embedding(n_users, 1)
        self.movie_factors = Embedding(n_movies, n_factors)
        self.movie_bias = Embedding(n_movies, 1)
        self.y_range = y_range

    def forward(self, x):
        users = self.user_factors(x[:, 0])
        movies = self.movie_factors(x[:, 1])
        res = (users * movies).sum(dim=1, keepdim=True)
        res += self.user_bias(x[:, 0]) + self.movie_bias(x[:, 1])
        return sigmoid_range(res, *self.y_range)


def test_the_embeddings_are_drawn_as_the_book_has_it(golden):
    torch.manual_seed(0)
    drawn = Embedding(2000, 50).weight.detach()
    assert float(drawn.std()) == pytest.approx(golden["Embedding"]["std"], rel=0.02)
    assert float(drawn.abs().max()) <= 0.02
    for n, size in golden["emb_sz_rule"].items():
        assert embedding_size(int(n)) == size


def test_batches_are_pairs_and_ratings(dls, ratings):
    x, y = dls.one_batch()
    assert (x.shape, x.dtype, y.shape) == ((64, 2), torch.int64, (64, 1))
    assert type(x) is torch.Tensor
    assert dls.classes["title"][0] == dls.classes["user"][0] == "#na#"
    truth = {(row.user, row.title): row.rating for row in ratings.itertuples()}
    for (user, item), rating in zip(x.tolist(), y[:, 0].tolist(), strict=True):
        assert truth[dls.classes["user"][user], dls.classes["title"][item]] == rating
    assert repr(dls.classes["user"][:3]) == "(#3) ['#na#',1,2]"
    assert repr(dls.loss_func) == "FlattenedLoss of MSELoss()"


def test_an_epoch_sees_every_row_once(dls):
    first, second = (sorted(map(tuple, np.concatenate([b.inputs for b in dls.train.batches(epoch=e)]))) for e in (0, 1))
    assert len(first) == len(dls.train) * 64
    assert first != second  # the last partial batch is another one
    assert set(first) <= set(map(tuple, dls.train.dataset.inputs.tolist()))


def test_training_beats_the_mean_and_shows_what_it_answers(learn, capsys):
    targets = learn.dls.valid.dataset.targets
    loss = learn.validate()[0]
    assert loss < 0.9 * float(targets.var())
    learn.show_results(max_n=3)
    shown = capsys.readouterr().out
    assert "title" in shown
    assert "prediction" in shown
    preds, truth = learn.get_preds()
    assert preds.shape == truth.shape == targets.shape
    assert float(((preds - truth) ** 2).mean()) == pytest.approx(loss, rel=1e-5)


def test_a_module_written_by_hand_is_trained_exported_and_filled(dls, tmp_path):
    torch.manual_seed(1)
    sizes = len(dls.classes["user"]), len(dls.classes["title"]), 10
    learn = Learner(dls, DotProduct(*sizes), loss_func=MSELossFlat())
    learn.fit_one_cycle(1, 5e-3, wd=0.1)
    answer = learn.predict(1, dls.classes["title"][5]).label
    file = learn.export(tmp_path / "own.safetensors")
    with pytest.raises(ModelFileError, match=r"your own class `DotProduct`.*model=DotProduct\(\.\.\.\)"):
        load_learner(file)
    again = load_learner(file, model=DotProduct(*sizes))
    assert again.predict(1, dls.classes["title"][5]).label == pytest.approx(answer, abs=1e-6)
    with pytest.raises(ModelFileError, match="does not describe a model that can be built"):
        load_learner(file, model=DotProduct(3, 4, 5))
    with pytest.raises(InputError, match="collab_learner"):
        again.similar(dls.classes["title"][5])


def test_a_bundle_answers_as_the_learner(learn, tmp_path):
    file = learn.export(tmp_path / "m.safetensors")
    stored, title = load_learner(file), learn.dls.classes["title"][7]
    assert stored.predict(3, title).label == learn.predict(3, title).label
    assert stored.recommend(3) == learn.predictor().recommend(3)
    assert torch.equal(stored.model.bias([title]), learn.model.bias([title]))
    assert stored.model.weight([title]).shape == (1, 20)
    pairs = [(user, title) for user in (1, 2, 10**6)]
    assert [one.label for one in stored.predict_batch(pairs)] == pytest.approx(
        [stored.predict(*p).label for p in pairs]
    )
    with pytest.raises(ModelFileError, match="answers for rows, not for images"):
        load_image_predictor(file)


def test_recommendations_leave_out_what_was_seen(learn, ratings):
    predictor, user = learn.predictor(), 5
    train = learn.dls.train.dataset
    seen = {train.ids(pair)[1] for pair in train.inputs if train.ids(pair)[0] == user}
    found = predictor.recommend(user, n=1000, by="rating")
    assert not {one.item for one in found} & seen
    assert len(found) == len(learn.dls.classes["title"]) - 1 - len(seen)
    assert [one.rating for one in found] == sorted((one.rating for one in found), reverse=True)
    assert found[0].rating == pytest.approx(predictor.predict(user, found[0].item).label, abs=1e-5)
    everyone = dict(predictor.recommend_all(3, by="rating"))
    assert [one.item for one in everyone[user]] == [one.item for one in found[:3]]
    assert len(everyone) == len(learn.dls.classes["user"]) - 1
    with pytest.raises(InputError, match="user 99999 did not occur in training"):
        predictor.recommend(99999)


def test_any_model_ranks_as_its_ratings_say(dls):
    torch.manual_seed(0)
    learn = Learner(dls, DotProduct(len(dls.classes["user"]), len(dls.classes["title"]), 4))
    predictor = learn.predictor()
    for one in predictor.recommend(2, n=5, seen=True, by="rating"):
        assert one.rating == pytest.approx(predictor.predict(2, one.item).label, abs=1e-5)


def test_somebody_new_is_recommended_what_like_minded_people_like(learn, ratings):
    predictor = learn.predictor()
    gains = []
    for user in range(1, 21):
        train = learn.dls.train.dataset
        rows = train.frame((train.inputs[:, 0] == user).nonzero()[:, 0].tolist())
        given = dict(zip(rows["title"], rows["rating"], strict=True))
        known = {one.item: one.rating for one in predictor.recommend(user, n=1000)}
        new = {one.item: one.rating for one in predictor.recommend_to_new(given, n=1000)}
        usual = {one.item: one.rating for one in predictor.recommend_to_new({rows["title"][0]: 3.0}, n=1000)}
        common = [item for item in known if item in new and item in usual]
        near, far = (np.corrcoef([known[i] for i in common], [to[i] for i in common])[0, 1] for to in (new, usual))
        gains.append(near - far)
    assert np.mean(gains) > 0
    assert near > 0.8
    with pytest.raises(InputError, match="Did you mean"):
        predictor.recommend_to_new({learn.dls.classes["title"][3][:-1]: 5.0})


def test_similar_titles_and_components_come_from_the_vectors(learn):
    predictor, title = learn.predictor(), learn.dls.classes["title"][4]
    vectors = learn.model.i_weight.weight
    cosine = torch.nn.functional.cosine_similarity(vectors[4][None], vectors)
    cosine[[0, 4]] = -1
    (best,) = predictor.similar(title, 1)
    assert best.item == learn.dls.classes["title"][int(cosine.argmax())]
    names, places = predictor.components(2)
    assert len(names) == len(places) == len(vectors) - 1
    assert float(places[:, 0].var()) >= float(places[:, 1].var())
    assert places.mean(dim=0).abs().max() < 1e-4


def test_rankings_are_judged_beside_popularity(learn):
    table = rank_metrics(learn, k=10)
    assert {"item kNN", "most popular", "predicted rating"} <= set(table.index)
    assert learn.predictor().ranking.ranker.title == table.index[0]
    assert list(table.columns) == ["precision@10", "recall@10", "NDCG@10"]
    assert ((table > 0) & (table < 1)).all(axis=None)


def test_implicit_feedback_learns_who_had_what(ratings):
    pairs = ratings[["user", "title"]]
    dls = CollabDataLoaders.from_df(pairs, implicit=True, negatives=3, seed=0, bs=128)
    x, y = dls.one_batch()
    assert (x.shape, float(y.sum())) == ((512, 2), 128.0)
    known = {tuple(pair) for pair in torch.cat([dls.train.dataset.inputs, dls.valid.dataset.inputs]).tolist()}
    assert all((tuple(pair) in known) == bool(label) for pair, label in zip(x.tolist(), y[:, 0].tolist(), strict=True))
    again = CollabDataLoaders.from_df(pairs, implicit=True, negatives=3, seed=0, bs=128).one_batch()
    assert torch.equal(again[0], x)
    learn = collab_learner(dls, n_factors=8, seed=0)
    assert repr(dls.loss_func) == "FlattenedLoss of BCEWithLogitsLoss()"
    learn.fit_one_cycle(3, 1e-2)
    assert learn.validate()[0] < 0.5623  # what answering 1/4 to all gives
    assert 0 <= learn.predict(1, ratings["title"][0]).label <= 1
    assert rank_metrics(learn)["NDCG@10"].iloc[0] > 0.9 * rank_metrics(learn).loc["most popular", "NDCG@10"]


def test_ids_of_any_kind_and_columns_of_any_name(ratings, tmp_path):
    frame = pd.DataFrame(
        {"stars": ratings["rating"], "wer": [f"u{u}" for u in ratings["user"]], "was": ratings["movie"]}
    )
    dls = CollabDataLoaders.from_df(frame, user_name="wer", item_name="was", rating_name="stars", seed=1)
    assert dls.classes["wer"][1] == "u1"
    assert dls.classes["was"][1] == 1
    predictor = collab_learner(dls, n_factors=3).predictor()
    predictor.save(tmp_path / "m.safetensors")
    assert load_learner(tmp_path / "m.safetensors").predict("u1", 1).label == predictor.predict("u1", 1).label
    with pytest.raises(TableError, match=r"no column `wa`\. Did you mean `was`"):
        CollabDataLoaders.from_df(frame, user_name="wer", item_name="wa", rating_name="stars")
    frame = frame.astype({"stars": object})
    frame.loc[3, "stars"] = "five"
    with pytest.raises(TableError, match=r"'five' in row 5"):
        CollabDataLoaders.from_df(frame, 0.2, "wer", "was", "stars")


def test_the_latest_ratings_are_for_validation(ratings):
    train, valid = TimeSplitter("timestamp", 0.25)(ratings)
    assert len(valid) == pytest.approx(len(ratings) / 4, abs=1)
    assert ratings["timestamp"].iloc[train].max() <= ratings["timestamp"].iloc[valid].min()
    train, valid = TimeSplitter("timestamp", 0.25, group="user")(ratings)
    assert set(ratings["user"].iloc[valid]) == set(ratings["user"])
    for user in (1, 50):
        mine = ratings["user"].to_numpy() == user
        times = ratings["timestamp"].to_numpy()
        assert times[[i for i in train if mine[i]]].max() <= times[[i for i in valid if mine[i]]].min()


def test_rows_of_people_not_known_are_answered_by_what_is_known(ratings):
    known = ratings["user"] <= 200
    split = (np.flatnonzero(known).tolist(), np.flatnonzero(~known).tolist())
    dls = CollabDataLoaders.from_df(ratings, item_name="title", splitter=lambda _: split)
    assert (dls.valid.dataset.inputs[:, 0] == 0).all()
    learn = collab_learner(dls, n_factors=10, y_range=(0, 5.5), seed=0)
    learn.fit_one_cycle(5, 5e-3, wd=0.1)
    preds, targets = learn.get_preds()
    assert float(((preds - targets) ** 2).mean()) < float(targets.var())  # the films' share is left


@given(st.integers(0, 2**31), st.integers(2, 12), st.integers(1, 14))
@settings(max_examples=100)
def test_rankings_agree_with_scikit_learn_and_with_counting(seed, n_items, k):
    rng = np.random.default_rng(seed)
    scores = rng.permuted(np.tile(np.arange(n_items, dtype=float), (5, 1)), axis=1)
    truth = (rng.random((5, n_items)) < 0.4).astype(float)
    truth[0, 0] = 1
    pair = torch.from_numpy(scores), torch.from_numpy(truth)
    rows = [at for at in range(5) if truth[at].any()]
    assert float(ndcg_at_k(*pair, k)) == pytest.approx(
        np.mean([ndcg_score(truth[[a]], scores[[a]], k=k) for a in rows])
    )
    first = {at: set(np.argsort(-scores[at])[:k]) for at in rows}
    hits = [len(first[at] & set(np.flatnonzero(truth[at]))) for at in rows]
    assert float(precision_at_k(*pair, k)) == pytest.approx(np.mean([hit / k for hit in hits]))
    assert float(recall_at_k(*pair, k)) == pytest.approx(
        np.mean([h / truth[a].sum() for h, a in zip(hits, rows, strict=True)])
    )


@given(st.lists(st.one_of(st.integers(), st.text(max_size=5)), min_size=1, max_size=20))
def test_ids_come_back_from_their_numbers(values):
    ids = Ids.of(values)
    numbers = ids.numbers([*values, object()])
    assert [ids.names[number] for number in numbers[:-1].tolist()] == values
    assert numbers[-1] == 0
    assert Ids(tuple(json.loads(json.dumps(list(ids.known))))).known == ids.known


def test_the_star_brings_what_a_notebook_needs():
    for name in ("pd", "np", "torch", "Module", "Embedding", "one_hot", "sigmoid_range", "untar_data", "URLs", "first"):
        assert name in star.__all__
    assert len(star.__all__) <= 200
    x = star.one_hot(3, 5).float()
    assert x.tolist() == [0, 0, 0, 1, 0]


def test_from_a_table_to_recommendations_on_the_command_line(ratings, foveal, tmp_path):
    ratings.to_csv(tmp_path / "ratings.csv", index=False)
    out = tmp_path / "run"
    columns = ("--task", "rating", "--user", "user", "--item", "title", "--rating", "rating")
    said = foveal("train", tmp_path / "ratings.csv", *columns, "--epochs", 2, "--factors", 8, "--out", out).out
    summary = json.loads((out / "summary.json").read_text())
    assert summary["metrics"]["rmse"] < summary["metrics"]["rmse_of_the_mean"]
    assert f"{summary['metrics']['rmse']:.4f}" in said
    predictions = pd.read_csv(out / "predictions.csv")
    error = ((predictions["rating"] - predictions["prediction"]) ** 2).mean() ** 0.5
    assert error == pytest.approx(summary["metrics"]["rmse"], abs=1e-4)
    page = (out / "report.html").read_text()
    assert all(part in page for part in ("How well it recommends", "most popular", "The answers that are most wrong"))
    model = out / "model.safetensors"
    first = foveal("recommend", model, 5, "--top", 2).out.splitlines()
    assert len(first) == 2
    foveal("recommend", model, "--top", 3, "--out", tmp_path / "all.csv")
    table = pd.read_csv(tmp_path / "all.csv")
    assert len(table) == 3 * table["user"].nunique() == 3 * 240
    assert table.query("user == 5")["title"].iloc[0] in first[0]
    held_out = set(predictions.query("user == 5")["title"])
    had = next(title for title in ratings.query("user == 5")["title"] if title not in held_out)
    foveal("recommend", model, 5, "--only", had, "--out", tmp_path / "none.csv")
    assert list(pd.read_csv(tmp_path / "none.csv").columns) == list(table.columns)
    again = tmp_path / "again"
    foveal("train", out / "run.toml", "--out", again)
    assert json.loads((again / "summary.json").read_text())["metrics"] == summary["metrics"]
    assert (
        "--folds is not used with --task rating"
        in foveal("train", tmp_path / "ratings.csv", *columns, "--folds", 3, code=2).err
    )
    assert "did not occur in training" in foveal("recommend", model, "bob", code=2).err
    for_new = foveal("recommend", model, "--liked", had, "--only", had, "--seen").out
    assert for_new.startswith("you ")
    assert had in for_new
    assert foveal("recommend", model, "--liked", had, "--only", had).out == ""
    assert "`--liked` gives none" in foveal("recommend", model, "--liked", had, "--by", "rating", code=2).err
    assert "must end in .csv, .jsonl or .parquet" in foveal("recommend", model, "--out", "x.json", code=2).err
    checked = foveal("check", tmp_path / "ratings.csv", "--task", "rating").out
    assert "items, " in checked
    assert " users, " in checked
    assert "0 errors" in checked
    assert (
        "no column `nobody`"
        in foveal("check", tmp_path / "ratings.csv", "--task", "rating", "--user", "nobody", code=1).out
    )
    assert "use `foveal predict`" not in foveal("predict", model, "x.jpg", code=2).err
    assert (
        "no column `usr`. Did you mean `user`"
        in foveal("train", tmp_path / "ratings.csv", "--task", "rating", "--user", "usr", code=2).err
    )


def test_a_run_on_ratings_resumes_to_the_bit(ratings, dls, tmp_path):
    from foveal.training.checkpoint import Checkpoints

    class Stop:
        def after_step(self, state):
            if state.epoch == 1 and state.step_in_epoch == 7:
                raise ConnectionError

    def make():
        return collab_learner(dls, n_factors=4, y_range=(0, 5.5), seed=3)

    whole, broken, resumed = make(), make(), make()
    whole.fit_one_cycle(2, 5e-3)
    with pytest.raises(ConnectionError):
        broken.fit_one_cycle(2, 5e-3, cbs=[Checkpoints(tmp_path, every_seconds=0.0), Stop()])
    resumed.fit_one_cycle(2, 5e-3, resume=tmp_path)
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(tensor, resumed.model.state_dict()[name]), name


def test_a_row_of_a_table_is_answered_as_its_pair(learn, ratings):
    row = ratings.iloc[3]
    answer = learn.predict(row)
    assert float(answer.values) == pytest.approx(float(learn.predict(row["user"], row["title"]).values), abs=1e-6)
    with pytest.raises(InputError, match="no `title`"):
        learn.predict(row.drop("title"))


def test_sizes_of_vectors_may_be_pairs(dls):
    (n_users, n_items) = (len(names) for names in dls.classes.values())
    learn = collab_learner(dls, use_nn=True, emb_szs=[(n_users, 4), (n_items, 7)], layers=[10], seed=0)
    assert (learn.model.u_weight.weight.shape, learn.model.i_weight.weight.shape) == ((n_users, 4), (n_items, 7))
    by_name = collab_learner(dls, use_nn=True, emb_szs=dict(zip(dls.classes, (4, 7), strict=True)), layers=[10], seed=0)
    assert all(torch.equal(a, b) for a, b in zip(learn.model.parameters(), by_name.model.parameters(), strict=True))
    with pytest.raises(InputError, match=rf"\[\({n_users}, size\), \({n_items}, size\)\]"):
        collab_learner(dls, use_nn=True, emb_szs=[(n_users + 1, 4), (n_items, 4)])
    with pytest.raises(InputError, match="use_nn=True"):
        collab_learner(dls, emb_szs=[(n_users, 4), (n_items, 4)])


def test_the_books_models_are_built_from_classes_and_sizes(dls):
    made = EmbeddingDotBias.from_classes(5, dls.classes, y_range=(0, 5.5))
    learn = Learner(dls, made, loss_func=MSELossFlat())
    learn.recorder.silent = True
    learn.fit(1, 5e-3)
    title = dls.classes["title"][3]
    assert torch.equal(made.weight([title])[0], made.i_weight.weight[3].detach())
    sizes = star.get_emb_sz(dls)
    network = star.EmbeddingNN(sizes, layers=[20], y_range=(0, 5.5))
    assert network(dls.one_batch()[0]).shape == (64,)
    assert [tuple(table.weight.shape) for table in (network.u_weight, network.i_weight)] == sizes


def test_names_that_training_did_not_know_are_refused_with_the_near_match(learn, dls):
    title = str(dls.classes["title"][1])
    for read in (learn.model.bias, learn.model.weight):
        with pytest.raises(UnknownNameError, match="Did you mean"):
            read([title + "x"], is_item=True)
        with pytest.raises(UnknownNameError, match="no user"):
            read(["nobody"], is_item=False)
    assert learn.model.bias([title]).shape == (1,)


def test_the_worst_answers_are_those_of_the_largest_losses(learn, capsys):
    found = star.Interpretation.from_learner(learn)
    ratings, targets, losses = learn.get_preds(with_loss=True)
    assert torch.allclose(found.losses, losses)
    values, at = found.top_losses(5)
    assert torch.equal(values, losses.sort(descending=True).values[:5])
    assert values[0] == pytest.approx(float((ratings[at[0]] - targets[at[0]]) ** 2), rel=1e-4)
    found.plot_top_losses(3)
    assert len(found.worst(3)) == 3
    assert "prediction" in capsys.readouterr().out
    assert repr(found) == f"RatingInterpretation({len(losses)} pairs)"
    with pytest.raises(InputError, match="top_losses"):
        found.plot_confusion_matrix()


@pytest.mark.parametrize(("x", "c"), [(3, 3), (-1, 3), (torch.tensor([0, 3]), 3), (1.5, 3), (0, 0), (True, 3)])
def test_a_one_is_put_in_its_place_or_refused(x, c):
    with pytest.raises(InputError, match=rf"`x` is a whole number, at least 0 and below {c}; got"):
        star.one_hot(x, c)
    assert star.one_hot(2, 3).tolist() == [0, 0, 1]
    assert star.one_hot(torch.tensor([0, 2]), 3).tolist() == [1, 0, 1]
