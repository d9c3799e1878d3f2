"""What `foveal check` finds in images: the audit, and whatever else training would refuse, in the same words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from foveal.audit.checks import COPIES, Audit, without_bad
from foveal.audit.edits import edits_among
from foveal.core import progress
from foveal.core.errors import FovealError
from foveal.evaluation.bank import extractor_at_hand, look
from foveal.evaluation.feature_checks import belong_to_nothing, pairs_to_compare
from foveal.runs.folds import try_splits
from foveal.runs.image_settings import ImageRun
from foveal.runs.images import audit_with_bar, read, rules_to_skip
from foveal.sources.items import LEVELS, Finding, Source

EDITED = "crop, mirror or edit of another image"
UNLIKE = "image unlike the rest"


def check_images(settings: ImageRun, by_features: bool) -> Audit:
    """Audit the source that the settings name and try its splits; nothing is written.

    Args:
        settings: name the source.
        by_features: whether a backbone looks at the images as well.

    Returns:
        The findings; what training would refuse is one of them.

    Raises:
        FovealError: the source cannot be read at all, or there is no backbone on this machine to look.
    """
    source = read(settings)
    audit = audit_with_bar(settings, source)
    if by_features:
        found = [*audit.findings, *_by_features(source, audit)]
        audit = replace(audit, findings=sorted(found, key=lambda one: LEVELS.index(one.level)))
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


def _by_features(source: Source, audit: Audit) -> Iterator[Finding]:
    """Find what images' features tell: edits of one image that are no near copies, and images unlike the rest.

    Yields:
        A warning or a note for each image, or pair of images.
    """
    item_of = {item.image: item for item in reversed(source.items)}
    known = {frozenset(finding.images) for finding in audit.findings if finding.rule.startswith(COPIES)}
    files = [file for file in item_of if file not in audit.bad_images]
    with progress.Bar("looking at images", len(files)) as bar:
        bank = look(extractor_at_hand(), files, bar.advance)
    there = [Path(str(image)) for image in bank.images]
    pairs = pairs_to_compare(there, bank.features, [item_of[one].is_valid for one in there], known)
    with progress.Bar("comparing images", len(pairs)) as bar:
        edited = edits_among(pairs, advance=bar.advance)
    for pair in edited:
        first, second = sorted(pair, key=lambda one: bool(item_of[one].is_valid))  # that to train on first
        leak = item_of[first].is_valid is not None and item_of[first].is_valid != item_of[second].is_valid
        hint = "It is trained on and validated with: a leak." if leak else "Keep both on one side of the split."
        rule = f"{EDITED} across the split" if leak else EDITED
        value = f"{second.name} and {first.name} show the same"
        yield Finding("warning" if leak else "note", rule, item_of[second].origin, value, hint, (first, second))
    for at, strange in belong_to_nothing(bank.features):
        value = f"{there[at].name}, {strange:.1f} spreads from the rest"
        yield Finding("note", UNLIKE, item_of[there[at]].origin, value, "Does it belong here?", (there[at],))
