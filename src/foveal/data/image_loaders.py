"""The book's short ways from files to loaders, each a few lines over `DataBlock`."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from foveal.core.errors import UnknownNameError
from foveal.data.block import DataBlock, ImageBlock
from foveal.data.labels import ColReader, RegexLabeller, parent_label, using_attr
from foveal.data.loaders import DataLoaders
from foveal.data.splits.splitters import ColSplitter, GrandparentSplitter, RandomSplitter, Splitter
from foveal.sources.folders import get_image_files
from foveal.tasks.multi_label import MultiCategoryBlock
from foveal.tasks.points import PointBlock
from foveal.tasks.single_label import CategoryBlock

Place = str | os.PathLike[str]
_OPTIONS = ("valid_pct", "seed", "item_tfms", "batch_tfms", "bs", "y_block", "num_workers", "device")


class ImageDataLoaders:
    """Ways to build loaders of images.

    All take, as keywords, `item_tfms`, `batch_tfms`, `bs` (64), `num_workers`, `device`, and for a random split
    `valid_pct` (0.2) and `seed`; `y_block` says what the labels are where that cannot be told from them.
    """

    @classmethod
    def from_df(
        cls,
        df: pd.DataFrame,
        path: Place = ".",
        *,
        fn_col: int | str = 0,
        label_col: int | str | Sequence[int | str] = 1,
        folder: Place = "",
        suff: str = "",
        label_delim: str | None = None,
        valid_col: int | str | None = None,
        **options: Any,
    ) -> DataLoaders:
        """Take an image a row.

        Args:
            df: the table.
            path: where the file names begin, with `folder` behind it.
            fn_col: the column of file names, by name or number.
            label_col: the column of labels; several are one 0/1 column a class, or points with `y_block=PointBlock`.
            folder: see `path`.
            suff: put behind each file name, for instance ".jpg".
            label_delim: what separates several labels.
            valid_col: the column that marks validation; a random split by default.
            options: see `ImageDataLoaders`.
        """
        columns = [label_col] if isinstance(label_col, int | str) else list(label_col)
        labels = [_column(df, column) for column in columns]
        several = label_delim is not None or len(labels) > 1
        block = _given(options, "y_block", MultiCategoryBlock if several else CategoryBlock)
        get_y: Callable[[Any], Any] = ColReader(labels[0], label_delim=label_delim)
        if len(labels) > 1:
            get_y = _points(labels) if _is_points(block) else _marked(labels)
        get_x = ColReader(_column(df, fn_col), pref=Path(path) / folder, suff=suff)
        splitter = ColSplitter(_column(df, valid_col)) if valid_col is not None else None
        return _load(df, options, block, get_x=get_x, get_y=get_y, splitter=splitter)

    @classmethod
    def from_csv(
        cls, path: Place, csv_fname: str = "labels.csv", *, delimiter: str = ",", **options: Any
    ) -> DataLoaders:
        """Take a table file below `path`; the rest is as in `from_df`."""
        return cls.from_df(pd.read_csv(Path(path) / csv_fname, sep=delimiter), path, **options)

    @classmethod
    def from_folder(
        cls, path: Place, *, train: str = "train", valid: str = "valid", valid_pct: float | None = None, **options: Any
    ) -> DataLoaders:
        """Take one folder a class, below `train` and `valid`, or split at random where `valid_pct` is given."""
        if valid_pct is not None:
            options["valid_pct"] = valid_pct
        splitter = GrandparentSplitter(train, valid) if valid_pct is None else None
        block = _given(options, "y_block", CategoryBlock)
        return _load(get_image_files(path), options, block, get_y=parent_label, splitter=splitter)

    @classmethod
    def from_path_func(
        cls, path: Place, fnames: Sequence[Place], label_func: Callable[[Path], Any], **options: Any
    ) -> DataLoaders:
        """Take files, and their labels from a function of the path."""
        files = [Path(path) / name for name in fnames]
        return _load(files, options, _given(options, "y_block", CategoryBlock), get_y=label_func)

    @classmethod
    def from_name_func(
        cls, path: Place, fnames: Sequence[Place], label_func: Callable[[str], Any], **options: Any
    ) -> DataLoaders:
        """Take files, and their labels from a function of the file's name."""
        return cls.from_path_func(path, fnames, using_attr(label_func, "name"), **options)

    @classmethod
    def from_name_re(cls, path: Place, fnames: Sequence[Place], pat: str, **options: Any) -> DataLoaders:
        """Take files, and their labels from a pattern searched for in the file's name."""
        return cls.from_name_func(path, fnames, RegexLabeller(pat), **options)

    @classmethod
    def from_path_re(cls, path: Place, fnames: Sequence[Place], pat: str, **options: Any) -> DataLoaders:
        """Take files, and their labels from a pattern searched for in the whole path, with forward slashes."""
        labeller = RegexLabeller(pat)
        return cls.from_path_func(path, fnames, lambda file: labeller(file.as_posix()), **options)

    @classmethod
    def from_lists(cls, path: Place, fnames: Sequence[Place], labels: Sequence[Any], **options: Any) -> DataLoaders:
        """Take files and their labels side by side."""
        pairs = list(zip((Path(path) / name for name in fnames), labels, strict=True))
        several = any(isinstance(label, list | tuple | set) for label in labels)
        block = _given(options, "y_block", MultiCategoryBlock if several else CategoryBlock)
        return _load(pairs, options, block, get_x=lambda pair: pair[0], get_y=lambda pair: pair[1])


def _is_points(block: Any) -> bool:
    return block is PointBlock or isinstance(block, PointBlock)


def _points(columns: Sequence[str]) -> Callable[[Any], list[float]]:
    return lambda row: [float(row[column]) for column in columns]


def _marked(columns: Sequence[str]) -> Callable[[Any], list[str]]:
    return lambda row: [column for column in columns if row[column] == 1]


def _given(options: dict[str, Any], name: str, default: Any) -> Any:
    for option in options:
        if option not in _OPTIONS:
            raise UnknownNameError.of("argument of ImageDataLoaders", option, _OPTIONS)
    return options.get(name) or default


def _column(frame: pd.DataFrame, column: int | str) -> str:
    return str(frame.columns[column]) if isinstance(column, int) else column


def _load(
    source: Any,
    options: dict[str, Any],
    block: Any,
    *,
    get_y: Callable[[Any], Any],
    get_x: Callable[[Any], Any] | None = None,
    splitter: Splitter | None = None,
) -> DataLoaders:
    random = RandomSplitter(options.get("valid_pct", 0.2), seed=options.get("seed"))
    plan = DataBlock(
        blocks=(ImageBlock, block),
        get_x=get_x,
        get_y=get_y,
        splitter=splitter or random,
        item_tfms=options.get("item_tfms"),
        batch_tfms=options.get("batch_tfms"),
    )
    device: torch.device | str | None = options.get("device")
    return plan.dataloaders(source, bs=options.get("bs", 64), num_workers=options.get("num_workers"), device=device)
