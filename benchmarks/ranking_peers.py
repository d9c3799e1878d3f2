"""What `ranking.py` compares with: rating and ranking models of other libraries, run by the Python that has them.

    PEERS/bin/python benchmarks/ranking_peers.py ratings TABLE.csv OUT.npz
    PEERS/bin/python benchmarks/ranking_peers.py rankings TABLE.csv OUT.npz

TABLE has the columns user, item, rating and is_valid. OUT gets what each model answers for the validation rows, or the
ten items that it puts first for each user; and seconds. **Ranking models are tuned on the validation side itself**, one
setting after the other, twice, input (what users had, or what they liked) included: what they reach is what tuning
could give at best. Each fits on one thread.
"""

import argparse
import functools
import json
import os
import time
import warnings
from pathlib import Path

os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "LK_NUM_THREADS"), "1")

import numpy as np
import pandas as pd

K = 10


def ndcg(truth_JI, first_JK):
    """Return NDCG@K of each row: gains of 0 and 1, over what the best ranking would gain."""
    hits = np.take_along_axis(truth_JI, first_JK, axis=1)
    discount = 1 / np.log2(np.arange(2, K + 2))
    return (hits * discount).sum(axis=1) / np.cumsum(discount)[np.minimum(truth_JI.sum(axis=1), K) - 1]


class Split:
    """A table as matrices.

    Attributes:
        users, items: ids of training, ascending.
        had, liked: what users had and liked in training, bool [U, I].
        truth: what they liked in validation, bool [U, I].
        judges: positions of users who liked something in validation.
    """

    def __init__(self, frame):
        train, valid = frame[frame.is_valid == 0], frame[frame.is_valid == 1]
        self.users, self.items = np.unique(train.user), np.unique(train.item)
        bound = train.rating.mean() - 1e-9
        self.had = self._table(train)
        self.liked = self._table(train[train.rating >= bound])
        known = valid[valid.user.isin(self.users) & valid.item.isin(self.items) & (valid.rating >= bound)]
        self.truth = self._table(known)
        self.judges = np.flatnonzero(self.truth.any(axis=1))

    def _table(self, rows):
        table = np.zeros((len(self.users), len(self.items)), dtype=bool)
        table[np.searchsorted(self.users, rows.user), np.searchsorted(self.items, rows.item)] = True
        return table

    def first(self, scores_UI):
        """Return the positions of the first K items of the judges that they did not have, int [J, K]."""
        scores = np.where(self.had[self.judges], -np.inf, scores_UI[self.judges])
        return np.argsort(-scores, axis=1, kind="stable")[:, :K]

    def ndcg(self, first_JK):
        """Return NDCG@K of each judge."""
        return ndcg(self.truth[self.judges], first_JK)


def sparse(table):
    from scipy.sparse import csr_matrix

    return csr_matrix(table, dtype=np.float32)


def ease(table, penalty):
    """Steck 2019 in closed form; with fewer users than items by way of the users' Gram matrix: the same numbers."""
    x = table.astype(np.float64)
    if len(x) < x.shape[1]:
        inner = np.linalg.solve(x @ x.T + penalty * np.eye(len(x)), x)
        return x - inner / ((1 - (x * inner).sum(axis=0)) / penalty)
    inverse = np.linalg.inv(x.T @ x + penalty * np.eye(x.shape[1]))
    weights = -inverse / np.diag(inverse)
    np.fill_diagonal(weights, 0)
    return x @ weights


def irspack_dense_slim(table, reg):
    from irspack import DenseSLIMRecommender

    return DenseSLIMRecommender(sparse(table), reg=reg).learn().get_score(np.arange(len(table)))


def irspack_ials(table, n_components, alpha0, reg):
    from irspack import IALSRecommender

    model = IALSRecommender(sparse(table), n_components, alpha0=alpha0, reg=reg, n_threads=1)
    return model.learn().get_score(np.arange(len(table)))


def implicit_als(table, factors, regularization, alpha):
    from implicit.cpu.als import AlternatingLeastSquares

    options = {"factors": factors, "regularization": regularization, "alpha": alpha}
    model = AlternatingLeastSquares(**options, num_threads=1, random_state=0)
    model.fit(sparse(table), show_progress=False)
    return model.user_factors @ model.item_factors.T


def implicit_items(kind, table, **options):
    from implicit import nearest_neighbours

    model = getattr(nearest_neighbours, kind)(**options, num_threads=1)
    model.fit(sparse(table), show_progress=False)
    return (sparse(table) @ model.similarity.tocsr()).toarray()


def lenskit_item_knn(table, max_nbrs):
    from lenskit.data import ItemList, RecQuery, from_interactions_df
    from lenskit.knn import ItemKNNScorer

    rows, columns = np.nonzero(table)
    scorer = ItemKNNScorer(max_nbrs=max_nbrs, feedback="implicit")
    scorer.train(from_interactions_df(pd.DataFrame({"user_id": rows, "item_id": columns})))
    every, found = ItemList(item_ids=np.arange(table.shape[1])), np.full(table.shape, -1.0)
    for user, row in enumerate(table):
        if row.any():
            query = RecQuery(user_id=user, user_items=ItemList(item_ids=np.flatnonzero(row)))
            found[user] = np.nan_to_num(scorer(query, every).scores(), nan=-1.0)
    return found


def popularity(table):
    return np.broadcast_to(table.sum(axis=0).astype(float), table.shape)


SLIM, SLIM_ITEMS = "irspack DenseSLIM (EASE)", 4000  # it inverts a table of items: a minute for 9,000 on one thread
RANKERS = {
    "EASE, numpy": (ease, {"penalty": [10, 30, 100, 200, 300, 500, 700, 1000, 2000]}),
    SLIM: (irspack_dense_slim, {}),
    "irspack IALS": (
        irspack_ials,
        {"n_components": [16, 32, 64, 128], "alpha0": [0.1, 0.3, 1.0, 3.0], "reg": [0.001, 0.003, 0.01, 0.03]},
    ),
    "implicit ALS": (
        implicit_als,
        {"factors": [16, 32, 64], "regularization": [1, 10, 30, 100, 300], "alpha": [0.3, 1, 5, 20]},
    ),
    "implicit item-item, cosine": (
        functools.partial(implicit_items, "CosineRecommender"),
        {"K": [20, 50, 100, 200, 400, 1000]},
    ),
    "implicit item-item, BM25": (
        functools.partial(implicit_items, "BM25Recommender"),
        {"K": [50, 100, 200, 400, 1000], "K1": [0.1, 0.3, 1.2], "B": [0.1, 0.4, 0.75]},
    ),
    "LensKit ItemKNN": (lenskit_item_knn, {"max_nbrs": [20, 50, 200, 400]}),
    "most popular": (popularity, {}),
}


def tuned(split, score, grid):
    """Return the best settings, what they put first and give, their seconds, and those of all that was tried."""
    grid, tried = {"input": ["had", "liked"]} | grid, {}

    def value(settings):
        key = tuple(settings.values())
        if key not in tried:
            began = time.perf_counter()
            given = {name: one for name, one in settings.items() if name != "input"}
            first = split.first(score(getattr(split, settings["input"]), **given))
            tried[key] = (float(split.ndcg(first).mean()), first, time.perf_counter() - began)
        return tried[key][0]

    best = {name: values[len(values) // 2] for name, values in grid.items()}
    for name in [*grid, *grid]:
        best = max(({**best, name: one} for one in grid[name]), key=value)
    return best, *tried[tuple(best.values())], sum(seconds for *_, seconds in tried.values())


def rankings(frame):
    """Return arrays of the OUT file, and what is said of each model."""
    split, about = Split(frame), []
    arrays = {"users": split.users[split.judges]}
    for name, (score, grid) in RANKERS.items():
        if name == SLIM and len(split.items) > SLIM_ITEMS:
            continue
        chosen = {"reg": [about[0]["settings"]["penalty"]]} if name == SLIM else grid
        settings, reached, first, seconds, tuning = tuned(split, score, chosen)
        arrays[f"first.{name}"] = split.items[first]
        about.append(
            {"name": name, "settings": settings, "seconds": seconds, "tuning_seconds": tuning, "ndcg": reached}
        )
    return arrays, about


def ratings(frame, names):
    import surprise

    models = {
        "Surprise SVD": surprise.SVD,
        "Surprise SVD++": surprise.SVDpp,
        "Surprise KNNBaseline": surprise.KNNBaseline,
        "Surprise BaselineOnly": surprise.BaselineOnly,
    }
    low, high = frame.rating.min(), frame.rating.max()
    train, valid = frame[frame.is_valid == 0], frame[frame.is_valid == 1]
    reader = surprise.Reader(rating_scale=(low, high))
    table = surprise.Dataset.load_from_df(train[["user", "item", "rating"]], reader).build_full_trainset()
    arrays, about = {}, []
    for name, kind in models.items():
        if name not in names and names:
            continue
        options = {"random_state": 0} if "SVD" in name else {"verbose": False}
        began = time.perf_counter()
        model = kind(**options).fit(table)
        rows = zip(valid.user, valid.item, strict=True)
        arrays[f"answers.{name}"] = np.array([model.predict(user, item).est for user, item in rows])
        about.append({"name": name, "seconds": time.perf_counter() - began})
    return arrays, about


def folds(frame, seed):
    """Return which rows are held out in Surprise's five folds, bool [5, N]."""
    import surprise
    from surprise.model_selection import KFold

    low, high = frame.rating.min(), frame.rating.max()
    data = surprise.Dataset.load_from_df(frame[["user", "item", "rating"]], surprise.Reader(rating_scale=(low, high)))
    place = {pair: at for at, pair in enumerate(zip(frame.user, frame.item, strict=True))}
    held = np.zeros((5, len(frame)), dtype=bool)
    for fold, (_, test) in enumerate(KFold(n_splits=5, random_state=seed).split(data)):
        held[fold, [place[user, item] for user, item, _ in test]] = True
    return held


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["ratings", "rankings", "folds"])
    parser.add_argument("table", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, default=0, help="of the folds")
    parser.add_argument("--only", nargs="*", default=[], help="models of ratings; all by default")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    frame = pd.read_csv(arguments.table)
    if arguments.what == "folds":
        np.savez(arguments.out, held=folds(frame, arguments.seed))
        return
    arrays, about = rankings(frame) if arguments.what == "rankings" else ratings(frame, arguments.only)
    np.savez(arguments.out, about=json.dumps(about), **arrays)


if __name__ == "__main__":
    main()
