"""What `foveal check` finds: the audit, and whatever else training would refuse in the source, in the same words."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from foveal import progress
from foveal.audit.checks import Audit, audit, without_bad
from foveal.cli.ratings import rating_loaders
from foveal.cli.repeats import try_splits
from foveal.cli.settings import RunSettings
from foveal.cli.training import read, skipped_by
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
    usable, skipping = source, skipped_by(settings)
    if skipping:
        usable = without_bad(source, judged)
        kept = [replace(one, level="warning") if one.rule in skipping else one for one in judged.findings]
        judged = replace(judged, findings=kept)
    if judged.errors:
        return judged
    try:
        try_splits(settings, usable)
    except FovealError as error:
        return replace(judged, findings=[_refusal(error), *judged.findings])
    return judged


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
