"""Ratings and recommendations on MovieLens, beside other libraries: the whole of `foveal train`.

    python benchmarks/ranking.py --data FOLDER --peers PEERS/bin/python --out RESULT.json --only ratings rankings

FOLDER holds `ml-100k` (u.data, u.item, u1.base ...) and `latest` (ratings.csv of ml-latest-small). PEERS has
scikit-surprise, implicit, irspack and lenskit. Parts: `ratings` (RMSE, five folds), `rankings` (NDCG@10), `units`
(ratings in other units), `small` (80 and 210 rows), `cold` (items that nobody had). Every part replaces its own rows of
RESULT.json.
"""

import argparse
import datetime as dt
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from ranking_peers import K, Split, ndcg

from foveal.collab.item_table import ItemTable
from foveal.inference.loading import load_predictor
from foveal.metrics.bootstrap import interval

ROOT = Path(__file__).parents[1]
COLUMNS = ["user", "item", "rating", "time"]
PAIR = ["user", "item", "rating", "is_valid"]
EASE, POPULAR = "EASE, numpy", "most popular"


def read(path, sep="\t"):
    """Read a table of ratings, with or without a line of names."""
    first = path.open(encoding="latin-1").readline()
    return pd.read_csv(path, sep=sep, names=COLUMNS, skiprows=0 if first[0].isdigit() else 1)


def read_items(data):
    """Return title and genres of MovieLens 100k, by item."""
    lines = (data / "ml-100k" / "u.item").read_text(encoding="latin-1").splitlines()
    cells = [line.split("|") for line in lines if line[0].isdigit()]
    names = (data / "ml-100k" / "u.genre").read_text().splitlines()
    genres = [name.split("|")[0] for name in names if "|" in name]
    rows = [(int(row[0]), row[1], "|".join(g for g, flag in zip(genres, row[5:], strict=True) if flag == "1"))
            for row in cells]  # fmt: skip
    return pd.DataFrame(rows, columns=["item", "title", "genres"]).set_index("item")


class Work:
    """A folder to work in, and the commands that are run there."""

    def __init__(self, folder, peers):
        self.folder, self.peers, self.n = folder, peers, 0

    def path(self, ending):
        self.n += 1
        return self.folder / f"{self.n:04}{ending}"

    def train(self, frame, *options):
        """Run `foveal train`; return the run folder, its summary and the seconds of the process."""
        table, out = self.path(".csv"), self.path("")
        frame.to_csv(table, index=False)
        environment = os.environ | {"PYTHONPATH": str(ROOT / "src"), "PYTHONWARNINGS": "ignore"}
        command = [sys.executable, "-P", "-m", "foveal", "train", table, "--task", "rating", "--items", "none"]
        began = time.perf_counter()
        done = subprocess.run(
            [*map(str, command), "--out", str(out), *map(str, options)],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(done.stdout[-2000:] + done.stderr[-2000:])
        return out, json.loads((out / "summary.json").read_text()), time.perf_counter() - began

    def peer(self, what, frame, *options):
        """Run `ranking_peers.py`; return its arrays, and what it says of each model."""
        table, out = self.path(".csv"), self.path(".npz")
        frame.to_csv(table, index=False)
        command = [self.peers, ROOT / "benchmarks" / "ranking_peers.py", what, table, out, *options]
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        subprocess.run([*map(str, command)], env=environment, check=True, capture_output=True)
        with np.load(out) as arrays:
            found = dict(arrays)
        return found, json.loads(str(found.pop("about", "[]")))


def errors(answers, truth):
    difference = np.asarray(answers) - np.asarray(truth)
    return {"rmse": float((difference**2).mean() ** 0.5), "mae": float(np.abs(difference).mean())}


def ratings_part(work, data, seeds):
    """Yield RMSE and MAE of every model on every fold."""
    folds = []
    for fold in range(1, 6):
        sides = [
            read(data / "ml-100k" / f"u{fold}.{side}").assign(is_valid=i) for i, side in ((0, "base"), (1, "test"))
        ]
        folds.append(("u1 to u5", fold, pd.concat(sides, ignore_index=True)[PAIR]))
    whole = read(data / "ml-100k" / "u.data")
    for seed in seeds:
        held = work.peer("folds", whole[COLUMNS[:3]], "--seed", seed)[0]["held"]
        folds += [
            (f"KFold {seed}", at + 1, whole.assign(is_valid=one.astype(int))[PAIR]) for at, one in enumerate(held)
        ]
    for split, fold, frame in folds:
        truth = frame.rating[frame.is_valid == 1].to_numpy()
        fast = split not in ("u1 to u5", "KFold 0")
        for seed in seeds if (split, fold) == ("u1 to u5", 1) else seeds[:1]:
            _, summary, seconds = work.train(frame, "--seed", seed)
            row = {"split": split, "fold": fold, "seed": seed}
            figures = summary["metrics"]
            both = {"intervals": {name: summary["intervals"][name] for name in ("rmse", "mae")}}
            yield (
                row
                | {"model": "foveal"}
                | {name: figures[name] for name in ("rmse", "mae")}
                | both
                | {
                    "seconds": summary["timings"]["ratings model"],
                    "process_seconds": seconds,
                }
            )
            for ending, name in (("of_biases", "biases (foveal's)"), ("of_the_mean", "mean")):
                yield row | {"model": name, "rmse": figures[f"rmse_{ending}"], "mae": figures[f"mae_{ending}"]}
        if not fast:
            _, summary, seconds = work.train(frame, "--epochs", 5)
            figures = {name: summary["metrics"][name] for name in ("rmse", "mae")}
            yield (
                {"split": split, "fold": fold, "seed": 0, "model": "foveal --epochs 5"}
                | figures
                | {
                    "seconds": summary["timings"]["ratings model"],
                    "process_seconds": seconds,
                }
            )
        only = ["--only", "Surprise SVD", "Surprise BaselineOnly", "Surprise KNNBaseline"] if fast else []
        arrays, about = work.peer("ratings", frame, *only)
        for one in about:
            row = {"split": split, "fold": fold, "seed": 0, "model": one["name"], "seconds": one["seconds"]}
            yield row | errors(arrays[f"answers.{one['name']}"], truth)


def of_users(values):
    """Return the mean with its bootstrap interval."""
    found = interval(torch.mean, torch.as_tensor(values, dtype=torch.float64))
    return [found.value, found.low, found.high]


def lists(predictor, users, **wishes):
    """Return the items that are recommended to users, [U, K]."""
    return np.array([[one.item for one in found] for _, found in predictor.recommend_all(K, users=users, **wishes)])


def latest(table):
    """Return 1 for the latest 20% of each user's rows, as `foveal train` holds out where there are times."""
    order = table.sort_values(["user", "time"], kind="stable").index
    left = table.loc[order].groupby("user").cumcount(ascending=False)
    return (left.sort_index() < (table.groupby("user").item.transform("size") * 0.2).round()).astype(int)


def rankings_part(work, data, seeds):
    """Yield NDCG@10 of every ranking model on every split."""
    tables = {"ml-100k": read(data / "ml-100k" / "u.data"), "latest": read(data / "latest" / "ratings.csv", ",")}
    for name, table in tables.items():
        for how in (*seeds, "time"):
            if how == "time":
                out, summary, process = work.train(table)  # its own split
                frame = table.assign(is_valid=latest(table))[PAIR]
                assert summary["n_valid"] == frame.is_valid.sum(), summary["split"]
            else:
                order = np.random.default_rng(how).permutation(len(table))
                frame = table.assign(is_valid=(order < round(0.2 * len(table))).astype(int))[PAIR]
                out, summary, process = work.train(frame)
            split = Split(frame)
            users = split.users[split.judges].tolist()
            arrays, about = work.peer("rankings", frame)
            assert arrays["users"].tolist() == users
            first = {"foveal": lists(load_predictor(out / "model.safetensors", device="cpu"), users)}
            first |= {one["name"]: arrays[f"first.{one['name']}"] for one in about}
            gains = {title: split.ndcg(np.searchsorted(split.items, items)) for title, items in first.items()}
            row = {"table": name, "split": "by time" if how == "time" else f"random {how}", "users": len(users)}
            chosen = next(iter(summary["rankings"]))
            yield row | {
                "model": "foveal",
                "settings": chosen,
                "seconds": summary["timings"]["ranking model"],
                "process_seconds": process,
                "own_figure": summary["metrics"]["ndcg_at_10"],
                "ndcg": of_users(gains["foveal"]),
                "less_ease": of_users(gains["foveal"] - gains[EASE]),
                "of_ease": float(gains["foveal"].mean() / gains[EASE].mean()),
                "of_popularity": float(gains["foveal"].mean() / gains[POPULAR].mean()),
            }
            for one in about:
                yield row | {"model": one["name"]} | one | {"ndcg": of_users(gains[one["name"]])}


def units_part(work, data, seeds):
    """Yield the RMSE of the same ratings in other units, and how many recommendations differ."""
    sides = [read(data / "ml-100k" / f"u1.{side}").assign(is_valid=at) for at, side in enumerate(("base", "test"))]
    frame = pd.concat(sides, ignore_index=True)[PAIR]
    seen = {}
    for title, scale, shift in (("r", 1, 0), ("(r - 3) / 100", 0.01, -0.03), ("20 r + 7", 20, 7)):
        moved = frame.assign(rating=(frame.rating * scale + shift).round(6))
        out, summary, _ = work.train(moved)
        predictor = load_predictor(out / "model.safetensors", device="cpu")
        found = lists(predictor, list(predictor.task.users.known))
        seen[title] = (summary["metrics"]["rmse"] / scale, found)
        rmse, first = seen["r"]
        yield {
            "ratings": title,
            "read_as": summary["read_as"],
            "rmse_in_units_of_r": seen[title][0],
            "relative_difference": abs(seen[title][0] / rmse - 1),
            "ndcg": summary["metrics"]["ndcg_at_10"],
            "recommendations": int(first.size),
            "that_differ": int((found != first).sum()) if found.shape == first.shape else None,
        }


def small_tables(table, n, seed):
    """Yield what the small table is, and its rows."""
    rng = np.random.default_rng([seed, n])
    side = {80: 12, 210: 20}[n]
    users, items = (table[name].value_counts().index[:side] for name in ("user", "item"))
    block = table[table.user.isin(users) & table.item.isin(items)]
    for title, rows in (("densest", block), ("sparse", table)):
        chosen = rows.iloc[rng.permutation(len(rows))[:n]]
        yield title, chosen.assign(is_valid=(np.arange(len(chosen)) % 5 == 0).astype(int))[PAIR]


def small_part(work, data, seeds):
    """Yield RMSE on tables of few rows."""
    whole = read(data / "ml-100k" / "u.data")
    for n in (80, 210):
        for seed in range(10):
            for title, frame in small_tables(whole, n, seed):
                _, summary, _ = work.train(frame)
                figures, row = summary["metrics"], {"table": title, "rows": len(frame), "seed": seed}
                row |= {"rmse": figures["rmse"], "rmse_of_biases": figures["rmse_of_biases"]}
                yield row | {"rmse_of_the_mean": figures["rmse_of_the_mean"], "verdicts": summary["verdicts"]}


def by_chance(rng, scores, draws=20):
    """Yield rankings by scores [U, C], ties drawn."""
    for _ in range(draws):
        yield np.lexsort((rng.random(scores.shape), -scores), axis=1)[:, :K]


def cold_part(work, data, seeds):
    """Yield NDCG@10 among items that training did not know."""
    table, items = read(data / "ml-100k" / "u.data"), read_items(data)
    catalogue = work.path(".csv")
    items.reset_index().to_csv(catalogue, index=False)
    for seed in seeds:
        rng = np.random.default_rng(seed)
        cold = np.sort(rng.permutation(items.index.to_numpy())[: round(0.1 * len(items))])
        train, rest = table[~table.item.isin(cold)], table[table.item.isin(cold)]
        marked = train.assign(is_valid=(rng.random(len(train)) < 0.05).astype(int))[PAIR]
        out, summary, _ = work.train(marked, "--items", catalogue)
        predictor = load_predictor(out / "model.safetensors", device="cpu")
        bound = marked.rating[marked.is_valid == 0].mean()
        liked = rest[(rest.rating >= bound) & rest.user.isin(predictor.task.users.known)]
        users = np.unique(liked.user)
        truth = np.zeros((len(users), len(cold)), dtype=bool)
        truth[np.searchsorted(users, liked.user), np.searchsorted(cold, liked.item)] = True
        genres = items.genres.str.get_dummies("|")
        own = train[train.rating >= bound].merge(genres, left_on="item", right_index=True)
        taste = own.groupby("user")[list(genres)].sum().reindex(users).fillna(0)
        shares = taste.div(taste.sum(axis=1).clip(lower=1), axis=0).to_numpy()
        has = genres.loc[cold].to_numpy()
        favourite = has[:, shares.argmax(axis=1)].T
        profile = shares @ (has / np.maximum(1, has.sum(axis=1, keepdims=True))).T
        known = np.broadcast_to(truth.sum(axis=0), truth.shape)
        new = ItemTable(items.loc[cold, "title"].to_dict(), items.loc[cold, ["genres"]])
        found = lists(predictor, users.tolist(), only_new=True, new_items=new)
        gains = {"foveal, new_items": ndcg(truth, np.searchsorted(cold, found))}
        scores = {
            "most popular genre of the user": favourite,
            "share of the genres in what the user liked": profile,
            "most popular, were it known": known,
            "random order": np.zeros(truth.shape),
        }
        gains |= {title: np.mean([ndcg(truth, first) for first in by_chance(rng, one)], axis=0)
                  for title, one in scores.items()}  # fmt: skip
        for title, values in gains.items():
            row = {"seed": seed, "model": title, "items": len(cold), "users": len(users), "ndcg": of_users(values)}
            yield row | ({"settings": next(iter(summary["rankings"]))} if title.startswith("foveal") else {})


PARTS = {
    "ratings": ratings_part,
    "rankings": rankings_part,
    "units": units_part,
    "small": small_part,
    "cold": cold_part,
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--peers", required=True, help="a Python that has the other libraries")
    parser.add_argument("--only", nargs="*", default=list(PARTS), choices=list(PARTS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    commit = subprocess.run(
        ["git", "-C", ROOT, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True
    )
    where = {
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
        "commit": commit.stdout.strip(),
        "processors": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }
    with tempfile.TemporaryDirectory() as place:
        work = Work(Path(place), arguments.peers)
        for name in arguments.only:
            rows = []
            for row in PARTS[name](work, arguments.data, arguments.seeds):
                rows.append(row)
                print(name, json.dumps(row), flush=True)
                result = json.loads(arguments.out.read_text()) if arguments.out.exists() else {}
                arguments.out.write_text(json.dumps(result | {name: {**where, "rows": rows}}, indent=1) + "\n")


if __name__ == "__main__":
    main()
