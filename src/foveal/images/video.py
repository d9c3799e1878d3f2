"""Frames of videos and cameras, one every so many seconds, as OpenCV's capture reads them.

A frame is named as the W3C's Media Fragments have it, `clip.mp4#t=12.5`, in seconds from the start; one of a camera by
the time at which it was taken, in UTC. What stands in an address before `@`, a user and a password, is in no name.
"""

from __future__ import annotations

import datetime as dt
import math
import os
import re
import stat
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

import numpy as np

from foveal.core.errors import ImageError, InputError
from foveal.images.decode import NamedPixels, max_pixels
from foveal.images.files import Unreadable

if TYPE_CHECKING:
    import cv2

EXTENSIONS = frozenset(
    {".3gp", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".ogv", ".webm", ".wmv"}
)
"""Of files that are videos. `.ts` is left out, for more files with that ending are programs."""
_EXACT = frozenset({".3gp", ".avi", ".m4v", ".mov", ".mp4"})
"""Of files that say how many frames they have; others say when they end, which is later where they begin late."""
_LOCAL = re.compile(r"camera:(\d{1,3})")
_LIVE = ("rtsp", "rtsps", "rtmp", "rtmps", "srt", "udp", "rtp")
_OPTIONS = "OPENCV_FFMPEG_CAPTURE_OPTIONS"
_FILES_ONLY = "protocol_whitelist;file"  # a file that came from elsewhere may name others, by any protocol
_QUIET = "-8"  # of FFmpeg: what is wrong is told once, in words
_OPENING = threading.Lock()  # the options stand in the environment, which all threads share
_OPEN_SECONDS, _READ_SECONDS = 10, 20  # that a camera is waited for; chosen by hand
_LONGEST_WAIT = 30.0  # seconds between two tries to reach a camera again; chosen by hand
_CUT_SHORT = 0.05  # of a file's frames that may be missing at its end: containers often promise a few too many


@dataclass(frozen=True, slots=True)
class Video:
    """A video file, or a camera.

    Attributes:
        address: a path, `camera:0` for the first camera of this machine, or what OpenCV can open, such as `rtsp://`.
        every: seconds between two frames.
    """

    address: str
    every: float

    @property
    def is_live(self) -> bool:
        """Whether it is a camera or a stream, which may have no end, as far as can be seen from its address."""
        return "://" in self.address or _LOCAL.fullmatch(self.address) is not None

    @property
    def name(self) -> str:
        """The address, without a user and a password."""
        if "://" not in self.address:
            return self.address
        parts = urlsplit(self.address)
        return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))

    def frames(self) -> Iterator[NamedPixels | Unreadable]:
        """Yield frames: of a file from its start to its end, of a camera as they come, until the reader stops.

        What cannot be read comes in its place. A camera that is lost is tried again for as long as the reader waits.
        """
        try:
            with _opened(self) as capture:
                yield from self._of_camera(capture) if self.is_live else self._of_file(capture)
        except ImageError as error:
            yield Unreadable(error)

    def _of_file(self, capture: cv2.VideoCapture) -> Iterator[NamedPixels | Unreadable]:
        import cv2

        n_read, n_due, seconds = 0, 0, 0.0
        n_promised, rate = capture.get(cv2.CAP_PROP_FRAME_COUNT), capture.get(cv2.CAP_PROP_FPS)
        while capture.grab():
            n_read += 1
            seconds = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
            if seconds + _half(rate) >= n_due * self.every:
                n_due = math.floor((seconds + _half(rate)) / self.every) + 1
                yield self._frame(capture, f"t={seconds:.3f}".rstrip("0").rstrip("."))
        if not n_read:
            yield self._unreadable(
                "no frame of it can be read: it is damaged, or in a coding that OpenCV cannot read here. "
                "ffmpeg can write it anew: ffmpeg -i VIDEO -c:v libx264 new.mp4"
            )
        elif n_read < (1 - _CUT_SHORT) * n_promised - 1:
            text = f"it ends after {seconds:.1f} s, and promises {n_promised / n_read:.1f} times as much"
            if Path(self.address).suffix.lower() in _EXACT:
                yield self._unreadable(f"{text}: it was cut.")
            else:
                sys.stderr.write(f"note: {self.name}: {text}.\n")

    def _of_camera(self, capture: cv2.VideoCapture) -> Iterator[NamedPixels | Unreadable]:
        due, wait = time.monotonic(), 1.0
        while True:
            if not capture.grab():  # each frame is taken off the camera, so that one that is used is not an old one
                sys.stderr.write(f"{self.name}: lost; trying again in {wait:.0f} s\n")
                time.sleep(wait)
                _open(capture, self)
                wait = min(2 * wait, _LONGEST_WAIT)
                continue
            wait = 1.0
            if time.monotonic() >= due:
                due = max(due + self.every, time.monotonic())
                now = dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
                yield self._frame(capture, now)

    def _unreadable(self, reason: str) -> Unreadable:
        return Unreadable(ImageError(self.name, reason))

    def _frame(self, capture: cv2.VideoCapture, when: str) -> NamedPixels | Unreadable:
        import cv2

        name = f"{self.name}#{when}"
        is_read, bgr = capture.retrieve()
        if not is_read:
            return Unreadable(ImageError(name, "the frame is damaged."))
        return NamedPixels(name, np.ascontiguousarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)))


def is_video(address: str) -> bool:
    """Return whether an address is that of a video file or a camera, as far as can be seen from it."""
    scheme, separator, _ = address.partition("://")
    is_live = separator and scheme.lower() in _LIVE
    return bool(is_live or _LOCAL.fullmatch(address) or Path(address).suffix.lower() in EXTENSIONS)


def parse_interval(text: str) -> float:
    """Return seconds.

    >>> parse_interval("1s"), parse_interval("0.5"), parse_interval("200ms"), parse_interval("2 min")
    (1.0, 0.5, 0.2, 120.0)

    Raises:
        InputError: it is no time, or none above 0.
    """
    match = re.fullmatch(r"([0-9]*\.?[0-9]+)\s*(ms|s|m|min|h|)", text.strip().lower())
    seconds = float(match[1]) * {"ms": 0.001, "m": 60, "min": 60, "h": 3600}.get(match[2], 1) if match else 0.0
    if not 0 < seconds < math.inf:
        raise InputError(f"--every is a time above 0 such as 1s, 200ms or 5min; got {text!r}.")
    return seconds


@contextmanager
def _opened(video: Video) -> Iterator[cv2.VideoCapture]:
    import cv2

    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", _QUIET)  # it is read with the first video
    capture = cv2.VideoCapture()
    try:
        _require_regular(video)
        if not _open(capture, video):
            what = "it is no video that can be read, or is damaged." if not video.is_live else "it cannot be reached."
            raise ImageError(video.name, what)
        n_pixels = capture.get(cv2.CAP_PROP_FRAME_WIDTH) * capture.get(cv2.CAP_PROP_FRAME_HEIGHT)
        if n_pixels > max_pixels():
            raise ImageError(video.name, f"its frames have {n_pixels:,.0f} pixels, more than {max_pixels():,}.")
        yield capture
    finally:
        capture.release()


def _open(capture: cv2.VideoCapture, video: Video) -> bool:
    import cv2

    with _OPENING:
        level, before = cv2.utils.logging.getLogLevel(), os.environ.get(_OPTIONS)
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
        try:
            if (local := _LOCAL.fullmatch(video.address)) is not None:
                return capture.open(int(local[1]))
            if video.is_live:
                return capture.open(video.address, cv2.CAP_FFMPEG, _limits())
            os.environ[_OPTIONS] = _FILES_ONLY
            return capture.open(str(Path(video.address).absolute()), cv2.CAP_FFMPEG)
        finally:
            cv2.utils.logging.setLogLevel(level)
            os.environ.pop(_OPTIONS, None) if before is None else os.environ.update({_OPTIONS: before})


def _limits() -> list[int]:
    import cv2

    opening, reading = cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, cv2.CAP_PROP_READ_TIMEOUT_MSEC
    return [opening, 1000 * _OPEN_SECONDS, reading, 1000 * _READ_SECONDS]


def _require_regular(video: Video) -> None:
    """Refuse a pipe or a device, which might have no end.

    Raises:
        ImageError: it is no regular file.
    """
    if video.is_live:
        return
    try:
        mode = Path(video.address).stat().st_mode
    except OSError as error:
        raise ImageError(video.name, f"cannot be read ({error.strerror or error}).") from error
    if not stat.S_ISREG(mode):
        raise ImageError(video.name, "it is no file.")


def _half(rate: float) -> float:
    """Return half the time between two frames, so that one that is due is not missed by a rounding."""
    return 0.5 / rate if math.isfinite(rate) and rate > 0 else 0.0
