"""What `foveal check` finds in images: the audit, and whatever else training would refuse, in the same words."""

from __future__ import annotations

from dataclasses import replace

from foveal.audit.checks import Audit, without_bad
from foveal.core.errors import FovealError
from foveal.runs.folds import try_splits
from foveal.runs.image_settings import ImageRun
from foveal.runs.images import audit_with_bar, read, rules_to_skip


def check_images(settings: ImageRun) -> Audit:
    """Audit the source that the settings name and try its splits; nothing is written.

    Raises:
        FovealError: the source cannot be read at all.
    """
    source = read(settings)
    audit = audit_with_bar(settings, source)
    if skipping := rules_to_skip(settings):
        source = without_bad(source, audit)
        kept = [replace(one, level="warning") if one.rule in skipping else one for one in audit.findings]
        audit = replace(audit, findings=kept)
    if audit.errors:
        return audit
    try:
        try_splits(settings, source)
    except FovealError as error:
        return audit.with_refusal(error)
    return audit
