"""A table of what can be trained on as it is: a source without the items that have errors."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from foveal.audit.checks import COPIES, Audit
from foveal.core.errors import InputError
from foveal.core.tables import FORMATS, write_table
from foveal.evaluation.predictions import relative_name
from foveal.runs import folder as run
from foveal.runs.image_settings import ImageRun
from foveal.runs.images import read
from foveal.sources.cells import joint_for
from foveal.sources.items import Finding, Item, Source
from foveal.tasks.columns import columns_for_points
from foveal.tasks.kinds import TASKS, LabelForm
from foveal.tasks.label_lists import PartialLabels

_GROUP = "group"


class Cleaned(NamedTuple):
    """What was written.

    Attributes:
        path: of the table.
        n: its rows.
        left_out: items that are not in it, by the rule of the error.
        settings: with which `train` reads it, by name.
        remaining: errors that leaving items out does not mend, by rule.
    """

    path: Path
    n: int
    left_out: Mapping[str, int]
    settings: Mapping[str, str]
    remaining: Mapping[str, int]


def write_clean(settings: ImageRun, audit: Audit, path: Path) -> Cleaned:
    """Write the items without errors as a table, and of exact copies only one.

    Of copies across the split the one to validate on stays; of copies with different labels none does.

    Args:
        settings: name the source.
        audit: of it.
        path: a .csv, .jsonl or .parquet.

    Returns:
        What is in it, and how it is read.

    Raises:
        InputError: the ending is another one, or nothing is left.
    """
    if path.suffix not in FORMATS:
        raise InputError(f"`{path}` must end in {', '.join(FORMATS)}.")
    source = read(settings)
    bad = {image: finding.rule for finding in audit.findings for image in _to_leave_out(finding)}
    items = [item for item in source.items if item.image not in bad]
    if not items:
        raise InputError(f"No item of `{settings.data.table}` is without errors.")
    columns = _Columns.of(source)
    n = write_table(path, _rows(items, columns, run.image_folder(settings)))
    left_out = Counter(bad[item.image] for item in source.items if item.image in bad)
    # Errors without an image are about rows of which no item was made, or about the source as a whole.
    without = Counter(finding.rule for finding in audit.errors if not finding.images)
    of_rows = {finding.rule for finding in source.findings if finding.level == "error"}
    left_out += Counter({rule: n for rule, n in without.items() if rule in of_rows})
    remaining = {rule: n for rule, n in without.items() if rule not in of_rows}
    reading = {"images": str(run.image_folder(settings)), **columns.settings()}
    reading |= {"group_column": _GROUP} if any(item.group is not None for item in items) else {}
    return Cleaned(path, n, left_out, reading, remaining)


def _to_leave_out(finding: Finding) -> Sequence[Path]:
    """Return the images of a finding that are not in a clean table."""
    if finding.rule.startswith(COPIES[0]):
        if finding.rule.endswith("with another label"):
            return finding.images
        return finding.images[:1] if "across the split" in finding.rule else finding.images[1:]
    return finding.images if finding.level == "error" else ()


class _Columns(NamedTuple):
    """How labels of a source become cells."""

    task: str
    form: LabelForm
    names: tuple[str, ...]
    joint: str

    @classmethod
    def of(cls, source: Source) -> _Columns:
        form = TASKS[source.task].label_form
        assert form is not None
        labels = [item.label for item in source.items]
        if form == "points_xy":
            n = len(np.reshape(np.asarray(labels[0], dtype=float), (-1, 2)))
            return cls(source.task, form, source.point_names or tuple(f"point {at + 1}" for at in range(n)), "")
        if form == "numbers":
            n = np.size(np.asarray(labels[0], dtype=float))
            return cls(source.task, form, source.target_names or tuple(f"number {at + 1}" for at in range(n)), "")
        if form == "name":
            return cls(source.task, form, (), "")
        listed = [list(label) for label in labels if isinstance(label, list | tuple | PartialLabels)]
        partial = [label for label in labels if isinstance(label, PartialLabels) and label.unknown]
        unknown = {str(name) for label in partial for name in label.unknown}
        names = {str(name) for names in listed for name in names}
        return cls(source.task, form, tuple(sorted(names | unknown)) if unknown else (), joint_for(names))

    def cells(self, label: object) -> dict[str, object]:
        """Return the cells of a label; what is not known is blank."""
        if self.form == "name":
            return {"label": label}
        if self.form == "names" and not self.names:
            return {"labels": self.joint.join(map(str, _listed(label)))}
        if self.form == "names":
            present = set(map(str, _listed(label)))
            unknown = set(map(str, label.unknown)) if isinstance(label, PartialLabels) else set()
            return {name: None if name in unknown else int(name in present) for name in self.names}
        numbers = np.asarray(label, dtype=float).reshape(-1).tolist()
        return {
            name: None if math.isnan(number) else number for name, number in zip(self.headers(), numbers, strict=True)
        }

    def headers(self) -> list[str]:
        """Return the columns of points or numbers."""
        return [*(columns_for_points(self.names) if self.form == "points_xy" else self.names)]

    def settings(self) -> dict[str, str]:
        """Return the settings with which `train` reads the cells."""
        settings = {"task": self.task}
        if self.form == "points_xy":
            return settings | {"points": ",".join(self.headers()), "point_names": ",".join(self.names)}
        if self.form == "numbers":
            return settings | {"targets": ",".join(self.names)}
        if self.form == "names" and self.names:
            return settings | {"label_columns": ",".join(self.names)}
        return settings | ({"empty": "none", "label_delimiter": self.joint} if self.form == "names" else {})


def _listed(label: object) -> Sequence[object]:
    return list(label) if isinstance(label, list | tuple | PartialLabels) else []


def _rows(items: Sequence[Item], columns: _Columns, base: Path) -> Iterator[dict[str, object]]:
    has_sides = any(item.is_valid is not None for item in items)
    has_groups = any(item.group is not None for item in items)
    for item in items:
        row: dict[str, object] = {"fname": relative_name(item.image, base)} | columns.cells(item.label)
        if has_sides:
            row["is_valid"] = bool(item.is_valid)
        if has_groups:
            row[_GROUP] = item.group
        yield row | dict(item.about)
