"""Image files by the course's names: which ones cannot be used, and smaller copies of those that can."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path as SystemPath
from typing import Any, NoReturn

import numpy as np
from PIL import Image

from foveal.core import progress, storage, threads
from foveal.core.errors import ImageError, InputError, near_match
from foveal.core.listing import L, Path
from foveal.images.any_channels import open_any
from foveal.images.colours import DAMAGE
from foveal.images.decode import open_image
from foveal.sources.folders import get_image_files

_SMALLEST = 1 / 8  # of its size: a JPEG is read to its end then too, and decoded in a third of the time
_SAVE_OPTIONS = (
    "quality",
    "subsampling",
    "progressive",
    "optimize",
    "lossless",
    "exact",
    "method",
    "compress_level",
    "speed",
)
_MODES = {1: "L", 3: "RGB"}


def verify_image(fn: str | os.PathLike[str]) -> bool:
    """Return whether foveal can use an image file."""
    try:
        open_any(fn).decode(_SMALLEST)
    except ImageError:
        return False
    return True


def verify_images(fns: Iterable[str | os.PathLike[str]]) -> L[Path]:
    """Return the files that foveal cannot use as images, in order; `foveal check` says of each why.

    Raises:
        InputError: a folder is given.

    Examples:
        >>> import tempfile
        >>> from foveal.vision.all import *
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     Image.new("RGB", (8, 8)).save(f"{folder}/good.jpg")
        ...     size = Path(folder, "bad.jpg").write_text("no image at all")
        ...     verify_images(get_image_files(folder)).map(lambda file: file.name)
        (#1) ['bad.jpg']
    """
    if isinstance(fns, str | os.PathLike):
        raise InputError(f"`verify_images` takes a list of files: verify_images(get_image_files({os.fspath(fns)!r})).")
    files = list(fns)
    usable = threads.ordered_map(verify_image, files)
    return L([Path(file) for file, is_usable in zip(files, usable, strict=True) if not is_usable])


@dataclass(frozen=True, slots=True)
class _Copying:
    """How `resize_image` copies an image; see there."""

    max_size: int | None
    n_channels: int
    ext: str | None
    img_format: str | None
    resample: int
    resume: bool
    options: Mapping[str, Any]

    def __post_init__(self) -> None:
        if self.max_size is not None and self.max_size < 1:
            raise InputError(f"`max_size` is a number of pixels above 0; got {self.max_size!r}.")
        if self.n_channels not in _MODES:
            raise InputError(f"`n_channels` is 3 (colour) or 1 (grey), without transparency; got {self.n_channels!r}.")
        for name in self.options:
            if name not in _SAVE_OPTIONS:
                raise InputError(
                    f"`{name}` is no option of `resize_images`.{near_match(name, _SAVE_OPTIONS)} "
                    f"Of the file written: {', '.join(_SAVE_OPTIONS)}."
                )
        Image.init()
        if self.img_format is not None and self.img_format.upper() not in Image.SAVE:
            raise InputError(
                f"`img_format` is a format that Pillow writes, such as JPEG or PNG; got {self.img_format!r}."
            )

    def target(self, file: SystemPath, dest: SystemPath) -> SystemPath:
        """Return what a file is written to.

        Args:
            file: relative to the folder it comes from.
            dest: the folder it goes to.
        """
        return dest / (file if self.ext is None else file.with_suffix(f".{self.ext.lstrip('.')}"))

    def format_of(self, target: SystemPath) -> str:
        """Return the format of the file that is written, as Pillow names it.

        Raises:
            ImageError: Pillow writes no such format.
        """
        kind = self.img_format or Image.registered_extensions().get(target.suffix.lower(), "")
        if kind.upper() not in Image.SAVE:
            raise ImageError(target, "Pillow writes no file with this ending; choose another one, such as ext='.jpg'.")
        return kind.upper()

    def copy(self, source: SystemPath, target: SystemPath) -> None:
        """Write one file.

        Raises:
            ImageError: the source cannot be used, or the target cannot be written.
        """
        if self.resume and target.exists():
            return
        opened, kind = open_image(source), self.format_of(target)
        height, width = opened.size_hw
        longest = max(height, width)
        is_smaller = self.max_size is not None and longest > self.max_size
        pixels = opened.decode().pixels
        if not is_smaller and opened.format == kind and _n_bands(source) == self.n_channels:
            if not target.exists() or not target.samefile(source):
                with storage.replacing(target) as beside:
                    shutil.copyfile(source, beside)
            return
        image = Image.fromarray(np.ascontiguousarray(pixels))
        if not is_smaller and image.size != (width, height):
            raise ImageError(source, f"{width} x {height} pixels are more than are decoded at once; give a `max_size`.")
        if is_smaller:
            assert self.max_size is not None
            size_wh = (max(1, width * self.max_size // longest), max(1, height * self.max_size // longest))
            image = image.resize(size_wh, resample=Image.Resampling(self.resample))
        try:
            with storage.replacing(target) as beside:
                image.convert(_MODES[self.n_channels]).save(beside, kind, **self.options)
        except (OSError, ValueError) as error:
            raise ImageError(target, f"cannot be written ({error}).") from error


def _n_bands(file: SystemPath) -> int:
    """Return how many values a pixel has in a file; 0 where Pillow alone cannot tell."""
    try:
        with Image.open(file) as header:
            return len(header.getbands())
    except (*DAMAGE, Image.DecompressionBombError, Image.DecompressionBombWarning):
        return 0


def resize_image(
    file: str | os.PathLike[str],
    dest: str | os.PathLike[str],
    src: str | os.PathLike[str] = ".",
    max_size: int | None = None,
    n_channels: int = 3,
    ext: str | None = None,
    img_format: str | None = None,
    resample: int = Image.Resampling.BILINEAR,
    resume: bool = False,
    **options: Any,
) -> Path:
    """Write a copy of an image that is no larger than `max_size`.

    An image that has the size, format and channels already is copied as it is. Others are written anew from their
    pixels, upright and in sRGB.

    Args:
        file: relative to `src`.
        dest: the folder to write to; the same name below it as below `src`.
        src: the folder the file lies in.
        max_size: the longer side, in pixels; any by default.
        n_channels: 3 for colour, 1 for grey.
        ext: another ending, and with it another format.
        img_format: another format under the same name, as Pillow calls it.
        resample: Pillow's filter.
        resume: whether to leave a file that is there already as it is.
        options: of the file written: quality, subsampling, progressive, optimize, lossless, exact, method,
            compress_level, speed.

    Returns:
        The path of the copy.

    Raises:
        ImageError: the image cannot be used or the copy cannot be written.
        InputError: an option is not known.
    """
    copying = _Copying(max_size, n_channels, ext, img_format, resample, resume, options)
    target = copying.target(SystemPath(file), SystemPath(dest))
    copying.copy(SystemPath(src) / file, target)
    return Path(target)


def resize_images(
    path: str | os.PathLike[str],
    max_workers: int | None = None,
    max_size: int | None = None,
    recurse: bool = False,
    dest: str | os.PathLike[str] = ".",
    n_channels: int = 3,
    ext: str | None = None,
    img_format: str | None = None,
    resample: int = Image.Resampling.BILINEAR,
    resume: bool | None = None,
    **options: Any,
) -> L[Path]:
    """Write a copy of every image of a folder that is no larger than `max_size`.

    With `dest=path` the images are replaced. Images that cannot be used are left out, and named in one line each.

    Args:
        path: the folder.
        max_workers: threads; one per processor by default.
        max_size: the longer side of a copy, in pixels; any by default. For this and what follows see `resize_image`.
        recurse: whether to take the folders below, too; those below `dest` are left out.
        dest: the folder to write to; the current one by default.
        n_channels: 3 for colour, 1 for grey.
        ext: another ending, and with it another format.
        img_format: another format under the same name.
        resample: Pillow's filter.
        resume: whether to leave files that are there already as they are; they are written anew by default.
        options: of the files written.

    Returns:
        The paths of the copies.

    Raises:
        InputError: there is no such folder, an option is not known, or two images would have the same name.

    Examples:
        >>> import tempfile
        >>> from foveal.vision.all import *
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     Image.new("RGB", (80, 60)).save(f"{folder}/cat.jpg")
        ...     copies = resize_images(folder, max_size=20, dest=f"{folder}/small")
        ...     PILImage.create(copies[0]).size
        (20, 15)
    """
    copying = _Copying(max_size, n_channels, ext, img_format, resample, bool(resume), options)
    source, target = SystemPath(path), SystemPath(dest)
    files = [SystemPath(file).relative_to(source) for file in get_image_files(source, recurse)]
    below = target.resolve()
    if below != source.resolve():
        files = [file for file in files if not (source / file).resolve().is_relative_to(below)]
    sources: dict[SystemPath, SystemPath] = {}
    for file in files:
        first = sources.setdefault(copying.target(file, target), file)
        if first != file:
            raise InputError(f"`{first}` and `{file}` would both become `{copying.target(file, target)}`.")

    def copy(file: SystemPath) -> str:
        try:
            copying.copy(source / file, copying.target(file, target))
        except ImageError as error:
            return str(error)
        return ""

    faults = dict(zip(files, threads.ordered_map(copy, files, num_workers=max_workers), strict=True))
    lines = [fault for fault in faults.values() if fault]
    if lines:
        progress.say("\n".join([f"{len(lines)} of {len(files)} images were left out:", *lines]))
    return L([Path(copying.target(file, target)) for file in files if not faults[file]])


def get_text_files(*_: object, **__: object) -> NoReturn:
    """Refuse: foveal has no models of text.

    Raises:
        InputError: always.
    """
    raise InputError("foveal has no models of text. For a list of the files: get_files(path, extensions=['.txt']).")
