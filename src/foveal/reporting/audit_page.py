"""The audit as a person reads it: in the terminal, and as a page with the images concerned."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from markupsafe import Markup
from rich.console import Console

from foveal.audit.checks import Audit
from foveal.core import storage
from foveal.core.errors import ImageError
from foveal.images.any_channels import open_any
from foveal.reporting import page
from foveal.sources.items import Finding, by_rule, listed

_SHOWN = 12  # findings of a rule that the page shows with their images; chosen by hand: two rows of images
_COLOURS = {"error": "bold red", "warning": "yellow", "note": "blue"}


def print_audit(audit: Audit) -> None:
    """Print the findings, a few of each rule, errors first."""
    console = Console(highlight=False, soft_wrap=True, markup=False)
    for line in _read_as(audit):
        console.print(line)
    for line in listed(audit.findings):
        console.print(line, style="" if line.startswith(" ") else _COLOURS[line.partition(":")[0]])
    console.print(audit.summary)


def _read_as(audit: Audit) -> Iterator[str]:
    """Yield what the source was taken for, and why."""
    if taken := audit.figures.get("read as"):
        yield f"read as: {taken}"
    if why := audit.figures.get("why"):
        yield f"    by {why}; --format NAME says otherwise"


def write_audit_page(path: Path, audit: Audit, *, title: str) -> None:
    """Write the audit as one self-contained page, atomically.

    Args:
        path: the .html file.
        audit: what is written.
        title: of what was audited, such as the name of its folder.
    """
    storage.write_text(path, page.page(f"Audit of {title}", _sections(audit, title)))


def _sections(audit: Audit, title: str) -> Iterator[Markup]:
    yield page.opening(f"Audit of {title}", audit.summary)
    for line in _read_as(audit):
        yield page.paragraph(line)
    for (level, rule), findings in by_rule(audit.findings).items():
        yield page.section(f"{rule} ({len(findings)})", *_findings(findings), level=level)
    for name, value in audit.figures.items():
        if isinstance(value, dict) and value:
            yield page.section(name, page.table((name, "images"), list(value.items())))


def _findings(findings: list[Finding]) -> Iterator[Markup]:
    """Yield what the page holds of the findings of one rule."""
    shown = findings[:_SHOWN]
    if findings[0].hint:
        yield page.paragraph(findings[0].hint)
    yield page.table(("where", "what"), [(finding.where, finding.value) for finding in shown])
    if len(findings) > _SHOWN:
        yield page.paragraph(f"… and {len(findings) - _SHOWN} more")
    yield page.gallery(map(_figure, dict.fromkeys(file for finding in shown for file in finding.images)))


def _figure(file: Path) -> Markup:
    try:
        return page.image(open_any(file).decode().pixels, file.name)
    except ImageError:
        return page.missing_image(f"{file.name}: cannot be shown")
