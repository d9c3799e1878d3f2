"""Reading the file of an image whole, with few calls of the system; what cannot be read is refused by name."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from foveal.core.errors import ImageError
from foveal.images.embedded import ENDING as EMBEDDED
from foveal.images.embedded import embedded_image

MAX_BYTES = 1 << 30
"""The largest file that is read, in bytes."""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Stands where an image should be that cannot be read; it is refused for that reason."""

    error: ImageError

    @property
    def name(self) -> str:
        """What a message calls it."""
        return str(self.error.path)

    def read(self) -> bytes:
        """Refuse.

        Raises:
            ImageError: always.
        """
        raise self.error


def read_image_file(path: Path, name: str) -> bytes:
    """Return the bytes of an image's file; of a .json of LabelMe, those of the image within.

    Args:
        path: of the file.
        name: what a message calls it.

    Raises:
        ImageError: it cannot be read, or is larger than `MAX_BYTES`.
    """
    try:
        data = content(path)
        if data is None:
            raise ImageError(name, f"the file is larger than {MAX_BYTES >> 20} MiB.")
        return embedded_image(data) if path.suffix.lower() == EMBEDDED else data
    except FileNotFoundError as error:
        raise ImageError(name, "a link that leads nowhere." if path.is_symlink() else "no such file.") from error
    except IsADirectoryError as error:
        raise ImageError(name, "a folder, not an image.") from error
    except PermissionError as error:
        raise ImageError(name, "no permission to read it.") from error
    except (OSError, ValueError) as error:
        raise ImageError(name, f"cannot be read ({error}).") from error


def content(path: Path) -> bytes | None:
    """Return the bytes of a file; None if they are too many.

    What is no file, such as a pipe or a device, may have no end, and is not read. Each call of the system gives up the
    interpreter's lock, and threads that load images take turns at it: four calls in place of a file object's seven.

    Raises:
        OSError: it cannot be read.
    """
    file = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0))
    try:
        about = os.fstat(file)
        if not stat.S_ISREG(about.st_mode) and not stat.S_ISDIR(about.st_mode):  # reading a folder has its own error
            raise OSError("a pipe or a device, not a file")
        if (size := about.st_size) > MAX_BYTES:
            return None
        data = os.read(file, size + 1)
        while len(data) < size and (more := os.read(file, size + 1 - len(data))):
            data += more
        return data
    finally:
        os.close(file)
