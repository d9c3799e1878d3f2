"""The images that a command is asked about: files, folders, patterns, a list on stdin, frames of videos and cameras."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from foveal.images.decode import ImageSource

Every = Annotated[
    str | None,
    typer.Option(
        metavar="TIME",
        help="Answer for videos and cameras (rtsp://..., camera:0) too: one frame every 1s, 200ms, 5min.",
    ),
]


@dataclass(frozen=True, slots=True)
class Asked:
    """What a command is asked about.

    Attributes:
        images: files and frames, in order; read as they are needed.
        n: how many they are; None where that is not known before.
        is_video: whether frames are among them.
        is_live: whether a camera is among them, which may have no end.
    """

    images: Iterator[ImageSource]
    n: int | None
    is_video: bool = False
    is_live: bool = False


def images_asked(patterns: Sequence[str], every: str | None = None) -> Asked:
    """Return the images that are meant; all are looked for at once, but a list on stdin is read as it comes.

    Args:
        patterns: images, folders, patterns, videos, addresses of cameras, or - for a list on stdin.
        every: the time between two frames of videos, as a text.

    Raises:
        InputError: nothing matches; a video is named without a time, or a time is given without a video.
    """
    from foveal.core.errors import InputError
    from foveal.images.video import is_video, parse_interval
    from foveal.sources.addresses import files_at, videos_at
    from foveal.sources.folders import get_image_files

    if every is None:
        if named := [pattern for pattern in patterns if is_video(pattern)]:
            raise InputError(f"`{named[0]}` is a video: say which frames are meant, with --every 1s for one a second.")
        found: list[Sequence[Path] | None] = [None if one == "-" else files_at(one) for one in patterns]
        n = None if None in found else sum(len(files) for files in found if files is not None)
        parts: list[Iterable[ImageSource]] = [paths_on_stdin() if files is None else files for files in found]
        return Asked(chain.from_iterable(parts), n)
    seconds = parse_interval(every)
    videos = {one: videos_at(one, seconds) for one in patterns if one != "-"}
    if not any(videos.values()):
        raise InputError(f"--every {every} is for videos and cameras, and nothing that is named is one.")
    parts = []
    for one in patterns:
        if one == "-":
            parts.append(paths_on_stdin())
        else:
            is_folder = Path(one).is_dir()
            parts.append(get_image_files(one) if is_folder else [] if videos[one] else files_at(one))
            parts += [video.frames() for video in videos[one]]
    is_live = any(video.is_live for group in videos.values() for video in group)
    return Asked(chain.from_iterable(parts), None, is_video=True, is_live=is_live)


def paths_on_stdin() -> Iterator[Path]:
    """Yield the paths on stdin, one a line, as they come.

    Raises:
        InputError: the list is empty.
    """
    from foveal.core.errors import InputError

    is_empty = True
    for name in sys.stdin:
        if line := name.rstrip("\r\n"):
            is_empty = False
            yield Path(line)
    if is_empty:
        raise InputError("There is no image in the list on stdin.")
