"""The register of source formats: ours, and those that other packages add under the entry point `foveal.sources`.

A format is a function that looks at a path and returns a `Match`, or None where the path is not of this format. It is
called with whatever path a user names, also one that does not exist, so it looks quickly and raises only where the path
is surely of this format and broken. Of all matches the surest one reads the source; of equally sure ones, the format
that was registered first. docs/extending.md shows one.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal, NamedTuple

from foveal.core.errors import TableError
from foveal.core.registry import Registry
from foveal.core.storage import Json
from foveal.sources.items import Source


@dataclass(frozen=True, slots=True)
class TableColumns:
    """Which columns hold what; None means: find it by its usual name.

    Attributes:
        image: the files of the images.
        label: a class name, or several in one cell.
        labels: one 0/1 column per class, instead of `label`; blank or -1 is unknown.
        group: what must stay on one side of a split.
        about: further columns that the items should know.
        valid: whether a row is for validation.
        points: the columns x, y[, x2, y2, ...] of a point task.
        targets: the columns of numbers of a regression; blank is unknown.
        label_delimiter: what separates several labels in one cell.
        empty: what is done with an image that is not labelled: `skip` leaves it out, `none` says that nothing is in it,
            and it may be an `error`.
    """

    image: str | None = None
    label: str | None = None
    labels: tuple[str, ...] = ()
    group: str | None = None
    about: tuple[str, ...] = ()
    valid: str | None = None
    points: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    label_delimiter: str | None = None
    empty: Literal["skip", "none", "error"] = "skip"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadOptions:
    """How a source should be read: the options of a user.

    Attributes:
        images: the folder of the images; None for the one that the source lies in.
        columns: of a table, which columns hold what; None for the usual ones.
        task: the kind of task that labels should be read for, or "auto".
        predictions: whether a model's predictions count as labels where nobody labelled.
        encoding: of a table's text; None to find it out.
        sure: whether the user named the format.
    """

    images: Path | None = None
    columns: TableColumns | None = None
    task: str = "auto"
    predictions: bool = False
    encoding: str | None = None
    sure: bool = False

    @property
    def empty(self) -> Literal["skip", "none", "error"]:
        """What is done with an image that is not labelled; see `TableColumns`."""
        return (self.columns or TableColumns()).empty


NO_OPTIONS: frozenset[str] = frozenset()
ANNOTATIONS = frozenset({"images", "empty"})
"""What formats use in which a file of annotations names the images."""


class Match(NamedTuple):
    """What a format says of a path that is of this format.

    Attributes:
        sure: how sure it is, from 0 to 1. The formats of foveal say 1 where nothing else can be meant, 0.9 for a known
            layout inside a file or folder, 0.5 for any table, and less for folders that say little.
        read: reads the source; called once, and only if no other format is surer.
        uses: the fields of `ReadOptions` and `TableColumns` that it uses besides `task`, "columns" standing for all of
            the latter; what a user gives of the others is refused.
        why: what it was recognised by, as a person would say it.
    """

    sure: float
    read: Callable[[ReadOptions], Source]
    uses: frozenset[str] = frozenset({"images", "columns"})
    why: str = ""


Format = Callable[[Path], Match | None]
"""Looks at a path; see the module."""

FORMATS: Registry[Format] = Registry("source format", group="foveal.sources")
for _name, _module in (
    ("coco", "coco"),
    ("label-studio", "label_studio"),
    ("labelme", "labelme"),
    ("via", "via"),
    ("cvat", "cvat"),
    ("voc", "voc"),
    ("yolo", "yolo"),
    ("table", "table"),
    ("folders", "folders"),
    ("images", "folders"),
):
    FORMATS.add(_name, f"foveal.sources.{_module}:match_{_name.replace('-', '_')}")


_SNIFFED = 1 << 16  # bytes at either end in which the keys of a .json are looked for; a COCO file may have 500 MB


def sniff(path: Path) -> bytes:
    """Return the beginning and the end of a file, to recognise it by; nothing where it cannot be read.

    Args:
        path: the file.
    """
    try:
        with path.open("rb") as file:
            head = file.read(_SNIFFED)
            file.seek(0, 2)
            file.seek(max(len(head), file.tell() - _SNIFFED))
            return head + file.read()
    except OSError:
        return b""


def load_json(path: Path) -> Json:
    """Return what a .json file holds; None where the path is no .json file.

    Raises:
        TableError: it cannot be read as JSON.
    """
    if path.suffix.lower() != ".json" or not path.is_file():
        return None
    state = path.stat()
    return _load_json(path, state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=4)  # several formats look into the same file, and a data set has one for each side
def _load_json(path: Path, _changed: int, _size: int) -> Json:
    try:
        data = path.read_bytes()
        value: Json = json.loads(data.decode(json.detect_encoding(data)).removeprefix("\ufeff"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise TableError(f"`{path}` cannot be read as JSON: {error}") from error
    return value
