"""The header of a JPEG file: size, colours, EXIF orientation and colour profile, read only (ITU-T T.81, B)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from foveal.images.exif import orientation_of

_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_LOSSLESS = frozenset({0xC3, 0xC7, 0xCB, 0xCF})
_SCAN, _APP1, _APP2, _FILL = 0xDA, 0xE1, 0xE2, 0xFF
_WITHOUT_LENGTH = frozenset({0x01, *range(0xD0, 0xD8)})
_PROGRESSIVE = frozenset({0xC2, 0xC6, 0xCA, 0xCE})
_EXIF, _ICC, _MPF = b"Exif\0\0", b"ICC_PROFILE\0", b"MPF\0"
_BITS = 8  # per colour, the only depth that libjpeg-turbo decodes as a rule
_N_INKS = 4  # components of a CMYK image


@dataclass(frozen=True, slots=True)
class JpegHeader:
    """What a JPEG states before its first scan.

    Attributes:
        size_hw: height and width in pixels, as stored, not upright.
        is_cmyk: whether its four components are inks.
        orientation: of EXIF, 1 to 8.
        icc_profile: the colour profile; empty without one.
        is_progressive: whether every scan has all of the image, so that all of it is held while it is decoded.
        has_more_frames: whether other images follow in the file (MPO).
    """

    size_hw: tuple[int, int]
    is_cmyk: bool
    orientation: int
    icc_profile: bytes
    is_progressive: bool = False
    has_more_frames: bool = False


def read_jpeg_header(data: bytes) -> JpegHeader:
    """Read the markers of a JPEG.

    Raises:
        ValueError: the header is damaged, or of a kind that is refused (lossless, not 8 bits per colour).
    """
    frame, exif, profile = b"", b"", b""
    is_progressive = has_more_frames = False
    for marker, segment in _segments(data):
        if marker in _FRAMES:
            frame, is_progressive = segment, marker in _PROGRESSIVE
            if marker in _LOSSLESS:
                raise ValueError("a lossless JPEG; convert it to PNG.")
        elif marker == _APP1 and not exif and segment.startswith(_EXIF):
            exif = segment
        elif marker == _APP2 and segment.startswith(_ICC):
            profile += segment[len(_ICC) + 2 :]
        elif marker == _APP2 and segment.startswith(_MPF):
            has_more_frames = True
    if len(frame) < 6:
        raise ValueError("the header is damaged: it states no size.")
    if frame[0] != _BITS:
        raise ValueError(f"a JPEG of {frame[0]} bits per colour; convert it to 8 bits or to PNG.")
    height, width = int.from_bytes(frame[1:3]), int.from_bytes(frame[3:5])
    if not height or not width:
        raise ValueError(f"the header is damaged: it states a size of {width} x {height}.")
    is_cmyk = frame[5] == _N_INKS
    return JpegHeader((height, width), is_cmyk, orientation_of(exif), profile, is_progressive, has_more_frames)


def _segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield (marker, content) up to the first scan."""
    at = 2
    while at + 4 <= len(data):
        if data[at] != _FILL:
            raise ValueError("the header is damaged: a marker is missing.")
        marker = data[at + 1]
        if marker == _FILL:
            at += 1
        elif marker in _WITHOUT_LENGTH:
            at += 2
        elif marker == _SCAN:
            return
        else:
            length = int.from_bytes(data[at + 2 : at + 4])
            yield marker, data[at + 4 : at + 2 + length]
            at += 2 + max(length, 2)
