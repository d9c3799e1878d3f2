"""What `foveal check` finds: the audit, and whatever else training would refuse in the source, in the same words."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from foveal import progress
from foveal.audit.checks import SKIPPED, Audit, audit, without_bad
from foveal.cli.ratings import rating_loaders
from foveal.cli.repeats import parts_of
from foveal.cli.settings import RunSettings
from foveal.cli.training import loaders, read
from foveal.errors import FovealError
from foveal.sources.items import Finding
from foveal.tasks.rating import Rating

REFUSED = "training would refuse this"


def check_source(settings: RunSettings) -> Audit:
    """Judge what the settings name, images or ratings; nothing is written.

    Raises:
        FovealError: the source cannot be read at all.
    """
    if settings.task == Rating.kind:
        return _ratings(settings)
    source = read(settings)
    with progress.Bar("reading pictures", len(source.items)) as bar:
        judged = audit(source, advance=bar.advance)
    skipping = SKIPPED if settings.on_bad == "skip" else frozenset()
    if any(finding.rule not in skipping for finding in judged.errors):
        return judged
    usable = without_bad(source, judged) if skipping else source
    runs = parts_of(settings).values() if settings.repeats else [settings]
    return _with_refusal(judged, lambda: [loaders(each, usable) for each in runs])


def _ratings(settings: RunSettings) -> Audit:
    figures: dict[str, Any] = {"kind": "ratings", "task": settings.task}
    try:
        dls = rating_loaders(settings)
    except FovealError as error:
        return Audit([_refusal(error)], figures)
    n_users, n_items = len(dls.task.users) - 1, len(dls.task.items) - 1  # number 0 is all that are not known
    return Audit((), figures | {"items": dls.train.n + dls.valid.n, "users": n_users, "rated": n_items})


def _refusal(error: FovealError) -> Finding:
    return Finding("error", REFUSED, "", str(error))


def _with_refusal(judged: Audit, attempt: Callable[[], object]) -> Audit:
    """Return the audit, with one more error if what training begins with fails."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what training warns of is not what it refuses
            attempt()
    except FovealError as error:
        return replace(judged, findings=[_refusal(error), *judged.findings])
    return judged
