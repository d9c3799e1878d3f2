"""Sources at their extremes: a table, its images, and the options that `foveal` is given with them."""

import math
import random

import numpy as np
import pandas as pd
from PIL import Image

POINTS = "x,y"
# What a row has to say, by task. Each function gets the number of rows and which of them are for validation.


def _labels(names):
    return {"labels": names}


def _cycle(values, n):
    return [values[at % len(values)] for at in range(n)]


def _valid_only(n, valid):
    rows = _cycle(["ant", "bee"], n)
    return ["wasp" if valid[at] else rows[at] for at in range(n)]


MULTI = {
    "several": lambda n, valid: _labels(_cycle(["ant", "bee", "ant bee", ""], n)),
    "one class": lambda n, valid: _labels(_cycle(["ant", ""], n)),
    "100 classes": lambda n, valid: _labels([f"c{at % 100} c{(7 * at + 3) % 100}" for at in range(n)]),
    "a class per row": lambda n, valid: _labels([f"c{at}" for at in range(n)]),
    "a class in validation only": lambda n, valid: _labels(_valid_only(n, valid)),
    "all classes always": lambda n, valid: _labels(["ant bee cat"] * n),
    "nearly no label": lambda n, valid: _labels(["ant"] + [""] * (n - 1)),
    "no label": lambda n, valid: _labels([""] * n),
}
SINGLE = {
    "two classes": lambda n, valid: _labels(_cycle(["ant", "bee"], n)),
    "one class for all": lambda n, valid: _labels(["ant"] * n),
    "a class per row": lambda n, valid: _labels([f"c{at}" for at in range(n)]),
    "a class in validation only": lambda n, valid: _labels(_valid_only(n, valid)),
}
NUMBERS = {
    "usual": [0.0, 3.0, 1.5, 2.5, 0.5],
    "constant": [36.6],
    "1e12": [1e12, 3e12, 2e12],
    "around 1e12": [1e12, 1e12 + 1, 1e12 + 2],
    "1e-12": [1e-12, 3e-12, 2e-12],
    "1e300": [1e300, -1e300],
    "infinite": [1.0, math.inf, 2.0],
    "blank but for one": [1.0] + [math.nan] * 1000,
    "blank": [math.nan],
}


def _points(n, rng):
    return rng.uniform(5, 25, (n, 2))


def points_of(name, n):
    """Return the columns of points and their names."""
    rng = np.random.default_rng(n)
    xy = _points(n, rng)
    if name == "68 points":
        many = rng.uniform(0, 30, (n, 68, 2))
        names = [f"{axis}{at}" for at in range(68) for axis in "xy"]
        return dict(zip(names, many.reshape(n, -1).T, strict=True)), ",".join(names)
    if name == "missing but for two":
        xy[2:] = np.nan
    elif name == "missing":
        xy[:] = np.nan
    elif name == "half a point":
        xy[0, 1] = np.nan
    elif name == "on the border":
        xy = np.array([(0.0, 0.0), (40.0, 30.0), (40.0, 0.0)])[np.arange(n) % 3]
    elif name == "outside":
        xy += 1000
    elif name == "all the same":
        xy[:] = (7, 9)
    elif name == "infinite":
        xy[-1, 0] = np.inf
    return {"x": xy[:, 0], "y": xy[:, 1]}, POINTS


POINT_KINDS = (
    "usual", "68 points", "missing but for two", "missing", "half a point", "on the border", "outside", "all the same", "infinite",
)  # fmt: skip
TARGETS = [
    *[("multi-label", name) for name in MULTI],
    *[("single-label", name) for name in SINGLE],
    *[("points", name) for name in POINT_KINDS],
    *[("regression", name) for name in NUMBERS],
]
REFUSED = {
    "no label", "blank", "infinite", "half a point", "missing", "1e300", "around 1e12",
}  # fmt: skip
SIDES = ("by foveal", "one to train on", "one to validate", "half")
GROUPS = ("none", "one", "all different")
IMAGES = ("40 x 30", "1 x 1", "4000 x 40", "of all sizes")


def write_images(folder, n, kind, seed=0):
    """Write `n` images that differ; return their names."""
    rng = np.random.default_rng([seed, n])
    folder.mkdir(parents=True)
    sizes = {"40 x 30": [(40, 30)], "1 x 1": [(1, 1)], "4000 x 40": [(4000, 40), (40, 30), (40, 30)]}
    choice = sizes.get(kind, [(40, 30), (300, 5), (5, 300), (64, 64), (1, 1), (2, 90)])
    names = []
    for at in range(n):
        width, height = choice[at % len(choice)]
        noise = rng.integers(0, 256, (min(height, 8), min(width, 8), 3), dtype=np.uint8)
        names.append(f"{at:05}.png")
        Image.fromarray(noise).resize((width, height), Image.Resampling.NEAREST).save(
            folder / names[-1], compress_level=1
        )
    return names


def write_source(folder, target, n_rows, *, side, group, images):
    """Write a table and its images; return the options that name them."""
    task, kind = target
    names = write_images(folder / "images", n_rows, images)
    valid = {
        "one to train on": [at > 0 for at in range(n_rows)],
        "one to validate": [at == n_rows - 1 for at in range(n_rows)],
    }.get(side, [at % 2 == 1 for at in range(n_rows)])
    columns, options = {"fname": names}, ["--images", folder / "images", "--task", task]
    if task == "multi-label":
        columns |= MULTI[kind](n_rows, valid)
        options += ["--empty", "none"]
    elif task == "single-label":
        columns |= SINGLE[kind](n_rows, valid)
    elif task == "points":
        found, names = points_of(kind, n_rows)
        columns |= found
        options += ["--points", names]
    else:
        values = NUMBERS[kind]
        columns |= {"value": _cycle(values, n_rows) if len(values) < 1000 else values[:1] + values[1:n_rows]}
        options += ["--targets", "value"]
    if side != "by foveal":
        columns["is_valid"] = valid
    if group != "none":
        columns["group"] = ["g"] * n_rows if group == "one" else [f"g{at}" for at in range(n_rows)]
        options += ["--group-column", "group"]
    table = folder / "table.csv"
    pd.DataFrame(columns).to_csv(table, index=False)
    return [table, *options]


def write_ratings(folder, *, rows, users, items, values, repeated):
    """Write a table of ratings; return its path."""
    random.seed(rows)
    numbers = {
        "1 to 5": [1, 2, 3, 4, 5],
        "constant": [3],
        "0 and 1": [0, 1],
        "negative": [-2, -1.5, 4],
        "1e12": [1e12, 2e12],
        "1e20": [1e20, 2e20],
    }[values]
    frame = pd.DataFrame(
        {
            "user": [f"u{at % users}" for at in range(rows)],
            "item": [f"i{(at // users) % items}" for at in range(rows)],
            "rating": _cycle(numbers, rows),
        }
    )
    if repeated:
        frame = pd.concat([frame, frame.head(max(1, rows // 3))])
    folder.mkdir(parents=True, exist_ok=True)
    frame.to_csv(folder / "ratings.csv", index=False)
    return folder / "ratings.csv"
