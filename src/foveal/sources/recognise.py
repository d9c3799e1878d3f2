"""Which reader reads a source: the format is recognised, and options that it does not use are refused."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import replace

from foveal.core.errors import InputError, TableError, near_match
from foveal.core.listing import Path
from foveal.sources.formats import FORMATS, Match, ReadOptions, TableColumns
from foveal.sources.items import Source
from foveal.tasks.kinds import TASKS

_OPTIONS = {
    "image": "--image-column",
    "label": "--label-column",
    "labels": "--label-columns",
    "group": "--group-column",
    "about": "--by",
    "valid": "--valid-column",
    "points": "--points",
    "targets": "--targets",
    "label_delimiter": "--label-delimiter",
    "empty": "--empty",
}
"""How the command line calls the fields of `TableColumns`."""


def read_source(
    path: str | os.PathLike[str],
    *,
    images: str | os.PathLike[str] | None = None,
    columns: TableColumns | None = None,
    task: str = "auto",
) -> Source:
    """Read a table, a .json of COCO or Label Studio, or a folder.

    A folder may be Pascal VOC, YOLO pose, one folder per class, of images, or of parquet files with images' bytes.
    Packages may add formats; see `foveal.sources.formats`.

    Args:
        path: the file or folder.
        images: the folder of the images; by default the one that `path` lies in.
        columns: for tables, which columns hold what.
        task: `auto`, or what the labels should be read as.

    Raises:
        InputError: it is of no known format, cannot be used, does not use something that was given, or its labels are
            not what `task` needs.
    """
    file = Path(path)
    match: Match | None = None
    for look in FORMATS.values():
        found = look(file)
        if found is not None and (match is None or found.sure > match.sure):
            match = found
    if match is None:
        raise _unknown(file)
    options = ReadOptions(images=Path(images) if images is not None else None, columns=columns, task=task)
    source = match.read(options)
    _refuse_unused(source, match, options)
    return _for_task(source, task)


def _refuse_unused(source: Source, match: Match, options: ReadOptions) -> None:
    """Refuse what was given for a source whose format does not use it."""
    given = ["--images"] if options.images is not None and "images" not in match.uses else []
    if options.columns is not None and "columns" not in match.uses:
        usual = TableColumns()
        fields = (field.name for field in dataclasses.fields(usual))
        given += [_OPTIONS[name] for name in fields if getattr(options.columns, name) != getattr(usual, name)]
    if given:
        raise InputError(f"{' and '.join(given)} cannot be used with this source ({source.kind}): leave it out.")


def _for_task(source: Source, task: str) -> Source:
    """Return a source for the task that the user named: its labels must be of the form that this task learns."""
    if task in {"auto", source.task} or source.task == "none":
        return source
    form, wanted = TASKS[source.task].label_form, TASKS[task].label_form
    if (form, wanted) == ("name", "names"):
        items = [replace(item, label=None if item.label is None else [item.label]) for item in source.items]
        return replace(source, task=task, items=items)
    if form != wanted:
        raise InputError(
            f"--task {task} cannot be learned from this source ({source.kind}): its labels are those of {source.task}."
        )
    return replace(source, task=task)


def _unknown(file: Path) -> InputError:
    if file.is_file() and file.suffix.lower() == ".json":
        return TableError(f"`{file}` is neither COCO (images, annotations, categories) nor an export of Label Studio.")
    if file.is_dir():
        return InputError(f"The folder `{file}` holds no images.")
    there = file.parent.iterdir() if file.parent.is_dir() else ()
    beside = [other.name for other in there if other.name != file.name]
    known = "a table (.csv, .tsv, .parquet), a .json of COCO or Label Studio, or a folder"
    return InputError(f"`{file}` is no source: expected {known}.{near_match(file.name, beside)}")
