"""Hooks of mkdocs: pages made of the code (Python, the command line) and of what lies beside `docs/`.

`python -m mkdocs build --strict` writes the documentation to `site/`, which works from a folder without a network.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import os
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
BESIDE = ("ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "benchmarks/README.md")
"""Pages outside `docs/` that are part of the documentation."""
LINK = re.compile(r"(?<!\!)\[([^\[\]]*)\]\((?!\w+:|#)([^)\s#]+)(#[^)\s]*)?\)")
_FENCE = re.compile(r"(^```.*?^```\s*?$)", re.MULTILINE | re.DOTALL)

PYTHON = {
    "runs": ("Runs", ("foveal.runs",)),
    "data": ("Data blocks, loaders and splits", ("foveal.data", "foveal.course.datasets", "foveal.course.splits")),
    "sources": ("Files and sample sets", ("foveal.sources", "foveal.course.files", "foveal.course.downloads")),
    "images": (
        "Images and augmentation",
        ("foveal.images", "foveal.geometry", "foveal.course.pixels", "foveal.course.pil_names", "foveal.course.names"),
    ),
    "targets": ("Targets", ("foveal.tasks",)),
    "learner": ("Learner", ("foveal.learner",)),
    "training": (
        "Callbacks, optimizers and rates",
        ("foveal.training", "foveal.course.callbacks", "foveal.course.events"),
    ),
    "losses": ("Losses", ("foveal.losses", "foveal.course.losses")),
    "metrics": ("Metrics", ("foveal.metrics", "foveal.course.metrics", "foveal.course.metrics_of_numbers")),
    "models": ("Models and layers", ("foveal.models", "foveal.course.layers", "foveal.course.models")),
    "results": ("Looking at results", ("foveal.evaluation", "foveal.course.cleaner")),
    "predicting": ("Predicting", ("foveal.inference",)),
    "ratings": ("Ratings", ("foveal.collab",)),
    "notebook": ("Small tools of a notebook", ("foveal.course", "foveal.core")),
    "errors": ("Errors", ("foveal.core.errors",)),
}
"""Pages of the reference of Python: title, and the modules whose public names it has; the longest prefix decides."""
FURTHER = {
    "targets": ("foveal.tasks.base.Task",),
    "training": ("foveal.training.hooks.Callback", "foveal.training.state.FitState"),
    "extending": ("foveal.testing.check_task",),
}
"""What is documented besides the star imports."""


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Fill the empty lists of the navigation."""
    lists: dict[str, list[Any]] = {
        "How to": _how_to(),
        "Decisions": _pages("docs/decisions", "docs"),
        "Results": [f"project/{page}" for page in _pages("benchmarks/results", ".")],
        "Python": ["reference/python/index.md", *(f"reference/python/{page}.md" for page in PYTHON)],
        "Command line": ["reference/commands/index.md", *(f"reference/commands/{name}.md" for name in _verbs())],
    }
    _fill(config.nav or [], lists)
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made, and those that lie beside `docs/`."""
    made = {**_python_pages(), **_command_pages()}
    made |= {f"project/{name}": (ROOT / name).read_text(encoding="utf-8") for name in _beside()}
    for uri, text in made.items():
        files.append(File.generated(config, uri, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links between files of the repository into links between pages; one to a file without a page is its name."""
    here = page.file.src_uri
    source = here.removeprefix("project/") if here.startswith("project/") else f"docs/{here}"

    def link(match: re.Match[str]) -> str:
        text, target, anchor = match[1], match[2], match[3] or ""
        path = os.path.normpath(os.path.join(os.path.dirname(source), target))  # noqa: PTH118, PTH120 -- texts
        uri = path.removeprefix("docs/") if path.startswith("docs/") else f"project/{path}"
        if path == "README.md":
            uri = "index.md"
        if (ROOT / path).is_dir() and f"{uri}/README.md" in files.src_uris:
            uri = f"{uri}/README.md"
        if uri not in files.src_uris:
            return text if text.strip("`") in path else f"{text} (`{path}`)"
        return f"[{text}]({os.path.relpath(uri, os.path.dirname(here) or '.')}{anchor})"  # noqa: PTH120

    parts = _FENCE.split(markdown)
    return "".join(part if part.startswith("```") else LINK.sub(link, part) for part in parts)


def _beside() -> list[str]:
    return [*BESIDE, *_pages("benchmarks/results", ".")]


def _pages(folder: str, below: str) -> list[str]:
    return sorted(path.relative_to(ROOT / below).as_posix() for path in (ROOT / folder).glob("*.md"))


def _how_to() -> list[Any]:
    """Return the pages of `docs/how-to` under the headings that its index lists them by."""
    text = (ROOT / "docs/how-to/index.md").read_text(encoding="utf-8")
    groups = [part.partition("\n") for part in text.split("\n## ")[1:]]
    named = ((title, re.findall(r"\((\w[\w-]*\.md)\)", body)) for title, _, body in groups)
    return ["how-to/index.md", *({title: [f"how-to/{page}" for page in pages]} for title, pages in named)]


def _fill(nav: list[Any], lists: dict[str, list[Any]]) -> None:
    for entry in nav:
        for title, inside in entry.items() if isinstance(entry, dict) else ():
            if inside == []:
                entry[title] = lists[title]
            elif isinstance(inside, list):
                _fill(inside, lists)


def public_names() -> dict[str, list[tuple[str, str]]]:
    """Return (module that a name lives in, name) of every public name of foveal's own, by page."""
    import foveal
    import foveal.collab.all as ratings
    import foveal.vision.all as star

    homes: dict[str, str] = {}
    for module in (ratings, star, foveal):
        for name in module.__all__:
            value = getattr(module, name)
            home = str(getattr(value, "__module__", "") or "")
            if home.startswith("foveal") and hasattr(importlib.import_module(home), name):
                homes[name] = home
    pages: dict[str, list[tuple[str, str]]] = {page: [] for page in PYTHON}
    for name, home in sorted(homes.items(), key=lambda entry: entry[0].lower()):
        fits = {
            page: max((len(prefix) for prefix in prefixes if f"{home}.".startswith(f"{prefix}.")), default=0)
            for page, (_, prefixes) in PYTHON.items()
        }
        pages[max(fits, key=lambda page: fits[page])].append((home, name))
    return pages


def _python_pages() -> dict[str, str]:
    pages, listed = {}, []
    for page, names in public_names().items():
        title = PYTHON[page][0]
        further = [tuple(path.rsplit(".", 1)) for path in FURTHER.get(page, ())]
        bodies = [_entry(home, name) for home, name in (*names, *further)]
        pages[f"reference/python/{page}.md"] = f"# {title}\n\n" + "\n".join(bodies)
        links = ", ".join(f"[`{name}`]({page}.md#{home}.{name})" for home, name in (*names, *further))
        listed.append(f"## [{title}]({page}.md)\n\n{links}\n")
    about = (
        "# Python\n\nEvery public name, by what it is for. `from foveal.vision.all import *` has all of them but those "
        "of ratings, which `from foveal.collab.all import *` has; the names of a script (`foveal.train`, "
        "`foveal.load_learner`, ...) are in `foveal` itself.\n\n"
    )
    pages["reference/python/index.md"] = about + "\n".join(listed)
    return pages


def _entry(home: str, name: str) -> str:
    """Return what a page says of a name: what its source says or, of what is made by an import, its text."""
    module = importlib.import_module(home)
    tree = ast.parse(inspect.getsource(module))
    targets = [
        target for node in tree.body if isinstance(node, ast.Assign | ast.AnnAssign) for target in _targets(node)
    ]
    defined = [node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    if name in (*targets, *defined):
        return f"::: {home}.{name}\n"
    text = inspect.getdoc(getattr(module, name)) or ""
    return f"## `{name}` {{: #{home}.{name} }}\n\n{text.partition(chr(10) + 'Examples:')[0]}\n"


def _targets(node: ast.Assign | ast.AnnAssign) -> list[str]:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    return [target.id for target in targets if isinstance(target, ast.Name)]


def _verbs() -> list[str]:
    from foveal.cli.main import commands

    return [name for group in commands().values() for name in group]


def _command_pages() -> dict[str, str]:
    from foveal.cli.help import About, sections_of, usage_of
    from foveal.cli.main import commands

    pages, listed = {}, ["# Command line\n\n`foveal VERB --help` prints what stands here.\n"]
    for title, group in commands().items():
        rows = "\n".join(
            f"| [`{name}`]({name}.md) | {_cell(About.of(verb.help).text)} |" for name, verb in group.items()
        )
        listed.append(f"## {title}\n\n| verb | what it does |\n|---|---|\n{rows}\n")
        for name, verb in group.items():
            about, context = About.of(verb.help), verb.make_context(name, [], resilient_parsing=True)
            text = [f"# foveal {name}\n\n{about.text}\n\n```\nfoveal {name} {usage_of(verb)}\n```\n"]
            text.append("## Examples\n\n```sh\n" + "\n".join(about.examples) + "\n```\n")
            if about.page:
                text.append(f"More: [{_title(about.page)}](../../{about.page.removeprefix('docs/')})\n")
            for section, options in sections_of(verb, context):
                body = "\n".join(
                    f"| `{words.replace('|', chr(92) + '|')}` | {_cell(what)} |" for words, what in options
                )
                text.append(f"## {section}\n\n| | |\n|---|---|\n{body}\n")
            pages[f"reference/commands/{name}.md"] = "\n".join(text)
    pages["reference/commands/index.md"] = "\n".join(listed)
    return pages


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")


def _title(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ")
