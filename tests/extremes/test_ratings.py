"""Extremes of ratings: see `grid`."""

import pytest
from allpairspy import AllPairs

from extremes import sources
from extremes.grid import foveal, judge_run, named

pytestmark = pytest.mark.filterwarnings("ignore")  # what is worth a note is not judged here

RATINGS = {
    "rows": [2, 1, 3, 64, 65, 300],
    "users": [1, 2, 50],
    "items": [1, 2, 40],
    "values": ["1 to 5", "constant", "0 and 1", "negative", "1e12", "1e20"],
    "repeated": [False, True],
    "implicit": [False, True],
    "batch": [64, 1, 4096],
    "seed": [0, -3, 2**63 - 1],
}
RATING_CASES = [dict(zip(RATINGS, values, strict=True)) for values in AllPairs(list(RATINGS.values()))]


@pytest.mark.parametrize("case", RATING_CASES, ids=named)
def test_all_pairs_of_extreme_ratings(case, tmp_path):
    keys = ("rows", "users", "items", "values", "repeated")
    table = sources.write_ratings(tmp_path, **{key: case[key] for key in keys})
    options = ["--task", "rating", *(["--implicit"] if case["implicit"] else [])]
    out = tmp_path / "run"
    checked, said = foveal("check", table, *options)
    how = ["--batch-size", case["batch"], "--seed", case["seed"], "--epochs", 1, "--factors", 3]
    code, printed = foveal("train", table, *options, *how, "--out", out)
    if code:
        assert not (out / "history.jsonl").exists(), printed
        assert checked, printed
        return
    assert not checked, said
    judge_run(out)
    code, printed = foveal("recommend", out / "model.safetensors", "u0")
    assert code in {0, 2}, printed
