"""The audit as a person reads it: in the terminal, and as a page with the images concerned."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from pathlib import Path

from rich.console import Console

from foveal.audit.checks import Audit
from foveal.core import storage
from foveal.core.errors import ImageError
from foveal.images.decode import decode
from foveal.reporting import page
from foveal.sources.items import by_rule, listed

_IMAGES = 12
_COLOURS = {"error": "bold red", "warning": "yellow", "note": "blue"}


def print_audit(audit: Audit) -> None:
    """Print the findings, a few of each rule, errors first."""
    console = Console(highlight=False, soft_wrap=True, markup=False)
    for line in listed(audit.findings):
        console.print(line, style="" if line.startswith(" ") else _COLOURS[line.partition(":")[0]])
    console.print(audit.summary)


def write_audit_page(path: Path, audit: Audit, *, title: str) -> None:
    """Write the audit as one self-contained page."""
    storage.write_text(path, page.page(f"Audit of {title}", _parts(audit, title)))


def _parts(audit: Audit, title: str) -> Iterator[str]:
    yield f'<h1>Audit of {escape(title)}</h1><p class="lead">{escape(audit.summary)}</p>'
    for (level, rule), findings in by_rule(audit.findings).items():
        yield f'<h2><span class="{level}">{level}</span>: {escape(rule)} ({len(findings)})</h2>'
        if findings[0].hint:
            yield f"<p>{escape(findings[0].hint)}</p>"
        yield page.table(("where", "what"), [(finding.where, finding.value) for finding in findings[:_IMAGES]])
        if len(findings) > _IMAGES:
            yield f"<p>… and {len(findings) - _IMAGES} more</p>"
        shown = [file for finding in findings[:_IMAGES] for file in finding.images]
        yield f'<div class="images">{"".join(map(_figure, dict.fromkeys(shown)))}</div>'
    for name, value in audit.figures.items():
        if isinstance(value, dict) and value:
            yield f"<h2>{escape(name)}</h2>" + page.table((name, "images"), list(value.items()))


def _figure(file: Path) -> str:
    try:
        return page.image(decode(file), file.name)
    except ImageError:
        return f"<figure><figcaption>{escape(file.name)}: cannot be shown</figcaption></figure>"
