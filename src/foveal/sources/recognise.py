"""Sources of any format: the format is recognised from what lies there."""

from __future__ import annotations

import os
from dataclasses import replace

from foveal.core.errors import InputError, TableError, near_match
from foveal.core.listing import Path
from foveal.sources.formats import FORMATS, Match, ReadOptions, TableColumns
from foveal.sources.items import Source
from foveal.tasks.kinds import TASKS


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
        InputError: it is of no known format, cannot be used, or its labels are not what `task` needs.
    """
    file = Path(path)
    match: Match | None = None
    for name in FORMATS:
        found = FORMATS[name](file)
        if found is not None and (match is None or found.sure > match.sure):
            match = found
    if match is None:
        raise _unknown(file)
    folder = Path(images) if images is not None else None
    return _for_task(match.read(ReadOptions(images=folder, columns=columns, task=task)), task)


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
    beside = [other.name for other in file.parent.iterdir()] if file.parent.is_dir() else []
    known = "a table (.csv, .tsv, .parquet), a .json of COCO or Label Studio, or a folder"
    return InputError(f"`{file}` is no source: expected {known}.{near_match(file.name, beside)}")
