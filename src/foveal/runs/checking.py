"""What `foveal check` finds in images: the audit, and whatever else training would refuse, in the same words."""

from __future__ import annotations

from dataclasses import replace

from foveal.audit.checks import Audit, without_bad
from foveal.core.errors import FovealError
from foveal.runs.folds import try_splits
from foveal.runs.image_settings import ImageRun
from foveal.runs.images import audited, read, skipped_by


def check_images(settings: ImageRun) -> Audit:
    """Audit the source that the settings name and try its splits; nothing is written.

    Raises:
        FovealError: the source cannot be read at all.
    """
    source = read(settings)
    judged = audited(source)
    if skipping := skipped_by(settings):
        source = without_bad(source, judged)
        kept = [replace(one, level="warning") if one.rule in skipping else one for one in judged.findings]
        judged = replace(judged, findings=kept)
    if judged.errors:
        return judged
    try:
        try_splits(settings, source)
    except FovealError as error:
        return judged.with_refusal(error)
    return judged
