"""Reading the file of an image whole, with few calls of the system; what cannot be read is refused by name."""

from __future__ import annotations

import os
from pathlib import Path

from foveal.core.errors import ImageError
from foveal.images.embedded import ENDING as EMBEDDED
from foveal.images.embedded import embedded_image

MAX_BYTES = 1 << 30
"""The largest file that is read, in bytes."""


def read_image_file(path: Path, name: str) -> bytes:
    """Return the bytes of an image's file; of a .json of LabelMe, those of the image within.

    Args:
        path: of the file.
        name: what a message calls it.

    Raises:
        ImageError: it cannot be read, or is larger than `MAX_BYTES`.
    """
    try:
        data = _content(path)
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


def _content(path: Path) -> bytes | None:
    """Return the bytes of a file; None if they are too many.

    Each call of the system gives up the interpreter's lock, and threads that load images take turns at it: four calls
    in place of the seven of a file object.
    """
    file = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    try:
        size = os.fstat(file).st_size
        if size > MAX_BYTES:
            return None
        data = os.read(file, size + 1)
        while len(data) < size and (more := os.read(file, size + 1 - len(data))):
            data += more
        return data
    finally:
        os.close(file)
