"""Sources of any kind: the kind is recognised from what lies there."""

from __future__ import annotations

import json
import os

from foveal.core.errors import InputError, TableError, near_match
from foveal.core.listing import Path
from foveal.sources.coco import read_coco
from foveal.sources.folders import get_image_files, has_class_folders, read_folders, read_plain
from foveal.sources.items import Source
from foveal.sources.label_studio import read_label_studio
from foveal.sources.table import TableColumns, is_parquet, read_table
from foveal.sources.voc import is_voc, read_voc
from foveal.sources.yolo import is_yolo_pose, read_yolo_pose

TABLES = frozenset({".csv", ".tsv", ".tab", ".parquet", ".pq"})


def read_source(
    path: str | os.PathLike[str],
    *,
    images: str | os.PathLike[str] | None = None,
    columns: TableColumns | None = None,
    task: str = "auto",
) -> Source:
    """Read a table, a .json of COCO or Label Studio, or a folder.

    A folder may be Pascal VOC, YOLO pose, one folder a class, of images, or of parquet files with images' bytes.

    Args:
        path: the file or folder.
        images: the folder of the images; by default the one that `path` lies in.
        columns: for tables, which columns hold what.
        task: `auto`, or what the labels should be read as.

    Raises:
        InputError: it is of no known kind, or cannot be used; the message says why.
    """
    file = Path(path)
    if file.suffix.lower() in TABLES or (file.is_dir() and is_parquet(file)):
        return read_table(file, images=images, columns=columns, task=task)
    if file.is_file() and file.suffix.lower() == ".json":
        return _read_json(file, Path(images) if images is not None else file.parent, task)
    if not file.is_dir():
        beside = [other.name for other in file.parent.iterdir()] if file.parent.is_dir() else []
        known = "a table (.csv, .tsv, .parquet), a .json of COCO or Label Studio, or a folder"
        raise InputError(f"`{file}` is no source: expected {known}.{near_match(file.name, beside)}")
    if is_voc(file):
        return read_voc(file)
    if is_yolo_pose(file):
        return read_yolo_pose(file)
    if has_class_folders(file):
        return read_folders(file)
    if get_image_files(file):
        return read_plain(file)
    raise InputError(f"The folder `{file}` holds no images.")


def _read_json(file: Path, images: Path, task: str) -> Source:
    try:
        data = json.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise TableError(f"`{file}` cannot be read as JSON: {error}") from error
    if isinstance(data, dict) and {"images", "annotations", "categories"} <= set(data):
        return read_coco(file, data, images, task)
    if isinstance(data, list) and data and all(isinstance(one, dict) and "data" in one for one in data):
        return read_label_studio(file, data, images, task)
    raise TableError(f"`{file}` is neither COCO (images, annotations, categories) nor an export of Label Studio.")
