"""What all tests share. With CI=true a skip is a failure: what is missing there would hide a broken promise."""

import json
import os
from pathlib import Path

import pytest
from hypothesis import settings

from foveal.sources.scenes import write_scenes

# A busy machine is no reason for a law to fail.
settings.register_profile("foveal", deadline=None)
settings.load_profile("foveal")

DATA = Path(os.environ.get("FOVEAL_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    report = yield
    if report.skipped and os.environ.get("CI") == "true" and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped where nothing may be skipped: {report.longrepr}"
    return report


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


@pytest.fixture(scope="session")
def golden():
    """Sequences measured on fastai 2.8.12."""
    return json.loads((Path(__file__).parent / "golden.json").read_text())
