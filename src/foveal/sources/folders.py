"""Folders of images: plain ones, and one folder per class."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable

from foveal.core import storage
from foveal.core.errors import InputError
from foveal.core.listing import L, Path
from foveal.images.decode import EXTENSIONS
from foveal.sources.formats import NO_OPTIONS, Match
from foveal.sources.items import Item, Source
from foveal.tasks.multi_label import MultiLabel
from foveal.tasks.single_label import SingleLabel

_SIDES = {"train": False, "training": False, "valid": True, "val": True, "validation": True}
_LEFT_OUT = ("test", "testing")


def get_image_files(
    path: str | os.PathLike[str], *, recurse: bool = True, folders: Iterable[str] | None = None
) -> L[Path]:
    """Return all images below `path`, sorted, so that a seeded split is the same on every machine.

    Args:
        path: the folder.
        recurse: whether to look into its folders; hidden ones are skipped.
        folders: if given, only these folders directly below `path`.

    Raises:
        InputError: there is no such folder.
    """
    root = Path(path)
    if not root.is_dir():
        raise InputError(f"There is no folder `{root}` to look for images in.")
    starts = [root / folder for folder in folders] if folders else [root]
    files = [file for start in starts for file in _files(start, recurse=recurse)]
    return L(sorted(files))


def images_in(folder: str | os.PathLike[str]) -> L[Path]:
    """Return all images below a folder, sorted.

    Raises:
        InputError: the folder holds no image.
    """
    if not (files := get_image_files(folder)):
        raise InputError(f"There is no image in `{folder}`.")
    return files


def read_folders(folder: Path) -> Source:
    """Read one folder per class, below train/ and valid/ (or val/) where there are such folders.

    An image that lies in several class folders, with the same name and content, has several labels.

    Raises:
        InputError: no folder holds images, or one image is on both sides of the split.
    """
    sides = {child: _SIDES[child.name.lower()] for child in _folders(folder) if child.name.lower() in _SIDES}
    roots = list(sides.items()) if sides else [(folder, None)]
    items, notes = [], []
    for root, side in roots:
        for label, images in ((child.name, get_image_files(child)) for child in _folders(root)):
            items += [Item(image, label, side, str(image.relative_to(folder))) for image in images]
    if not items:
        raise InputError(f"`{folder}` has no folders with images in them, one per class.")
    left_out = [child.name for child in _folders(folder) if sides and child.name.lower() in _LEFT_OUT]
    if left_out:
        notes.append(f"{left_out[0]}/ is left out: it is for `foveal evaluate`.")
    merged = _merge_copies(items)
    if len(merged) == len(items):
        return Source("folders", SingleLabel.kind, items, notes=tuple(notes))
    notes.append(f"{len(items) - len(merged)} images lie in several class folders: they have several labels.")
    return Source("folders", MultiLabel.kind, merged, notes=tuple(notes))


def read_plain(folder: Path) -> Source:
    """Read all images of a folder, without labels."""
    return Source("images", "none", [Item(image, None, None, str(image)) for image in get_image_files(folder)])


def has_class_folders(folder: Path) -> bool:
    """Return whether the folders below `folder`, or below its train/, hold images."""
    children = _folders(folder)
    roots = [child for child in children if child.name.lower() in _SIDES] or [folder]
    return any(next(iter(_files(child, recurse=True)), None) for root in roots for child in _folders(root))


def _merge_copies(items: list[Item]) -> list[Item]:
    """Join items of one name and content into one with several labels."""
    by_name: dict[str, list[Item]] = defaultdict(list)
    for item in items:
        by_name[item.image.name].append(item)
    merged = []
    for same_name in by_name.values():
        by_content: dict[str, list[Item]] = defaultdict(list)
        for item in same_name:
            by_content[storage.file_hash(item.image) if len(same_name) > 1 else ""].append(item)
        for copies in by_content.values():
            first = copies[0]
            if len({item.is_valid for item in copies}) > 1:
                other = next(item for item in copies if item.is_valid != first.is_valid)
                raise InputError(f"{first.origin} and {other.origin} are one image on both sides of the split.")
            names = sorted({str(item.label) for item in copies})
            merged.append(Item(first.image, names, first.is_valid, first.origin))
    return merged


def _folders(folder: os.PathLike[str] | str) -> list[Path]:
    return sorted(child for child in Path(folder).iterdir() if child.is_dir() and not child.name.startswith("."))


def _files(folder: Path, *, recurse: bool) -> Iterable[Path]:
    for root, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if recurse and not name.startswith(".")]
        for name in names:
            if not name.startswith(".") and "." + name.rpartition(".")[2].lower() in EXTENSIONS:
                yield Path(root, name)


def match_folders(path: Path) -> Match | None:
    """Recognise one folder per class."""
    return Match(0.3, lambda _: read_folders(path), NO_OPTIONS) if path.is_dir() and has_class_folders(path) else None


def match_images(path: Path) -> Match | None:
    """Recognise a folder of images without labels."""
    return Match(0.1, lambda _: read_plain(path), NO_OPTIONS) if path.is_dir() and get_image_files(path) else None
