"""Ranking models: what they compute, which is chosen, and what is recommended by them."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge
from sklearn.metrics.pairwise import cosine_similarity

from foveal.collab.content import Content
from foveal.collab.interactions import Interactions
from foveal.collab.item_table import ItemTable
from foveal.collab.learner import collab_learner
from foveal.collab.loaders import CollabDataLoaders
from foveal.collab.rank_evaluation import POPULAR, evaluate_rankings, rank_metrics
from foveal.collab.rankers.als import Als
from foveal.collab.rankers.blend import Blend
from foveal.collab.rankers.choice import History, choose_ranker, held_out, liked_from
from foveal.collab.rankers.ease import Ease, EaseByUsers
from foveal.collab.rankers.items import ItemNeighbours
from foveal.collab.rankers.popularity import Popularity
from foveal.collab.rankers.stored import blend_of, part_of, tensors_of
from foveal.collab.ranking import first_items
from foveal.collab.recommender import Ask
from foveal.collab.verdict import ranking_verdict
from foveal.core.errors import InputError, ModelFileError
from foveal.inference.loading import load_learner


def drawn_table(seed, n_users=30, n_items=12, share=0.3):
    """A table [users, items] of ones; column 0, the unknown item, is empty."""
    table = np.random.default_rng(seed).random((n_users, n_items)) < share
    table[:, 0] = False
    return table


def sparse(table):
    return Interactions.of(torch.from_numpy(np.argwhere(table)), *table.shape)


def people_of_kinds(seed=0, n_users=120, n_items=80, n_kinds=4, n=12):
    """Pairs of users and items in which everybody keeps to the items of one kind, 9 times of 10."""
    rng = np.random.default_rng(seed)
    kinds, rows = rng.integers(0, n_kinds, n_users), []
    for user, kind in enumerate(kinds):
        own = np.arange(n_items) % n_kinds == kind
        weights = np.where(own, 9.0, 1.0 / (n_kinds - 1))
        items = rng.choice(n_items, n, replace=False, p=weights / weights.sum()).tolist()
        rows += [(f"u{user}", item + 1, 5.0 if own[item] else 2.0) for item in items]
    return pd.DataFrame(rows, columns=["user", "item", "rating"]), kinds


# The table


@given(st.integers(0, 2**31), st.integers(1, 20), st.integers(2, 15))
@settings(max_examples=50)
def test_a_sparse_table_is_the_dense_one(seed, n_users, n_items):
    table = drawn_table(seed, n_users, n_items)
    own = sparse(table)
    dense = torch.from_numpy(table).float()
    assert torch.equal(own.dense(), dense)
    assert torch.equal(own.transposed().dense(), dense.T)
    assert torch.equal(own.matrix().to_dense(), dense)
    some = torch.from_numpy(np.random.default_rng(seed).integers(0, n_users, 5))
    assert torch.equal(own.rows(some).dense(), dense[some])
    assert torch.equal(Interactions.of(own.pairs, n_users, n_items).items, own.items)
    vectors = torch.randn(n_items, 3, dtype=torch.float64)
    seen = []
    for users, gram, sums in own.groups().grams(vectors, own.values):
        seen += users.tolist()
        for user, one, total in zip(users.tolist(), gram, sums, strict=True):
            had = vectors[torch.from_numpy(table[user])]
            assert torch.allclose(one, had.T @ had)
            assert torch.allclose(total, had.sum(dim=0))
    assert sorted(seen) == list(range(n_users))


@given(st.integers(0, 2**31), st.integers(1, 12), st.integers(1, 14))
@settings(max_examples=100)
def test_the_first_items_are_those_of_a_stable_sort(seed, n_items, k):
    scores = torch.from_numpy(np.random.default_rng(seed).integers(0, 4, (6, n_items)).astype(float))
    assert torch.equal(first_items(scores, k), scores.sort(dim=1, descending=True, stable=True).indices[:, :k])


# The models


def test_ease_is_a_ridge_regression_of_each_item_on_all_others():
    table = drawn_table(1)
    weights = Ease.fit(sparse(table), 7.0).weights.double().numpy()
    for item in range(1, table.shape[1]):
        others = [at for at in range(table.shape[1]) if at != item]
        ridge = Ridge(alpha=7.0, fit_intercept=False).fit(table[:, others], table[:, item])
        assert weights[others, item] == pytest.approx(ridge.coef_, abs=2e-4)
    assert (np.diag(weights) == 0).all()


def test_ease_by_users_is_ease():
    own = sparse(drawn_table(1, 8, 30))
    by_items, by_users = Ease.fit(own, 4.0), EaseByUsers.fit(own, 4.0)
    assert torch.allclose(by_users.scores(own), by_items.scores(own), atol=0.01)
    history, items = own.items[:5], torch.arange(1, 30)
    assert torch.allclose(by_users.shares(history, items), by_items.shares(history, items), atol=0.01)
    new = torch.arange(30)[own.dense()[0] == 0]  # an item that somebody has is no new one
    first = own.rows(torch.tensor([0]))
    assert torch.allclose(by_users.scores_by(first, by_users.vectors(new)), by_users.scores(first)[:, new], atol=1e-4)


def test_neighbours_are_those_of_the_cosine_and_shrink_where_few_had_both():
    table = drawn_table(2)
    model = ItemNeighbours.fit(sparse(table), n_neighbours=4, shrink=0.0)
    wanted = cosine_similarity(table.T.astype(float))
    np.fill_diagonal(wanted, 0)
    for item in range(1, table.shape[1]):
        best = np.sort(wanted[item])[::-1][:4]
        assert model.similarities[item].double().numpy() == pytest.approx(best, abs=1e-6)
        assert wanted[item, model.neighbours[item]] == pytest.approx(best, abs=1e-6)
    shrunk = ItemNeighbours.fit(sparse(table), n_neighbours=4, shrink=50.0)
    assert (shrunk.similarities.max() < model.similarities.max()).item()


def test_the_vectors_of_users_minimise_what_ials_minimises():
    table = drawn_table(3)
    model = Als.fit(sparse(table), 4, unseen=0.2, penalty=0.05)
    items, people = model.of_items.double(), model.people(sparse(table)).double()
    truth = torch.from_numpy(table).double()
    people.requires_grad_(True)
    found = people @ items.T
    weight = 0.05 * (truth.sum(dim=1) + 0.2 * table.shape[1])
    loss = (truth * (found - 1) ** 2).sum() + 0.2 * (found**2).sum() + (weight[:, None] * people**2).sum()
    loss.backward()
    assert people.grad.abs().max() < 1e-3


@pytest.mark.parametrize("which", ["ease", "knn", "ials", "blend"])
def test_what_items_add_is_the_score(which):
    own = sparse(drawn_table(4))
    models = {"ease": Ease.fit(own, 5.0), "knn": ItemNeighbours.fit(own, 6), "ials": Als.fit(own, 3, 0.3, 0.01)}
    model = Blend.of(list(models.values()), own) if which == "blend" else models[which]
    history = own.items[own.starts[2] : own.starts[3]]
    everything = torch.arange(own.n_items)
    scores = model.scores(own.rows(torch.tensor([2])))[0]
    assert torch.allclose(model.shares(history, everything).sum(dim=1), scores, atol=1e-5)
    assert torch.allclose(model.scores_by(own, model.vectors(everything)), model.scores(own), atol=1e-5)


def test_models_come_back_from_their_tensors_and_damaged_ones_are_refused():
    own = sparse(drawn_table(5))
    models = [Ease.fit(own, 5.0), ItemNeighbours.fit(own, 6), Als.fit(own, 3, 0.3, 0.01), EaseByUsers.fit(own, 5.0)]
    blend = Blend.of(models, own)
    part, tensors = part_of(blend, "liked", 3.5), tensors_of(blend)
    assert torch.equal(blend_of(part, tensors, own.n_items).scores(own), blend.scores(own))
    alone = Blend([Popularity.fit(own)], [1.0])
    again = blend_of(part_of(alone, "had", None), tensors_of(alone), own.n_items)
    assert torch.equal(again.scores(own), alone.scores(own))
    for name, wrong in (
        ("0.weights", tensors["0.weights"][:-1]),
        ("0.weights", tensors["0.weights"].float()),
        ("1.neighbours", tensors["1.neighbours"] + own.n_items),
        ("2.of_items", tensors["2.of_items"][:, None]),
    ):
        with pytest.raises(InputError, match="ranking model"):
            blend_of(part, tensors | {name: wrong}, own.n_items)
    with pytest.raises(InputError, match="tensors of its kind"):
        blend_of(part, {name: one for name, one in tensors.items() if name != "1.similarities"}, own.n_items)


# The choice


def test_what_is_held_out_is_a_fifth_of_each_user_and_the_latest():
    own = sparse(drawn_table(6, 50, 30, 0.5))
    times = torch.from_numpy(np.random.default_rng(0).permutation(len(own.items)).astype(float))
    held = held_out(own, 0, times)
    for user in range(len(own)):
        mine = own.users == user
        assert int(held[mine].sum()) == round(0.2 * int(mine.sum()))
        if held[mine].any():
            assert times[mine & ~held].max() < times[mine & held].min()
    drawn = held_out(own, 0)
    assert torch.equal(drawn, held_out(own, 0))
    assert not torch.equal(drawn, held_out(own, 1))


def test_people_of_kinds_are_told_apart_and_people_alike_get_what_is_popular():
    frame, _ = people_of_kinds()
    users, items = pd.factorize(frame["user"])[0] + 1, frame["item"].to_numpy()
    pairs = torch.from_numpy(np.stack([users, items], axis=1))
    chosen = choose_ranker(History.of(pairs, torch.tensor(frame["rating"].to_numpy()), 121, 81))
    scored = {one.title: one.ndcg for one in reversed(chosen.tried)}
    assert scored[chosen.ranker.title] > 2 * scored[POPULAR]
    rng = np.random.default_rng(1)  # all draw from the same popularities: nothing of a history says more
    weights = 1 / np.arange(1, 61)
    alike = [rng.choice(60, 12, replace=False, p=weights / weights.sum()) + 1 for _ in range(150)]
    pairs = torch.tensor([(user + 1, item) for user, had in enumerate(alike) for item in had.tolist()])
    chosen = choose_ranker(History.of(pairs, None, 151, 61))
    scored = {one.title: one.ndcg for one in reversed(chosen.tried)}
    assert scored[chosen.ranker.title] > 0.9 * scored[POPULAR]


def test_what_is_liked_does_not_depend_on_the_unit():
    ratings = torch.tensor([3.0, 3.0, 3.0, 5.0, 1.0, float("nan")])
    for scale, shift in ((1.0, 0.0), (0.01, -0.03), (20.0, 7.0), (1e-6, 1e3)):
        moved = scale * ratings.double() + shift
        assert ((moved >= liked_from(moved)) == torch.tensor([True, True, True, True, False, False])).all()
    assert liked_from(torch.tensor([float("nan")])) == -float("inf")


@pytest.mark.parametrize("n", [0, 1, 2, 3])
def test_tables_of_next_to_nothing_get_a_ranking(n):
    pairs = torch.tensor([(1, 1), (1, 2), (2, 1)])[:n].reshape(-1, 2)
    chosen = choose_ranker(History.of(pairs, None, 3, 3))
    assert chosen.ranker.scores(Interactions.of(pairs, 3, 3)).shape == (3, 3)


# Recommendations


@pytest.fixture(scope="module")
def learned():
    frame, kinds = people_of_kinds()
    dls = CollabDataLoaders.from_df(frame, seed=0)
    return collab_learner(dls, 4, y_range=(0, 6), seed=0), frame, kinds


def test_recommended_is_what_people_of_the_same_kind_had_and_the_reasons_are_in_the_history(learned):
    learn, _, kinds = learned
    predictor = learn.predictor()
    train = learn.dls.train.dataset
    had = train.frame(range(len(train))).groupby("user")["item"].apply(set)
    of_kind = total = 0
    for user, found in predictor.recommend_all(3):
        assert len(found) == 3
        for one in found:
            assert one.item not in had[user]
            assert set(one.because) <= had[user]
            of_kind += (one.item - 1) % 4 == kinds[int(user[1:])]
            total += 1
    assert of_kind > 0.9 * total
    table = rank_metrics(learn)
    assert table["NDCG@10"].iloc[0] > 1.5 * table.loc[POPULAR, "NDCG@10"]


def test_somebody_new_gets_what_goes_with_what_they_like(learned):
    predictor = learned[0].predictor()
    found = predictor.recommend_to_new([1, 5], n=5)  # both of kind 0
    assert all((one.item - 1) % 4 == 0 for one in found)
    assert all(set(one.because) <= {1, 5} for one in found)
    part = predictor.ranking.part
    for reads, n in (("had", 2), ("liked", 1)):
        ranking = dataclasses.replace(predictor.ranking, part=part.model_copy(update={"learns_from": reads}))
        own = dataclasses.replace(predictor, make_ranking=lambda ranking=ranking: ranking)
        reasons = {reason for one in own.recommend_to_new({1: 5.0, 2: 1.0}, n=80) for reason in one.because}
        assert len(reasons) == n  # what is rated below the mean speaks for nothing where only what is liked is read
    nobody_likes = predictor.recommend_to_new({1: 1.0}, n=3)  # what is popular is left to say
    assert len(nobody_likes) == 3
    with pytest.raises(InputError, match="At least one rating"):
        predictor.recommend_to_new([])
    with pytest.raises(InputError, match="item 999 did not occur"):
        predictor.recommend_to_new([999])


def test_somebody_new_is_ranked_for_by_what_is_known_of_them_or_told_what_is_missing(learned):
    predictor = learned[0].predictor()
    assert {1, 5} <= {one.item for one in predictor.recommend_to_new([1, 5], n=80, seen=True)}
    assert not {1, 5} & {one.item for one in predictor.recommend_to_new([1, 5], n=80)}
    unranked = dataclasses.replace(predictor, make_ranking=None)
    own = dataclasses.replace(predictor, model=torch.nn.Linear(2, 1))  # cannot place somebody new
    neither = dataclasses.replace(own, make_ranking=None)
    for model, ratings, reason in (
        (predictor, [1], r"give \{item: rating\} of at least one, or leave `by` at \"ranking\""),
        (unranked, [1], r"give \{item: rating\} of at least one\.$"),
        (own, {1: 5.0}, 'cannot predict the ratings of somebody new: leave `by` at "ranking"'),
        (neither, {1: 5.0}, "cannot predict the ratings of somebody new, and it has no ranking model"),
    ):
        with pytest.raises(InputError, match=reason):
            model.recommend_to_new(ratings, by="rating")


def test_items_are_left_out_and_lists_are_diverse_as_asked(learned):
    predictor = learned[0].predictor()
    plain = [one.item for one in predictor.recommend("u3", 8)]
    assert not {one.item for one in predictor.recommend("u3", 40, exclude=plain[:3])} & set(plain[:3])
    assert {one.item for one in predictor.recommend("u3", 40, only=plain[:2])} == set(plain[:2])
    assert predictor.recommend("u3", 40, only=plain[:1], exclude=plain[:1]) == []
    assert len(predictor.recommend("u3", 100, seen=True)) == len(predictor.task.items) - 1
    spread = predictor.recommend("u3", 8, diverse=0.9)
    kinds = [len({(one - 1) % 4 for one in found}) for found in (plain, [one.item for one in spread])]
    assert kinds[1] > kinds[0]
    assert spread[0].item == plain[0]
    assert [one.item for one in predictor.recommend("u3", 8, diverse=0.0)] == plain
    for wrong in ({"n": 0}, {"diverse": 1.5}, {"by": "chance"}, {"only_new": True}):
        with pytest.raises(InputError):
            Ask(**wrong)


def test_a_bundle_recommends_as_the_learner_did(learned, tmp_path):
    learn = learned[0]
    learn.items = ItemTable({1: "Ône", 2: "two"}, pd.DataFrame({"genre": ["a|b", None]}, index=[1, 2]))
    try:
        file = learn.export(tmp_path / "model.safetensors")
        stored, own = load_learner(file), learn.predictor()
    finally:
        del learn.items
    for wishes in ({}, {"diverse": 0.5}, {"by": "rating"}, {"only": [1, 2, 3]}):
        assert stored.recommend("u1", 5, **wishes) == own.recommend("u1", 5, **wishes)
    assert stored.recommend_to_new([1]) == own.recommend_to_new([1])
    assert (stored.titles[1], stored.items.where("genre", "B")) == ("Ône", [1])
    assert (stored.search.named("ÔNE"), stored.search.named("one"), stored.search.named("two")) == (1, 1, 2)


def test_a_bundle_whose_ranking_was_damaged_is_refused(learned, tmp_path):
    predictor = learned[0].predictor()
    broken = dataclasses.replace(
        predictor, make_ranking=lambda: dataclasses.replace(predictor.ranking, read=predictor.ranking.read[:-1])
    )
    broken.save(tmp_path / "model.safetensors")
    with pytest.raises(ModelFileError, match="which pairs of training its ranking model reads"):
        load_learner(tmp_path / "model.safetensors")


def test_new_items_are_recommended_by_their_columns():
    """Whoever likes a kind is given the new items whose words are those of the kind."""
    frame, kinds = people_of_kinds()
    words = ["space laser", "love kiss", "horse desert", "joke song"]
    titles = {item: f"{words[(item - 1) % 4]} {item}" for item in range(1, 81)}
    learn = collab_learner(CollabDataLoaders.from_df(frame, seed=0), 4, y_range=(0, 6), seed=0)
    learn.items = ItemTable(titles)
    predictor = learn.predictor()
    new = ItemTable({100 + kind: f"{words[kind]} again" for kind in range(4)})
    right = [
        predictor.recommend(f"u{user}", 1, new_items=new, only_new=True)[0].item == 100 + kind
        for user, kind in enumerate(kinds)
        if predictor.task.users.number(f"u{user}")
    ]
    assert np.mean(right) > 0.9
    among = [one for _, found in predictor.recommend_all(20, new_items=new) for one in found if one.item >= 100]
    assert among
    assert among[0].title == new.titles[among[0].item]
    with pytest.raises(InputError, match="cannot rank them"):
        predictor.recommend("u1", new_items=new, by="rating")
    bare = collab_learner(CollabDataLoaders.from_df(frame, seed=0), 4, seed=0).predictor()
    with pytest.raises(InputError, match="train it with a table of items"):
        bare.recommend("u1", new_items=new)


def test_columns_of_any_kind_become_vectors():
    features = pd.DataFrame(
        {"year": [1990, 2000, None, 2010] * 10, "genre": ["a|b", "c", None, "a, c"] * 10, "empty": [None] * 40}
    )
    vectors = torch.randn(40, 3)
    content = Content.fit(features, vectors)
    assert content.vectors(features).shape == (40, 3)
    assert content.vectors(features).isfinite().all()
    with pytest.raises(InputError, match="`empty` is not among genre"):
        content.vectors(features[["genre"]])


def test_the_verdict_says_which_is_better(learned):
    learn = learned[0]
    valid = learn.dls.valid.dataset.inputs
    rankings = evaluate_rankings(learn.predictor(), valid)
    words = ranking_verdict(rankings)
    assert words.startswith(f"Recommended by {rankings.first}: NDCG@10 ")
    assert "times that of what is most popular" in words
    turned = dataclasses.replace(
        rankings, of={POPULAR + "!": rankings.of[POPULAR], POPULAR: rankings.of[rankings.first]}
    )
    assert ranking_verdict(turned).startswith("Recommending what is most popular is better")
    same = dataclasses.replace(rankings, of={"EASE": rankings.of[POPULAR], POPULAR: rankings.of[POPULAR]})
    assert ranking_verdict(same).startswith("Recommending what is most popular is as good")
