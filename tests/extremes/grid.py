"""Every job at extremes of every axis, all pairs of them: it works, or is refused in words before anything is trained.

`FOVEAL_EXTREMES=full` takes the whole product of targets, rows, recipes and splits, which takes hours.
"""

import csv
import itertools
import json
import math
import os
import traceback
import warnings

import timm
from allpairspy import AllPairs
from typer.testing import CliRunner

from extremes import sources
from foveal.cli.main import app
from foveal.core.errors import FovealError

FULL = os.environ.get("FOVEAL_EXTREMES") == "full"
ARCH = "tiny_for_extremes"
BATCH = 16


def tiny_for_extremes(pretrained=False, **options):
    options.pop("pretrained_cfg", None), options.pop("pretrained_cfg_overlay", None), options.pop("cache_dir", None)
    blocks = {
        "block": timm.models.resnet.BasicBlock,
        "layers": (1, 1, 1, 1),
        "channels": (16, 16, 16, 16),  # torch 2.15 crashes in strided 1x1 convolutions of 8 channels and less
        "stem_width": 4,
    }
    return timm.models.resnet.ResNet(**blocks, **options)


if not timm.is_model(ARCH):  # this module is loaded twice where doctests are looked for
    timm.models.register_model(tiny_for_extremes)


def foveal(*words):
    """Run the command in this process; return its code and what it printed. What it refuses ends with a FovealError."""
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        done = CliRunner().invoke(app, list(map(str, words)))
    if isinstance(done.exception, FovealError):
        return 2, str(done.exception)
    trace = "" if done.exc_info is None else "".join(traceback.format_exception(*done.exc_info)[-12:])
    assert done.exception is None or isinstance(done.exception, SystemExit), f"{words}\n{done.output}\n{trace}"
    return done.exit_code, done.output


def strict(constant):
    raise AssertionError(f"{constant} in JSON")


def judge_run(folder, n_rows=None):
    """A folder that a run has filled holds no NaN, a line for each validation row, and a page that can be read."""
    summary = json.loads((folder / "summary.json").read_text(), parse_constant=strict)
    assert math.isfinite(summary["valid_loss"]) if "valid_loss" in summary else True
    with (folder / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == summary["n_valid"]
    assert not [row for row in rows if "nan" in {str(value).lower() for value in row.values()}]
    if n_rows is not None:
        with (folder / "split.csv").open(newline="") as file:
            sides = list(csv.DictReader(file))
        assert len(sides) == n_rows
        held = sorted(row["fname"].rsplit("/")[-1] for row in sides if row["split"] == "valid")
        assert sorted(row["fname"].rsplit("/")[-1] for row in rows) == held
    page = (folder / "report.html").read_text()
    assert page.startswith("<!DOCTYPE html>")
    assert page.rstrip().endswith("</html>")
    assert len(page) < 5_000_000
    assert ">nan<" not in page.lower()
    return summary


AXES = {
    "target": [target for target in sources.TARGETS if target[1] not in sources.REFUSED],
    "rows": [40, 2, 3, BATCH - 1, BATCH, BATCH + 1, 2 * BATCH + 1],
    "recipe": ["probe", "book"],
    "side": sources.SIDES,
    "group": ["none", "all different"],
    "images": sources.IMAGES,
    "size": ["32", "8", "33x57", "97x16"],
    "batch": [BATCH, 1, 4096],
    "seed": [0, -5, 2**63 - 1],
    "lr": [None, 1e-9, 50.0],
}


def every_pair():
    """Return cases in which every two extremes of different axes meet; the whole product of the first four if asked."""
    if not FULL:
        return list(AllPairs(list(AXES.values())))
    first, others = list(AXES.values())[:4], list(AXES.values())[4:]
    product = itertools.product(*first)
    return [(*values, *(axis[at % len(axis)] for axis in others)) for at, values in enumerate(product)]


CASES = [dict(zip(AXES, values, strict=True)) for values in every_pair()]


def cases_of(*tasks):
    """Return the cases of some tasks."""
    return [case for case in CASES if case["target"][0] in tasks]


def named(case):
    return ", ".join(str(value) for value in case.values())


def judge_case(case, weights, tmp_path):
    """Check and train a case; what is trained is evaluated and asked, what is refused was refused by both."""
    options = sources.write_source(
        tmp_path, case["target"], case["rows"], side=case["side"], group=case["group"], images=case["images"]
    )
    how = ["--recipe", case["recipe"], "--size", case["size"], "--batch-size", case["batch"], "--seed", case["seed"]]
    how += [] if case["lr"] is None else ["--lr", case["lr"]]
    how += ["--arch", ARCH, "--weights", weights, "--epochs", 1, "--precision", "fp32"]
    out = tmp_path / "run"
    checked, said = foveal("check", *options, "--seed", case["seed"])
    code, printed = foveal("train", *options, *how, "--out", out)
    if code:
        assert not (out / "model.safetensors").exists()
        if "The loss is " in printed:  # a rate of 50 may end so, after a first step
            assert case["lr"] == 50.0
            return
        assert not (out / "history.jsonl").exists(), printed
        assert checked or "seed" in printed, f"train refused what check found good: {printed}"
        reason = printed.splitlines()[0].removeprefix("foveal: ").strip()
        assert reason
        return
    assert not checked, f"check refused what train takes: {said}"
    judge_run(out, case["rows"])
    model = out / "model.safetensors"
    assert foveal("evaluate", model, *options[:1], *without(options[1:], "--group-column", "--task"))[0] == 0
    assert foveal("predict", model, tmp_path / "images", "--out", tmp_path / "answers.csv")[0] == 0
    assert len((tmp_path / "answers.csv").read_text().splitlines()) == 1 + case["rows"]


def without(options, *names):
    """Return options without some and their values."""
    kept = list(options)
    for name in names:
        if name in kept:
            at = kept.index(name)
            del kept[at : at + 2]
    return kept
