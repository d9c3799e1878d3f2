"""The documentation as a site: it builds without a warning, has every name and option, and works from a folder."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

from foveal.cli import main

ROOT = Path(__file__).parents[1]
LOADED = re.compile(
    r"<(?:script|img|iframe|source)[^>]+?src=\"?(https?:|//)|<link(?![^>]*canonical)[^>]+?href=\"?(https?:|//)"
)


@pytest.fixture(scope="module")
def hooks():
    """The module that makes pages of the code."""
    spec = importlib.util.spec_from_file_location("site_hooks", ROOT / "scripts" / "site.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder of the site, built with every warning an error: links, anchors, names, pages outside the navigation."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_every_public_name_is_on_one_page(hooks, site):
    names = (ROOT / "tests" / "public_names.txt").read_text().split()
    known = {name.lstrip("*+") for name in names}
    listed = [entry for page in hooks.public_names().values() for entry in page]
    assert len(listed) == len(set(listed))
    elsewhere = known - {name for _, name in listed}
    import foveal.collab.all as ratings
    import foveal.vision.all as star

    for name in elsewhere:  # other libraries' names, which the book uses
        value = getattr(star, name, getattr(ratings, name, None))
        home = str(getattr(value, "__module__", "") or "")
        assert not home.startswith("foveal") or home == "foveal.core.lazy" or name == "Path", name
    for page, entries in hooks.public_names().items():
        text = (site / "reference" / "python" / f"{page}.html").read_text()
        for home, name in entries:
            assert f'id="{home}.{name}"' in text, name


def test_every_verb_and_option_is_on_its_page(site):
    for group in main.commands().values():
        for name, verb in group.items():
            text = (site / "reference" / "commands" / f"{name}.html").read_text()
            for parameter in verb.params:
                if not getattr(parameter, "hidden", False) and parameter.param_type_name == "option":
                    assert max(parameter.opts, key=len) in text, (name, parameter.opts)


def test_no_page_loads_anything_from_elsewhere(site):
    pages = list(site.rglob("*.html"))
    assert len(pages) > 150
    for page in pages:
        assert not LOADED.search(page.read_text()), page


def test_the_site_is_searched_from_a_folder_without_a_network(site, running_chromium):
    context = running_chromium.new_context(offline=True)
    page = context.new_page()
    complaints = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda told: complaints.append(told.text) if told.type == "error" else None)
    page.goto((site / "index.html").as_uri())
    page.locator("input.md-search__input").click()
    page.keyboard.type("class_weights")
    found = page.locator(".md-search-result__item a").first
    found.wait_for(timeout=120_000)
    found.click()
    page.wait_for_load_state()
    assert "class_weights" in page.content()
    assert not complaints
    context.close()


def test_words_are_spelt_right():
    places = [
        "docs",
        "src",
        "README.md",
        "ARCHITECTURE.md",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
        "benchmarks",
    ]
    done = subprocess.run(
        [sys.executable, "-m", "codespell_lib", *places], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def test_the_links_of_the_pages_beside_the_documentation_lead_somewhere():
    for name in ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md", "benchmarks/README.md"):
        page = ROOT / name
        for target in re.findall(r"\]\((?!\w+:|#)([^)#\s]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{name}: {target}"
