"""Folders of pictures."""

from __future__ import annotations

import os
from collections.abc import Iterable

from foveal.errors import InputError
from foveal.image.decode import EXTENSIONS
from foveal.listing import L, Path


def get_image_files(
    path: str | os.PathLike[str], *, recurse: bool = True, folders: Iterable[str] | None = None
) -> L[Path]:
    """Return all pictures below `path`, sorted, so that a seeded split is the same on every machine.

    Args:
        path: the folder.
        recurse: whether to look into its folders; hidden ones are skipped.
        folders: if given, only these folders directly below `path`.

    Raises:
        InputError: there is no such folder.
    """
    root = Path(path)
    if not root.is_dir():
        raise InputError(f"There is no folder `{root}` to look for pictures in.")
    starts = [root / folder for folder in folders] if folders else [root]
    found = [file for start in starts for file in _files(start, recurse=recurse)]
    return L(sorted(found))


def _files(folder: Path, *, recurse: bool) -> Iterable[Path]:
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if recurse and not name.startswith(".")]
        for name in names:
            if not name.startswith(".") and "." + name.rpartition(".")[2].lower() in EXTENSIONS:
                yield Path(place, name)
