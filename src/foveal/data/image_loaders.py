"""The book's short ways from files to loaders, each a few lines over `DataBlock`."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypedDict, Unpack

import pandas as pd
import torch

from foveal.core.errors import UnknownNameError
from foveal.data.block import DataBlock
from foveal.data.image_block import ImageBlock
from foveal.data.labels import ColReader, Getter, RegexLabeller, parent_label, using_attr
from foveal.data.loaders import DataLoaders
from foveal.data.samples import Transforms
from foveal.data.sampling import Sampling
from foveal.data.splits.splitters import ColSplitter, GrandparentSplitter, RandomSplitter, Splitter
from foveal.images.pil import PILImage
from foveal.sources.delimited import read_delimited, typed
from foveal.sources.folders import get_image_files
from foveal.tasks.kinds import TargetBlock
from foveal.tasks.multi_label import MultiCategoryBlock
from foveal.tasks.points import PointBlock
from foveal.tasks.regression import RegressionBlock
from foveal.tasks.single_label import CategoryBlock

PathLike = str | os.PathLike[str]
TargetBlockLike = TargetBlock | Callable[[], TargetBlock]
"""A target block, or its class."""


_VALID_PCT = 0.2
"""The share of a random split; the book's."""


class SharedOptions(TypedDict, total=False):
    """The keywords that all ways have in common; see `ImageDataLoaders`."""

    seed: int | None
    item_tfms: Transforms
    batch_tfms: Transforms
    bs: int
    y_block: TargetBlockLike | None
    img_cls: type[PILImage] | None
    n_channels: int | None
    num_workers: int | None
    device: torch.device | str | None
    sampling: Sampling


class Options(SharedOptions, total=False):
    """`SharedOptions`, and the share of a random split."""

    valid_pct: float


class ImageDataLoaders:
    r"""Short ways from files and their labels to the loaders of images; each is a few lines over `DataBlock`.

    All of them take, as keywords, `item_tfms`, `batch_tfms`, `bs` (64), `num_workers`, `device`, `sampling` (see
    `DataBlock.dataloaders`), and for a random split `valid_pct` (0.2) and `seed`; `y_block` is the target block where
    the labels do not show it, `img_cls` or `n_channels` is what `ImageBlock` takes.

    Examples:
        >>> from foveal.vision.all import *
        >>> path = untar_data(URLs.SAMPLE_PETS)
        >>> dls = ImageDataLoaders.from_name_re(
        ...     path, get_image_files(path), r"(.+)_\d+.jpg$", valid_pct=0.2, seed=42, item_tfms=Resize(32), bs=8)
        >>> dls.one_batch()[0].shape, dls.vocab
        (torch.Size([8, 3, 32, 32]), (#8) ['Boat','House','Mushroom','Tree','balloon','flower','kite','sun'])
    """

    @classmethod
    def from_df(
        cls,
        df: pd.DataFrame,
        path: PathLike = ".",
        *,
        fn_col: int | str = 0,
        label_col: int | str | Sequence[int | str] = 1,
        folder: PathLike = "",
        suff: str = "",
        label_delim: str | None = None,
        valid_col: int | str | None = None,
        **options: Unpack[Options],
    ) -> DataLoaders:
        """Return the loaders of a table with one row per image.

        Args:
            df: the table.
            path: where the file names begin, with `folder` behind it.
            fn_col: the column of file names, by name or number.
            label_col: the column of labels; several columns hold 0 or 1 for a class each, or with
                `y_block=RegressionBlock` or `PointBlock` a number each.
            folder: see `path`.
            suff: put behind each file name, for instance ".jpg".
            label_delim: what separates several labels; by default a cell is one label.
            valid_col: the column that marks validation; a random split by default.
            options: see `ImageDataLoaders`.

        Raises:
            TableError: a column is missing, or a cell of `valid_col` names no side.
            InputError: a label is of the wrong form; the message names the row.
            UnknownNameError: there is no such option.

        Examples:
            >>> from foveal.vision.all import *
            >>> path = untar_data(URLs.SAMPLE_PASCAL)
            >>> df = pd.read_csv(path / "train.csv")
            >>> dls = ImageDataLoaders.from_df(
            ...     df, path, folder="train", label_delim=" ", valid_col="is_valid", item_tfms=Resize(32), bs=4)
            >>> dls.vocab, dls.one_batch()[1].shape
            ((#8) ['balloon','boat','flower','house','kite','mushroom','sun','tree'], torch.Size([4, 8]))
        """
        columns = [label_col] if isinstance(label_col, int | str) else list(label_col)
        labels = [_column_name(df, column) for column in columns]
        several = label_delim is not None or len(labels) > 1
        block = _target_block(options, MultiCategoryBlock if several else CategoryBlock)
        get_y: Getter = ColReader(labels[0], label_delim=label_delim)
        if len(labels) > 1:
            get_y = _marked_columns_reader(labels) if _has_classes(block) else _numbers_reader(labels)
        get_x = ColReader(_column_name(df, fn_col), pref=Path(path) / folder, suff=suff)
        splitter = _random_splitter(options) if valid_col is None else ColSplitter(_column_name(df, valid_col))
        return _load(df, path, options, block, get_x=get_x, get_y=get_y, splitter=splitter)

    @classmethod
    def from_csv(
        cls,
        path: PathLike,
        csv_fname: str = "labels.csv",
        *,
        delimiter: str | None = None,
        fn_col: int | str = 0,
        label_col: int | str | Sequence[int | str] = 1,
        folder: PathLike = "",
        suff: str = "",
        label_delim: str | None = None,
        valid_col: int | str | None = None,
        **options: Unpack[Options],
    ) -> DataLoaders:
        """Return the loaders of a table file with one row per image.

        Args:
            path: the folder of the table, and of the images.
            csv_fname: the file's name in it.
            delimiter: between the cells of the file; found out by default.
            fn_col: as in `from_df`.
            label_col: as in `from_df`.
            folder: as in `from_df`.
            suff: as in `from_df`.
            label_delim: as in `from_df`.
            valid_col: as in `from_df`.
            options: see `ImageDataLoaders`.

        Raises:
            TableError: the file is missing or no table, or as in `from_df`.
            InputError: as in `from_df`.

        Examples:
            >>> from foveal.vision.all import *
            >>> path = untar_data(URLs.SAMPLE_PASCAL)
            >>> dls = ImageDataLoaders.from_csv(
            ...     path, "train.csv", folder="train", label_delim=" ", valid_col="is_valid", item_tfms=Resize(32))
            >>> len(dls.train_ds) + len(dls.valid_ds)
            212
        """
        table, _ = read_delimited(Path(path) / csv_fname, separator=delimiter)
        return cls.from_df(
            typed(table),
            path,
            fn_col=fn_col,
            label_col=label_col,
            folder=folder,
            suff=suff,
            label_delim=label_delim,
            valid_col=valid_col,
            **options,
        )

    @classmethod
    def from_folder(
        cls,
        path: PathLike,
        *,
        train: str = "train",
        valid: str = "valid",
        valid_pct: float | None = None,
        **options: Unpack[SharedOptions],
    ) -> DataLoaders:
        """Return the loaders of one folder per class, below `train` and `valid`, or split at random.

        Args:
            path: the folder of all images.
            train: the folder in it to train on.
            valid: the folder in it to validate on.
            valid_pct: the share of a random split, in place of these two folders.
            options: see `ImageDataLoaders`.

        Raises:
            InputError: there is no such folder, or nothing on one side of the split.

        Examples:
            >>> from foveal.vision.all import *
            >>> path = untar_data(URLs.SAMPLE_BIWI)  # a folder per person, whose name is the label
            >>> dls = ImageDataLoaders.from_folder(path, valid_pct=0.2, seed=1, item_tfms=Resize(32), bs=4)
            >>> dls.vocab
            (#4) ['01','05','13','20']
        """
        by_folder, block = GrandparentSplitter(train, valid), _target_block(options, CategoryBlock)
        splitter = by_folder if valid_pct is None else RandomSplitter(valid_pct, options.get("seed"))
        return _load(get_image_files(path), path, options, block, get_y=parent_label, splitter=splitter)

    @classmethod
    def from_path_func(
        cls, path: PathLike, fnames: Sequence[PathLike], label_func: Getter, **options: Unpack[Options]
    ) -> DataLoaders:
        """Return the loaders of files whose label is a function of the path.

        Args:
            path: where the file names begin.
            fnames: names of image files.
            label_func: a function of a `Path` that returns its label.
            options: see `ImageDataLoaders`.

        Raises:
            InputError: the function fails on a file, or returns a label of the wrong form; the message names the file.

        Examples:
            >>> from foveal.vision.all import *
            >>> path = untar_data(URLs.SAMPLE_BIWI)
            >>> dls = ImageDataLoaders.from_path_func(
            ...     path, get_image_files(path), parent_label, seed=1, item_tfms=Resize(32), bs=4)
            >>> dls.vocab
            (#4) ['01','05','13','20']
        """
        files = [Path(path) / name for name in fnames]
        block = _target_block(options, CategoryBlock)
        return _load(files, path, options, block, get_y=label_func, splitter=_random_splitter(options))

    @classmethod
    def from_name_func(
        cls, path: PathLike, fnames: Sequence[PathLike], label_func: Getter, **options: Unpack[Options]
    ) -> DataLoaders:
        """Return the loaders of files whose label is a function of the file's name.

        Args:
            path: where the file names begin.
            fnames: names of image files.
            label_func: a function of the last part of a name, text, that returns its label.
            options: see `ImageDataLoaders`.

        Raises:
            InputError: the function fails on a file, or returns a label of the wrong form; the message names the file.

        Examples:
            >>> from foveal.vision.all import *
            >>> path = untar_data(URLs.SAMPLE_PETS)
            >>> def is_cat(name): return name[0].isupper()
            >>> dls = ImageDataLoaders.from_name_func(
            ...     path, get_image_files(path), is_cat, valid_pct=0.2, seed=42, item_tfms=Resize(32), bs=4)
            >>> dls.vocab, len(dls.train_ds), len(dls.valid_ds)
            ((#2) [False,True], 192, 48)
        """
        return cls.from_path_func(path, fnames, using_attr(label_func, "name"), **options)

    @classmethod
    def from_name_re(
        cls, path: PathLike, fnames: Sequence[PathLike], pat: str, **options: Unpack[Options]
    ) -> DataLoaders:
        r"""Return the loaders of files whose label a pattern finds in the file's name.

        Args:
            path: where the file names begin.
            fnames: names of image files.
            pat: a regular expression whose first group is the label; it is searched for anywhere in the name.
            options: see `ImageDataLoaders`.

        Raises:
            InputError: a name does not match; the message names the file.

        Examples:
            >>> from foveal.vision.all import *
            >>> path = untar_data(URLs.SAMPLE_PETS)
            >>> dls = ImageDataLoaders.from_name_re(
            ...     path, get_image_files(path), r"^(.+)_\d+.jpg$", seed=42, item_tfms=Resize(32), bs=4)
            >>> dls.c
            8
        """
        return cls.from_name_func(path, fnames, RegexLabeller(pat), **options)

    @classmethod
    def from_path_re(
        cls, path: PathLike, fnames: Sequence[PathLike], pat: str, **options: Unpack[Options]
    ) -> DataLoaders:
        r"""Return the loaders of files whose label a pattern finds in the whole path, written with forward slashes.

        Args:
            path: where the file names begin.
            fnames: names of image files.
            pat: a regular expression whose first group is the label; it is searched for anywhere in the path.
            options: see `ImageDataLoaders`.

        Raises:
            InputError: a path does not match; the message names the file.

        Examples:
            >>> from foveal.vision.all import *
            >>> path = untar_data(URLs.SAMPLE_BIWI)
            >>> dls = ImageDataLoaders.from_path_re(
            ...     path, get_image_files(path), r"/(\d+)/frame_\d+", seed=1, item_tfms=Resize(32), bs=4)
            >>> dls.vocab
            (#4) ['01','05','13','20']
        """
        labeller = RegexLabeller(pat)
        return cls.from_path_func(path, fnames, lambda file: labeller(file.as_posix()), **options)

    @classmethod
    def from_lists(
        cls, path: PathLike, fnames: Sequence[PathLike], labels: Sequence[object], **options: Unpack[Options]
    ) -> DataLoaders:
        """Return the loaders of files and their labels side by side.

        Args:
            path: where the file names begin.
            fnames: names of image files.
            labels: one per file: a text, or a list of them; with `y_block` numbers or points.
            options: see `ImageDataLoaders`.

        Raises:
            InputError: a label is of the wrong form; the message names the file.

        Examples:
            >>> from foveal.vision.all import *
            >>> path = untar_data(URLs.SAMPLE_PETS)
            >>> files = get_image_files(path)[::8]
            >>> brightness = [np.asarray(Image.open(file)).mean() / 255 for file in files]
            >>> dls = ImageDataLoaders.from_lists(
            ...     path, files, brightness, y_block=RegressionBlock, seed=1, item_tfms=Resize(32), bs=4)
            >>> dls.one_batch()[1].shape
            torch.Size([4, 1])
        """
        pairs = list(zip((Path(path) / name for name in fnames), labels, strict=True))
        several = any(isinstance(label, list | tuple | set) for label in labels)
        block = _target_block(options, MultiCategoryBlock if several else CategoryBlock)
        splitter = _random_splitter(options)
        return _load(
            pairs, path, options, block, get_x=lambda pair: pair[0], get_y=lambda pair: pair[1], splitter=splitter
        )


def _random_splitter(options: Options) -> Splitter:
    return RandomSplitter(options.get("valid_pct", _VALID_PCT), options.get("seed"))


def _has_classes(block: TargetBlockLike) -> bool:
    kinds = (PointBlock, RegressionBlock)
    return block not in kinds and not isinstance(block, kinds)


def _numbers_reader(columns: Sequence[str]) -> Callable[[Mapping[str, float]], list[float]]:
    return lambda row: [float(row[column]) for column in columns]


def _marked_columns_reader(columns: Sequence[str]) -> Callable[[Mapping[str, object]], list[str]]:
    return lambda row: [column for column in columns if row[column] == 1]


def _target_block(options: SharedOptions, default: TargetBlockLike) -> TargetBlockLike:
    """Return the block that the options name, or the default.

    Raises:
        UnknownNameError: there is no such option; the message offers the nearest one.
    """
    known = Options.__annotations__
    for option in options:
        if option not in known:
            raise UnknownNameError.of("argument of ImageDataLoaders", option, known)
    return options.get("y_block") or default


def _column_name(table: pd.DataFrame, column: int | str) -> str:
    return str(table.columns[column]) if isinstance(column, int) else column


def _load(
    source: pd.DataFrame | Sequence[object],
    path: PathLike,
    options: SharedOptions,
    block: TargetBlockLike,
    *,
    get_y: Getter,
    get_x: Getter | None = None,
    splitter: Splitter,
) -> DataLoaders:
    data_block = DataBlock(
        blocks=(ImageBlock(options.get("img_cls"), n_channels=options.get("n_channels")), block),
        get_x=get_x,
        get_y=get_y,
        splitter=splitter,
        item_tfms=options.get("item_tfms"),
        batch_tfms=options.get("batch_tfms"),
    )
    return data_block.dataloaders(
        source,
        path,
        bs=options.get("bs", 64),
        num_workers=options.get("num_workers"),
        device=options.get("device"),
        sampling=options.get("sampling", "uniform"),
    )
