"""From what a format says of each image to a source: what is not labelled, not there or not to be used is named."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from foveal.core.errors import TableError
from foveal.sources.finder import ImageFinder, Wanted
from foveal.sources.items import Finding, Item, Source
from foveal.sources.sides import Side, set_aside_test, sides_by_folders
from foveal.tasks.kinds import TASKS, LabelForm, form_of, kind_for

Empty = Literal["skip", "none", "error"]
"""What is done with an image that is not labelled: it is left out, has nothing in it, or is an error."""
_SHOWN = 5


class NotLabelled:
    """The label of an image that nobody has labelled; an empty list of names says that nothing is in it."""

    def __init__(self, why: str, *, may_be_nothing: bool = True) -> None:
        """Begin with the reason.

        Args:
            why: the rule of the finding, such as "image without an annotation".
            may_be_nothing: whether the user may say that nothing is in such images; not so where someone skipped one,
                or answers differ.
        """
        self.why, self.may_be_nothing = why, may_be_nothing


@dataclass(frozen=True, kw_only=True)
class Entry(Wanted):
    """What a format says of one image.

    Attributes:
        label: names, a name, points; or `NotLabelled`.
    """

    label: object


def left_out(
    rule: str, origins: Sequence[str], n: int, hint: str = "", *, level: Literal["warning", "note"] = "warning"
) -> Finding:
    """Return one finding for all images that are left out for one reason.

    Args:
        rule: the reason.
        origins: where they are named.
        n: how many they are.
        hint: what to do.
        level: of the finding.
    """
    shown = ", ".join(origins[:_SHOWN]) + (", …" if len(origins) > _SHOWN else "")
    return Finding(level, rule, "", f"{n:,} left out: {shown}", hint)


def without_unlabelled(entries: Sequence[Entry], empty: Empty, *, several: bool) -> tuple[list[Entry], list[Finding]]:
    """Return entries without those that nobody labelled, or as `empty` says, and findings about them.

    Args:
        entries: of a source.
        empty: what is done with them.
        several: whether an image may have several labels, and so none.

    Raises:
        TableError: `empty` is "none" where an image has one label.
    """
    if empty == "none" and not several:
        raise TableError("--empty none needs images with several labels: here each image has one, or points.")
    kept: list[Entry] = []
    by_reason: dict[str, list[str]] = {}
    reasons: dict[str, bool] = {}
    for entry in entries:
        if not isinstance(entry.label, NotLabelled):
            kept.append(entry)
        elif empty == "none" and entry.label.may_be_nothing:
            kept.append(replace(entry, label=[]))
        else:
            reasons[entry.label.why] = entry.label.may_be_nothing
            by_reason.setdefault(entry.label.why, []).append(entry.origin)
    if empty == "error":
        return kept, [Finding("error", why, origin, "") for why, origins in by_reason.items() for origin in origins]
    hint = "If it means that nothing is in the image, say --empty none."
    return kept, [
        left_out(why, origins, len(origins), hint if several and reasons[why] else "")
        for why, origins in by_reason.items()
    ]


def gather(
    kind: str,
    entries: Sequence[Entry],
    finder: ImageFinder,
    *,
    task: str = "auto",
    usual: LabelForm = "names",
    empty: Empty = "skip",
    point_names: Sequence[str] = (),
    findings: Sequence[Finding] = (),
    place: str = "",
) -> Source:
    """Return the source of entries whose labels are names (or points, or one name each).

    Args:
        kind: the format, in words.
        entries: one per image.
        finder: of the images.
        task: what the labels should be read for, or "auto".
        usual: the form that the labels have.
        empty: what is done with images that are not labelled.
        point_names: what points are called.
        findings: what is known to be wrong.
        place: what was read.
    """
    form, n_entries = form_of(task, usual=usual), len(entries)
    if form == "name" != usual:
        entries = [replace(entry, label=_only_name(entry.label)) for entry in entries]
    entries, more = without_unlabelled(entries, empty, several=form == "names")
    files = finder.resolve(entries)
    there = [(file, entry) for file, entry in zip(files, entries, strict=True) if file is not None]
    items = [Item(file, entry.label, None, entry.origin) for file, entry in there]
    sides, split = sides_by_folders(items, [entry.side for _, entry in there], finder.root)
    kept, test, wrong = set_aside_test(items, sides)
    if (entries and not there) or (n_entries and not entries):
        value = f"{n_entries:,} are named: {len(entries):,} of them are labelled, {len(there):,} were found"
        finder.findings.append(Finding("error", "no image that can be used", "", value))
    chosen = task if task != "auto" and TASKS[task].label_form == form else kind_for(form)
    return Source(
        kind,
        chosen,
        kept,
        point_names=tuple(point_names) if form == "points_xy" else (),
        findings=(
            *findings,
            *more,
            *of_test_side(finder.findings, [one.origin for one in entries], [one.side for one in entries]),
            *split,
            *wrong,
        ),
        test=test,
        n_left_out=n_entries - len(there),
        place=place,
    )


def of_test_side(findings: Sequence[Finding], origins: Sequence[str], sides: Sequence[Side | None]) -> list[Finding]:
    """Return findings of which those about the test side stop nothing: it is neither trained on nor validated with.

    Args:
        findings: of any level.
        origins: where each image is named.
        sides: of each.
    """
    test = {origin for origin, side in zip(origins, sides, strict=True) if side == "test"}
    return [replace(one, level="warning") if one.level == "error" and one.where in test else one for one in findings]


def _only_name(label: object) -> object:
    """Return the one name among names, where there is exactly one."""
    if isinstance(label, NotLabelled) or not isinstance(label, Sequence) or isinstance(label, str):
        return label
    return (
        label[0]
        if len(label) == 1
        else NotLabelled("several labels, or none, where one is expected", may_be_nothing=False)
    )
