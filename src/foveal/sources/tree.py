"""What lies below a folder: its images and other files, looked at once for all formats that ask."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from foveal.images.decode import EXTENSIONS

_MAY_ANNOTATE = frozenset({".json", ".csv", ".xml"})
_JUNK = frozenset({"__MACOSX", "$RECYCLE.BIN", "@eaDir", "__pycache__", "node_modules"})


def is_hidden(name: str) -> bool:
    """Return whether a file or folder is one of a system's own, such as `._a.xml`, `.git` or `__MACOSX`.

    Args:
        name: of the file or folder.
    """
    return name.startswith(".") or name in _JUNK


def ending_of(name: str) -> str:
    """Return the last ending of a file's name in lower case, with its dot.

    Args:
        name: of the file.
    """
    head, dot, tail = name.rpartition(".")
    return f".{tail.lower()}" if dot and head else ""


def is_image_name(name: str) -> bool:
    """Return whether a file's name is that of an image.

    Args:
        name: of the file.
    """
    return ending_of(name) in EXTENSIONS


@dataclass(frozen=True)
class Tree:
    """The files and folders below a folder, sorted, without hidden ones; links to folders are followed, once.

    Attributes:
        root: the folder.
        names: by folder, the names of the files in it.
        repeated: folders that are links to one that holds them, and are left out.
        hidden: files whose names begin with a dot and end like annotations; they are not read.
    """

    root: Path
    names: dict[Path, list[str]]
    repeated: tuple[Path, ...] = ()
    hidden: tuple[Path, ...] = ()

    @cached_property
    def images(self) -> list[Path]:
        """All images."""
        return sorted(self.images_below(self.root))

    def images_below(self, folder: Path) -> list[Path]:
        """Return the images in a folder and in those below it.

        Args:
            folder: of this tree.
        """
        return [inside / name for inside in self.below(folder) for name in self.names[inside] if is_image_name(name)]

    def below(self, folder: Path) -> Iterator[Path]:
        """Yield a folder and all those below it.

        Args:
            folder: of this tree.
        """
        yield folder
        for child in self.folders(folder):
            yield from self.below(child)

    @cached_property
    def by_name(self) -> dict[str, list[Path]]:
        """All images by their name in lower case, and by that without its ending."""
        found: dict[str, list[Path]] = {}
        for image in self.images:
            key = image.name.lower()
            found.setdefault(key, []).append(image)
            found.setdefault(key.rpartition(".")[0], []).append(image)
        return found

    @cached_property
    def by_number(self) -> dict[int, list[Path]]:
        """All images whose name is a number, by that number: a table's 7 may be 007.png."""
        found: dict[int, list[Path]] = {}
        for image in self.images:
            if image.stem.isascii() and image.stem.isdigit():
                found.setdefault(int(image.stem), []).append(image)
        return found

    @cached_property
    def _with_images(self) -> set[Path]:
        folders: set[Path] = set()
        for image in self.images:
            folder = image.parent
            while folder not in folders:
                folders.add(folder)
                if folder == self.root:
                    break
                folder = folder.parent
        return folders

    def holds_images(self, folder: Path) -> bool:
        """Return whether there is an image anywhere below a folder.

        Args:
            folder: of this tree.
        """
        return folder in self._with_images

    def folders(self, of: Path | None = None) -> list[Path]:
        """Return the folders directly in a folder.

        Args:
            of: of this tree; the root by default.
        """
        return self._children.get(of or self.root, [])

    @cached_property
    def _children(self) -> dict[Path, list[Path]]:
        found: dict[Path, list[Path]] = {}
        for folder in sorted(self.names):
            if folder != self.root:
                found.setdefault(folder.parent, []).append(folder)
        return found

    def files(self, *endings: str, depth: int = 0, of: Path | None = None) -> list[Path]:
        """Return files by their endings, sorted.

        Args:
            endings: in lower case, with their dot.
            depth: how many folders down to look.
            of: the folder to begin in; the root by default.
        """
        start = of or self.root
        found = [start / name for name in self.names.get(start, ()) if ending_of(name) in endings]
        if depth:
            found += [
                file for folder in self.folders(start) for file in self.files(*endings, depth=depth - 1, of=folder)
            ]
        return sorted(found)


_KEPT: ContextVar[dict[Path, Tree] | None] = ContextVar("trees", default=None)


@contextmanager
def looked_at_once() -> Iterator[None]:
    """Keep trees while a source is recognised and read, so that each folder is walked through once."""
    token = _KEPT.set({})
    try:
        yield
    finally:
        _KEPT.reset(token)


def tree_of(root: Path) -> Tree:
    """Return what lies below a folder.

    Args:
        root: the folder.
    """
    kept = _KEPT.get()
    if kept is not None and root in kept:
        return kept[root]
    names: dict[Path, list[str]] = {}
    repeated: list[Path] = []
    hidden: list[Path] = []
    _walk(root, (), names, repeated, hidden)
    tree = Tree(root, names, tuple(repeated), tuple(hidden))
    if kept is not None:
        kept[root] = tree
    return tree


def _walk(
    folder: Path, above: tuple[str, ...], names: dict[Path, list[str]], repeated: list[Path], hidden: list[Path]
) -> None:
    real = os.path.realpath(folder)
    if real in above:
        repeated.append(folder)
        return
    files: list[str] = []
    folders: list[str] = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if (
                    entry.name.startswith(".")
                    and ending_of(entry.name) in _MAY_ANNOTATE
                    and entry.name[1:2] not in "._"
                ):
                    hidden.append(Path(entry.path))
                if not is_hidden(entry.name):
                    (folders if entry.is_dir() else files).append(entry.name)
    except OSError:  # no permission: as good as empty
        pass
    names[folder] = sorted(files)
    for name in sorted(folders):
        _walk(folder / name, (*above, real), names, repeated, hidden)
