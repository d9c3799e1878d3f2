"""What all tests share. With CI=true a skip is a failure: what is missing there would hide a broken promise.

Tests run in as many processes as there are processors, a file at a time and in its order; each has one thread, so that
what they compute does not depend on the machine. `pytest -n0` runs them in one process.
"""

import json
import os

from foveal.core import processors

PROCESSES = min(8, processors.usable())  # each holds torch and a model or two: about 1 GB
os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is loaded
os.environ.setdefault("PYTHON_CPU_COUNT", "1")
os.environ.setdefault("FOVEAL_FEATURES_MIB", "64")  # of what a machine keeps for its user

import shutil
import sys
import warnings
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import settings

from foveal.cli import main
from foveal.data.block import DataBlock
from foveal.data.image_block import ImageBlock
from foveal.data.labels import ColReader
from foveal.data.splits.splitters import ColSplitter
from foveal.geometry.resize import Resize
from foveal.sources.synthetic import write_scenes
from foveal.tasks.multi_label import MultiCategoryBlock
from foveal.tasks.points import PointBlock

# A busy machine is no reason for a law to fail.
settings.register_profile("foveal", deadline=None)
settings.load_profile("foveal")

collect_ignore = ["typing"]  # scripts that mypy reads and nobody runs
DATA = Path(os.environ.get("FOVEAL_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))


def pytest_xdist_auto_num_workers():
    return PROCESSES


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    report = yield
    if report.skipped and os.environ.get("CI") == "true" and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped where nothing may be skipped: {report.longrepr}"
    return report


@pytest.fixture(scope="session")
def chromium():
    """The path of a Chromium."""
    names = ("chromium", "chromium-browser", "google-chrome")
    if (found := next(filter(None, map(shutil.which, names)), None)) is None:
        pytest.skip("no Chromium here: apt-get install -y chromium")
    return found


@pytest.fixture(scope="module")
def running_chromium(chromium):
    """A Chromium that tests open pages in."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield running
        running.close()


@pytest.fixture
def watched_page(running_chromium):
    """A function that opens the page of a service; what it complains of is collected in `page.complaints`."""
    pages = []

    def open_page(service, **options):
        page = running_chromium.new_page(**options)
        page.complaints = []
        page.on("pageerror", lambda error: page.complaints.append(str(error)))
        page.on("console", lambda told: page.complaints.append(told.text) if told.type == "error" else None)
        page.goto(f"http://127.0.0.1:{service.port}/")
        pages.append(page)
        return page

    yield open_page
    for page in pages:
        page.close()


@pytest.fixture(scope="session")
def photographs():
    """The folder of real photographs (see the README of the data)."""
    if not DATA.is_dir():
        pytest.skip(f"no real photographs in {DATA}; set FOVEAL_TEST_DATA")
    return DATA


@pytest.fixture(scope="session")
def scenes(tmp_path_factory):
    """A folder with 60 drawn scenes and their tables."""
    folder = tmp_path_factory.mktemp("scenes")
    write_scenes(folder, n=60)
    return folder


@pytest.fixture
def unlabelled(scenes, tmp_path):
    """A function that returns a folder with so many of the drawn scenes, and nothing that says what they show."""

    def make(n, *, name="scenes", prefix=""):
        folder = tmp_path / name
        folder.mkdir()
        for file in sorted((scenes / "scenes").iterdir())[:n]:
            (folder / f"{prefix}{file.name}").write_bytes(file.read_bytes())
        return folder

    return make


@pytest.fixture(scope="session")
def golden():
    """Sequences measured on fastai 2.8.12."""
    return json.loads((Path(__file__).parent / "golden.json").read_text())


@pytest.fixture(scope="session")
def scene_loaders(scenes):
    """A function that builds loaders over the drawn scenes: several labels, or with `points` a balloon to find."""

    def build(*, points=False, target=None, size=64, bs=16, **options):
        frame = pd.read_csv(scenes / ("balloons.csv" if points else "scenes.csv"), keep_default_na=False)
        target = target or (PointBlock if points else MultiCategoryBlock)
        labels = (lambda r: [r["x"], r["y"]]) if points else ColReader("labels", label_delim=" ")
        block = DataBlock(
            (ImageBlock, target),
            get_x=ColReader("fname", pref=scenes / "scenes"),
            get_y=options.pop("get_y", labels),
            splitter=ColSplitter(),
            item_tfms=Resize(size),
        )
        return block.dataloaders(frame, bs=bs, **options)

    return build


@pytest.fixture
def foveal(monkeypatch, capsys):
    """The command in this process: returns what it printed."""

    def call(*arguments, code=0):
        monkeypatch.setattr(sys, "argv", ["foveal", *map(str, arguments)])
        monkeypatch.setattr("warnings.showwarning", warnings.showwarning)
        with pytest.raises(SystemExit) as stopped:
            main.run()
        printed = capsys.readouterr()
        assert (stopped.value.code or 0) == code, printed
        return printed

    return call
