"""Items: one image, its label and where both come from; findings: what is wrong with a source.

Both are the same for every format. A finding has a level: `error` stops training, `warning` should be looked at, `note`
is for the record.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from foveal._moved import attribute
from foveal.core.errors import TableError

Level = Literal["error", "warning", "note"]
LEVELS: tuple[Level, ...] = ("error", "warning", "note")
_LISTED = 5
NO_IMAGE = "no such image file"
BAD_ANNOTATION = "annotation that cannot be read"
POINT_TWICE = "point given twice"


@dataclass(frozen=True, slots=True)
class Item:
    """One image and what is known of it.

    Attributes:
        image: the file.
        label: what a person would write down: a name, names, points [N, 2] in source pixels; None if unknown.
        is_valid: the side of the split that the source asks for, None where it does not say.
        group: what must stay on one side of a split (a person, a camera), where the source says so.
        about: (column, value) for the further columns that the options name.
        origin: where the item comes from, for messages: "train.csv, row 12".
    """

    image: Path
    label: object = None
    is_valid: bool | None = None
    origin: str = ""
    group: Hashable = None
    about: tuple[tuple[str, Hashable], ...] = ()
    picture = attribute("picture", "image")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing found.

    Attributes:
        rule: what it is about, the same words for every finding of the kind.
        where: the row or file.
        value: what was found there.
        hint: what to do.
        images: the files concerned, to be shown.
    """

    level: Level
    rule: str
    where: str
    value: str = ""
    hint: str = ""
    images: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class Source:
    """What a reader found.

    Attributes:
        kind: the format, in words.
        task: what its labels ask for; "none" if it has none.
        items: one per image; rows that cannot be used are left out and stand in the findings.
        point_names: what its points are called.
        target_names: what its numbers are called.
        notes: remarks that are printed once.
        findings: what is wrong with the rows.
        test: the items of a side that is neither for training nor for validation; they are for `foveal evaluate`.
        n_left_out: how many images it names that are in neither, and stand in the findings.
        place: what below the path was read, such as "annotations/instances_default.json".
        why: what it was recognised by.
    """

    kind: str
    task: str
    items: Sequence[Item]
    point_names: tuple[str, ...] = ()
    target_names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
    test: Sequence[Item] = ()
    n_left_out: int = 0
    place: str = ""
    why: str = ""

    @property
    def has_split(self) -> bool:
        """Whether the source says which items are for validation."""
        return bool(self.items) and all(item.is_valid is not None for item in self.items)

    @property
    def read_as(self) -> str:
        """What the source was taken for, in one line: its format, what is learned, how many images, and the split."""
        what = [f"{self.kind} ({self.place})" if self.place else self.kind]
        if self.point_names:
            what.append(f"points: {_some(self.point_names)}")
        elif self.target_names:
            what.append(f"numbers: {_some(self.target_names)}")
        elif self.task == "none":
            what.append("no labels")
        else:
            what.append(self.task)
        n = len(self.items) + len(self.test) + self.n_left_out
        left_out = f", {self.n_left_out:,} left out" if self.n_left_out else ""
        n_valid = sum(item.is_valid is True for item in self.items)
        split = f"split as given: {len(self.items) - n_valid:,} / {n_valid:,}" if self.has_split else "no split given"
        test = f", test {len(self.test):,} not used" if self.test else ""
        return f"{', '.join(what)}; {n:,} images{left_out}; {split}{test}"

    def require_usable(self) -> None:
        """Refuse a source with errors.

        Raises:
            TableError: the message lists them.
        """
        refuse_errors(f"The {self.kind}", self.findings)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_LISTED]) + (f", … ({len(names)})" if len(names) > _LISTED else "")


def missing_image(where: str, file: object, hint: str = "") -> Finding:
    """Return the finding of an image that is not there.

    Args:
        where: the row that names it.
        file: the image.
        hint: what to do.
    """
    return Finding("error", NO_IMAGE, where, str(file), hint)


def by_rule(findings: Sequence[Finding]) -> dict[tuple[Level, str], list[Finding]]:
    """Return findings by (level, rule), errors first."""
    grouped: dict[tuple[Level, str], list[Finding]] = {}
    for finding in sorted(findings, key=lambda finding: LEVELS.index(finding.level)):
        grouped.setdefault((finding.level, finding.rule), []).append(finding)
    return grouped


def refuse_errors(name: str, findings: Sequence[Finding]) -> None:
    """Refuse what has findings that are errors.

    Args:
        name: what has the findings, as the message begins.
        findings: of any level.

    Raises:
        TableError: the message lists them.
    """
    if errors := [finding for finding in findings if finding.level == "error"]:
        raise TableError("\n".join((f"{name} cannot be used as it is:", *listed(errors))))


def listed(findings: Sequence[Finding], *, most: int = _LISTED) -> Iterator[str]:
    """Yield findings as lines of text, at most `most` of each rule.

    Args:
        findings: of any level.
        most: how many lines per rule.
    """
    for (level, rule), same in by_rule(findings).items():
        yield f"{level}: {rule} ({len(same)})"
        for finding in same[:most]:
            yield "    " + ": ".join(part for part in (finding.where, finding.value) if part)
        if len(same) > most:
            yield f"    … and {len(same) - most} more"
        if same[0].hint:
            yield f"    {same[0].hint}"
