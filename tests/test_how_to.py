"""The pages of docs/how-to: every command and all Python runs as it stands there, and prints what the page shows.

A page is read from its top. A fence of `sh` holds calls of `foveal`, one of `python` what shares its names with those before,
and one of `text` what the last of them printed, where `...` stands for anything. All pages begin in a folder of the same files.
"""

import doctest
import re
import shlex
import shutil
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import pytest

from foveal.cli import main
from foveal.core.tables import write_rows
from foveal.sources.book_sets import URLs, untar_data

HOW_TO = Path(__file__).parents[1] / "docs" / "how-to"
PAGES = sorted(page for page in HOW_TO.glob("*.md") if page.name != "index.md")
FENCE = re.compile(r"^```(sh|python|text)\n(.*?)^```", re.MULTILINE | re.DOTALL)
LONGEST = 60  # lines: about one screen
SAME = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def call(words, capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", words)
    with pytest.raises(SystemExit) as stopped:
        main.run()
    printed = capsys.readouterr()
    assert not stopped.value.code, f"{shlex.join(words)}\n{printed.out}\n{printed.err}"
    return printed.out


@pytest.fixture(scope="session")
def files(scenes, tmp_path_factory):
    """The folder that every page begins in, but for its runs: see docs/how-to/index.md."""
    root = tmp_path_factory.mktemp("how-to") / "files"
    root.mkdir()
    shutil.copytree(scenes / "scenes", root / "images")
    table = pd.read_csv(scenes / "scenes.csv", keep_default_na=False)
    table["camera"] = ["north" if at % 3 else "south" for at in range(len(table))]
    table.to_csv(root / "train.csv", index=False)
    shutil.copy(scenes / "balloons.csv", root / "balloons.csv")
    shutil.copytree(root / "images", root / "new-images", ignore=lambda _, names: sorted(names)[6:])
    shutil.copy(sorted((root / "images").iterdir())[9], root / "new.jpg")
    pets = untar_data(URLs.SAMPLE_PETS)
    for file in sorted((pets / "images").glob("*.jpg"))[::3]:
        target = root / "pets" / file.name.rpartition("_")[0] / file.name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, target)
    write_rows(
        root / "ratings.csv",
        (
            {"user": user, "movie": f"Film {film}", "rating": 1 + (user * film + film) % 5}
            for user in range(1, 31)
            for film in range(1, 21)
            if (user + film) % 4
        ),
    )
    return root


@pytest.fixture(scope="session")
def trained(files):
    """The same folder with runs: `runs/train` and `runs/train-2` on train.csv, `runs/balloons`, `runs/ratings`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(files)
        for line in (
            "train train.csv --images images --empty none --size 64 --epochs 0 --out runs/train",
            "train train.csv --images images --empty none --size 48 --epochs 0 --out runs/train-2",
            "train balloons.csv --images images --points x,y --size 64 --epochs 0 --out runs/balloons",
            "train ratings.csv --task rating --epochs 1 --out runs/ratings",
        ):
            patch.setattr("sys.argv", ["foveal", *shlex.split(line)])
            with pytest.raises(SystemExit) as stopped:
                main.run()
            assert not stopped.value.code, line
    return files


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_runs_and_prints_what_it_shows(page, trained, tmp_path, monkeypatch, capsys):
    here = tmp_path / "files"
    shutil.copytree(trained, here)
    monkeypatch.chdir(here)
    names, printed, n_run = {}, "", 0
    for language, block in FENCE.findall(page.read_text()):
        if language == "text":
            wanted = "\n".join(line.rstrip() for line in block.splitlines()) + "\n"
            assert doctest.OutputChecker().check_output(wanted, printed, SAME), (
                f"expected:\n{wanted}\nprinted:\n{printed}"
            )
        elif language == "python":
            exec(compile(block, page.name, "exec"), names)  # noqa: S102 -- it is ours
            printed, n_run = capsys.readouterr().out, n_run + 1
        else:
            lines = [line for line in block.replace("\\\n", " ").splitlines() if line.strip()]
            printed, n_run = (
                "".join(call(shlex.split(line, comments=True), capsys, monkeypatch) for line in lines),
                n_run + 1,
            )
    plt.close("all")
    assert n_run, "a page shows how"


@pytest.mark.filterwarnings("ignore")
def test_the_first_five_minutes_are_as_the_page_says(trained, tmp_path, monkeypatch, capsys):
    here = tmp_path / "files"
    shutil.copytree(trained, here, ignore=shutil.ignore_patterns("runs"))
    monkeypatch.chdir(here)
    text = (HOW_TO.parent / "start.md").read_text()
    lines = [
        line
        for block in re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
        for line in block.splitlines()
    ]
    called = [line for line in lines if line.startswith(("foveal check", "foveal train", "foveal predict"))]
    assert len(called) == 3
    for line in called:
        call(shlex.split(line), capsys, monkeypatch)
    for block in re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        exec(compile(block, "start.md", "exec"), {})  # noqa: S102 -- it is ours
    plt.close("all")
    assert (here / "answers.csv").is_file()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_is_one_question_on_one_screen(page):
    lines = page.read_text().splitlines()
    assert lines[0].startswith("# ")
    assert len(lines) <= LONGEST
    assert sum(line.startswith("# ") for line in re.sub(FENCE, "", page.read_text()).splitlines()) == 1
    assert f"({page.name})" in (HOW_TO / "index.md").read_text(), "the index lists it"
