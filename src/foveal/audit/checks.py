"""The audit: its rules and their levels for labels, split and images, before anything is trained.

Every image is read and decoded once, in threads. The measurements are kept under `FOVEAL_HOME` by the hash of the file,
so that a second audit only reads and hashes, and a file that has changed since is noticed.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from foveal.audit.inspection import Change, Inspection, Ledger, copies_among, inspect_all
from foveal.core.errors import FovealError
from foveal.core.grouping import grouped
from foveal.images.channels import RGB
from foveal.sources.items import BAD_ANNOTATION, LEVELS, NO_IMAGE, Finding, Item, Level, Source, listed, refuse_errors
from foveal.tasks.kinds import TASKS, has_classes
from foveal.tasks.vocab import names_of

_FEW = 5  # images of a class; chosen by hand
_FEW_IMAGES = f"class with fewer than {_FEW} images"
_MANY = 20  # images from which on labels of their own are no classes; chosen by hand
_DARK = 12.0  # mean grey of 255; chosen by hand: nothing is to be seen
_BLURRED = 12.0  # variance of the Laplacian at 256 px; chosen by hand on defocused photographs
_TINY = 32  # pixels of the short side; chosen by hand: the stride of most backbones
_ODD_ASPECT = 4.0  # long side by short side; chosen by hand
_MOST = 0.5  # of the images: so many points that lie inside only if x and y are swapped are no accident
_REFUSED = "training would refuse this"
_OUTSIDE = "point outside the image"
BAD_IMAGE = "image that cannot be used"
COPIES = ("exact copy", "near copy")
"""What the rules of copies begin with."""
_LEAK = "exact copy across the split"
SKIPPED = frozenset({BAD_IMAGE, NO_IMAGE, BAD_ANNOTATION, _LEAK, f"{_LEAK} with another label"})
"""What `on_bad="skip"` leaves out."""


Figure = str | int | float | dict[str, int]
"""A fact about the whole source, or a table of counts."""


@dataclass(frozen=True, slots=True, repr=False)
class Audit:
    """All findings, errors first, and facts about the whole source.

    Attributes:
        findings: sorted by level.
        figures: facts and tables of counts, by name.
    """

    findings: Sequence[Finding]
    figures: Mapping[str, Figure]

    def to_dict(self) -> dict[str, object]:
        """Return it as values for `storage.write_json`."""
        return {"findings": [asdict(finding) for finding in self.findings], **self.figures}

    @classmethod
    def from_dict(cls, stored: Mapping[str, object]) -> Audit:
        """Return the audit that `to_dict` described in JSON.

        Raises:
            ValueError: it is the JSON of something else.
        """
        figures = dict(stored)
        entries = TypeAdapter(list[dict[str, object]]).validate_python(figures.pop("findings"))
        for entry in entries:
            if "pictures" in entry:  # as version 0.1 called them
                entry["images"] = entry.pop("pictures")
        findings = TypeAdapter(list[Finding]).validate_python(entries)
        return cls(findings, TypeAdapter(dict[str, Figure]).validate_python(figures))

    @property
    def errors(self) -> list[Finding]:
        """What stops training."""
        return [finding for finding in self.findings if finding.level == "error"]

    @property
    def unusable(self) -> list[Finding]:
        """The errors of images that cannot be used."""
        return [finding for finding in self.errors if finding.rule in SKIPPED]

    @property
    def bad_images(self) -> set[Path]:
        """The files of `unusable` to leave out; of two copies across the split, that to train on."""
        return {file for finding in self.unusable for file in finding.images[: 1 if _LEAK in finding.rule else None]}

    @property
    def summary(self) -> str:
        """The whole in one line."""
        counts = {level: sum(f.level == level for f in self.findings) for level in LEVELS}
        levels = ", ".join(f"{n} {level}{'s' if n != 1 else ''}" for level, n in counts.items())
        counted = {"items": "items", "usable": "usable images", "users": "users", "rated": "things rated"}
        amounts = [f"{self.figures[name]:,} {what}" for name, what in counted.items() if name in self.figures]
        return f"{', '.join(amounts) or self.figures['kind']}: {levels}."

    def with_refusal(self, error: FovealError) -> Audit:
        """Return the audit with one more error: that with which training would refuse the source."""
        return replace(self, findings=[Finding("error", _REFUSED, "", str(error)), *self.findings])

    def require_usable(self, name: str = "The source", *, skipping: AbstractSet[str] = frozenset()) -> None:
        """Refuse a source with errors.

        Args:
            name: of the source, in the message.
            skipping: rules whose errors do not count.

        Raises:
            TableError: the message lists the errors.
        """
        refuse_errors(name, [finding for finding in self.errors if finding.rule not in skipping])

    def __repr__(self) -> str:
        return "\n".join((*listed(self.findings), self.summary))


def audit(
    source: Source,
    *,
    n_channels: int = RGB,
    num_workers: int | None = None,
    advance: Callable[[], None] = lambda: None,
) -> Audit:
    """Return what is wrong with a source: with its labels and split, then with every image.

    Args:
        source: as a reader returns it.
        n_channels: that images are read with; those that do not have four are errors where four are wanted.
        num_workers: threads that read images; see `threads.default_workers`.
        advance: called after each image.
    """
    findings = [*source.findings, *audit_labels(source)]
    findings += [Finding("note", "how it was read", "", note) for note in source.notes]
    ledger = Ledger.load(n_channels)
    items = list(source.items)
    files = list(dict.fromkeys(item.image for item in items))
    inspected = inspect_all(ledger, files, num_workers=num_workers, advance=advance)
    findings += _audit_images(items, inspected)
    findings += [_describe_change(file, change) for file, change in ledger.changes.items()]
    findings += _audit_copies(items, inspected)
    kind = TASKS.find(source.task)
    if kind is not None and kind.has_points:
        findings += _audit_points(items, inspected)
    findings.sort(key=lambda finding: LEVELS.index(finding.level))
    return Audit(findings, _figures(source, inspected))


def without_bad(source: Source, audit: Audit) -> Source:
    """Return a source without the images that cannot be used, and without their findings.

    Args:
        source: what was audited.
        audit: of it.
    """
    bad = audit.bad_images
    findings = tuple(finding for finding in source.findings if finding.rule not in SKIPPED)
    return replace(source, items=[item for item in source.items if item.image not in bad], findings=findings)


def with_copies_together(source: Source, audit: Audit) -> Source:
    """Return a source in which exact copies are one group, so that a split that is drawn has them on one side.

    Args:
        source: what was audited; one with a split of its own stays as it is.
        audit: of it.
    """
    pairs = [finding.images for finding in audit.findings if finding.rule.startswith(COPIES[0])]
    if source.has_split or not pairs:
        return source
    joined: list[tuple[Hashable, Hashable]] = [(images[0], image) for images in pairs for image in images[1:]]
    kept = [(("group", item.group), item.image) for item in source.items if item.group is not None]
    group_of = grouped([*joined, *kept])  # what a column keeps together stays so
    items = [replace(item, group=group_of.get(item.image, item.group)) for item in source.items]
    return replace(source, items=items)


def audit_labels(source: Source) -> Iterator[Finding]:
    """Yield what is wrong with labels and split; no image is opened.

    Yields:
        Findings, of labels that cannot be learned, of the split, of groups on both sides and of rare classes.
    """
    items = source.items
    by_file: dict[Path, list[Item]] = defaultdict(list)
    for item in items:
        by_file[item.image].append(item)
    for file, same in by_file.items():
        if len(same) > 1:
            differ = len({str(item.label) for item in same}) > 1
            yield Finding(
                "error" if differ else "warning",
                "one file with different labels" if differ else "one file in several rows",
                same[1].origin,
                f"{file.name}, also {same[0].origin}",
                "Keep one row per file.",
                (file,),
            )
    if source.has_split:
        valid = sum(bool(item.is_valid) for item in items)
        if valid in {0, len(items)}:
            yield Finding("error", "everything on one side of the split", "", f"{valid} of {len(items)} to validate")
        yield from _audit_groups(items)
    if has_classes(source.task):
        yield from _audit_classes(items, source.task)


def _audit_groups(items: Sequence[Item]) -> Iterator[Finding]:
    sides: dict[Hashable, dict[bool, Item]] = defaultdict(dict)
    for item in items:
        if item.group is not None:
            sides[item.group].setdefault(bool(item.is_valid), item)
    for group, items_of in sides.items():
        if len(items_of) > 1:
            where = f"{items_of[False].origin} and {items_of[True].origin}"
            yield Finding("error", "group on both sides of the split", where, str(group), "Keep a group on one side.")


def _describe_change(file: Path, change: Change) -> Finding:
    if change == "silently":
        hint = "Its modification time is the same: a failing disk, or a copy that went wrong? Restore the file."
        return Finding("error", "bytes changed behind the file system's back", str(file), "", hint, (file,))
    rule = "file changed since it was last checked"
    return Finding("note", rule, str(file), "", "If you did not change it, restore it.", (file,))


def _audit_classes(items: Sequence[Item], kind: str) -> Iterator[Finding]:
    counts: Counter[str] = Counter()
    in_training: set[str] = set()
    for item in items:
        names = names_of(item.label)
        counts.update(names)
        if not item.is_valid:
            in_training.update(names)
    yield from _audit_variety(items, counts, kind)
    spellings: dict[str, list[str]] = defaultdict(list)
    for name, count in sorted(counts.items()):
        spellings[" ".join(name.lower().split())].append(name)
        if name not in in_training:
            value = f"{count} image{'s' if count > 1 else ''}"
            yield Finding("warning", "class seen in validation only", name, value, "It cannot be learned.")
        elif count < _FEW:
            yield Finding("warning", _FEW_IMAGES, name, str(count), "Add some, or drop it.")
    for names in spellings.values():
        if len(names) > 1:
            where = " / ".join(map(repr, names))
            yield Finding("warning", "labels that differ in case or white space only", where, hint="Merge them.")


def _audit_variety(items: Sequence[Item], counts: Counter[str], kind: str) -> Iterator[Finding]:
    """Yield a finding where labels are so few, or so many, that there is nothing to learn.

    Yields:
        At most one finding.
    """
    if counts and len(items) > 1 and len({str(item.label) for item in items}) == 1:
        hint = "There is nothing to tell apart: add images of another class, or without any."
        yield Finding("error", "every image has the same label", "", ", ".join(counts), hint)
    elif items and TASKS[kind].label_form == "names" and all(len(names_of(item.label)) == 1 for item in items):
        hint = "If that is so by its nature, --task single-label learns which one."
        yield Finding("note", "every image has exactly one label", "", f"{len(items):,} images", hint)
    if len(items) >= _MANY and TASKS[kind].label_form == "name" and len(counts) > len(items) / 2:
        value = f"{len(counts):,} labels of {len(items):,} images, such as {', '.join(list(counts)[:3])}"
        hint = "This is text, or numbers to predict (--targets), and no class. Name another column with --label-column."
        yield Finding("error", "nearly every image has a label of its own", "", value[:200], hint)


def _audit_images(items: Sequence[Item], inspected: Mapping[Path, Inspection]) -> Iterator[Finding]:
    origin = {item.image: item.origin for item in reversed(items)}
    for file, seen in inspected.items():
        if seen.fault:
            yield Finding("error", BAD_IMAGE, origin[file], f"{file}: {seen.fault}", "", (file,))
            continue
        size = f"{seen.size_hw[1]} x {seen.size_hw[0]}"
        looks = {
            "very dark image": (seen.brightness < _DARK, f"mean {seen.brightness:.0f} of 255"),
            "very blurred image": (seen.sharpness < _BLURRED, f"sharpness {seen.sharpness:.0f}"),
            "tiny image": (min(seen.size_hw) < _TINY, size),
            "several frames, of which the first is used": (seen.has_more_frames, size),
            "odd aspect": (max(seen.size_hw) > _ODD_ASPECT * min(seen.size_hw), size),
        }
        for rule, (applies, value) in looks.items():
            if applies:
                yield Finding("note", rule, origin[file], f"{file.name}, {value}", "", (file,))

    whites = Counter(seen.guessed_white for seen in inspected.values() if seen.guessed_white)
    if len(whites) > 1:
        value = ", ".join(f"{n:,} with {white:g}" for white, n in whites.most_common())
        hint = "Save all alike in 8 or 16 bits, or set FOVEAL_WHITE to one value for all."
        yield Finding("warning", "white is another value in some images", "", value, hint)


def _audit_copies(items: Sequence[Item], inspected: Mapping[Path, Inspection]) -> Iterator[Finding]:
    """Yield exact and near copies, above all across the split and with different labels.

    Yields:
        A finding per pair; and one where there are too many images to look for near copies among all.
    """
    item_of = {item.image: item for item in reversed(items)}
    files = [file for file, seen in inspected.items() if not seen.fault]
    copies, n_crowded = copies_among(files, inspected)
    if n_crowded:
        value = f"{n_crowded:,} images have thousands that look like them"
        yield Finding("note", "copies not looked for among all", "", value, "Near copies among them may be missed.")
    for first, second, exact in copies:
        here, there = item_of[first], item_of[second]
        kind = COPIES[0] if exact else COPIES[1]
        if exact and first.exists() and second.exists() and first.samefile(second):
            yield Finding(
                "warning", "two paths to one file", there.origin, f"{second} = {first}", "Keep one row per file."
            )
        leak = here.is_valid is not None and here.is_valid != there.is_valid
        differ = str(here.label) != str(there.label)
        rule = kind + (" across the split" if leak else "") + (" with another label" if differ else "")
        level: Level = "error" if leak and exact else "warning" if leak or differ else "note"
        hint = "It is trained on and validated with: a leak." if leak else "Keep one of them."
        if level == "error":
            hint += " --on-bad skip leaves out the one to train on."
        pair = (second, first) if leak and here.is_valid else (first, second)  # that to train on first
        yield Finding(level, rule, there.origin, f"{second.name} = {first.name}", hint, pair)


def _audit_points(items: Sequence[Item], inspected: Mapping[Path, Inspection]) -> Iterator[Finding]:
    outside: list[Finding] = []
    inside_if_swapped, n = 0, 0
    for item in items:
        seen = inspected[item.image]
        points = np.asarray(item.label, dtype=float)
        if seen.fault or np.isnan(points).all():
            if not seen.fault:
                yield Finding("note", "no point given", item.origin, item.image.name)
            continue
        n += 1
        size_wh = np.array(seen.size_hw[::-1])
        out = _any_outside(points, size_wh)
        inside_if_swapped += out and not _any_outside(points[:, ::-1], size_wh)
        if out:
            where = (item.image,)
            outside.append(Finding("warning", _OUTSIDE, item.origin, f"{points.tolist()}", images=where))
    if n and inside_if_swapped > _MOST * n:
        value = f"{len(outside)} of {n} lie outside, {inside_if_swapped} of them inside if swapped"
        yield Finding("error", "x and y seem to be swapped", "", value, "Give the columns as x,y.")
    yield from outside


def _any_outside(points: NDArray[np.float64], size_wh: NDArray[np.int64]) -> bool:
    return bool(((points < 0) | (points > size_wh)).any())


def _figures(source: Source, inspected: Mapping[Path, Inspection]) -> dict[str, Figure]:
    sizes = Counter(f"{seen.size_hw[1]}x{seen.size_hw[0]}" for seen in inspected.values() if not seen.fault)
    figures: dict[str, Figure] = {
        "read as": source.read_as,
        "why": source.why,
        "kind": source.kind,
        "task": source.task,
        "items": len(source.items),
    }
    figures |= {"images": len(inspected), "usable": sum(sizes.values()), "sizes": dict(sizes.most_common(10))}
    if has_classes(source.task):
        names = [names_of(item.label) for item in source.items]
        figures["classes"] = dict(Counter(name for label in names for name in label).most_common())
        if TASKS[source.task].label_form == "names":
            figures["nothing in the image"] = sum(not label for label in names)
            figures["together"] = _together(names)
    return figures


def _together(names: Iterable[Sequence[str]]) -> dict[str, int]:
    """Return the pairs of labels that occur together most often."""
    pairs = Counter(f"{a} + {b}" for label in names for a, b in combinations(sorted(label), 2))
    return dict(pairs.most_common(15))
