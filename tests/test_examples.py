"""The notebooks of examples/ run from top to bottom in a real kernel, and show what is stored in them."""

import re
from pathlib import Path

import nbformat
import pytest

from kernels import run_notebook

EXAMPLES = sorted((Path(__file__).parents[1] / "examples").glob("*.ipynb"))


def kinds(cell):
    """What a cell shows, without the values."""
    shown = [one for one in cell.outputs if one.output_type != "stream"]
    streams = {(one.output_type, one.name) for one in cell.outputs if one.output_type == "stream"}
    return sorted(streams), [(one.output_type, sorted(one.get("data", {}))) for one in shown]


@pytest.mark.kernel
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_a_notebook_runs_without_a_complaint(path, tmp_path_factory, monkeypatch):
    monkeypatch.setenv("FOVEAL_HOME", str(tmp_path_factory.getbasetemp() / "home"))
    stored = nbformat.read(path, as_version=4)
    assert all(cell.outputs or cell.source for cell in stored.cells if cell.cell_type == "code")
    fresh = nbformat.read(path, as_version=4)
    run_notebook(fresh, timeout=600, folder=tmp_path_factory.mktemp("work"))
    for before, after in zip(stored.cells, fresh.cells, strict=True):
        if before.cell_type == "code":
            assert kinds(after) == kinds(before), before.source
            assert not [one for one in after.outputs if one.get("name") == "stderr"], before.source


def test_there_is_a_notebook_for_each_chapter():
    assert [path.stem for path in EXAMPLES] == ["a_point", "collaborative_filtering", "one_label", "several_labels"]
    for path in EXAMPLES:
        text = path.read_text()
        assert not re.search(r"/(tmp|home|root|work)/", text)
        assert path.stat().st_size < 1_500_000
