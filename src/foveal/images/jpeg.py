"""The header of a JPEG file: size, colours, EXIF orientation and colour profile, read only (ITU-T T.81, B)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from PIL import Image

from foveal.images.exif import ORIENTATION, orientation_of

_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_LOSSLESS = frozenset({0xC3, 0xC7, 0xCB, 0xCF})
_SCAN, _APP0, _APP1, _APP2, _APP14, _COMMENT, _FILL = 0xDA, 0xE0, 0xE1, 0xE2, 0xEE, 0xFE, 0xFF
_METADATA = frozenset({*range(_APP1, _APP14), 0xEF, _COMMENT})  # APP0 and APP14 say how colours are stored
_NEXT = re.compile(rb"\xff[\xc0-\xcf\xda-\xdd\xe0-\xef\xfe]")
_SCAN_MARKER = bytes([_FILL, _SCAN])  # in the data of a scan no such bytes stand: a zero follows each 0xFF there
_END_MARKER = b"\xff\xd9"
_MOST_SEGMENT = 65_500  # bytes of a part of a colour profile
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
        icc_profile: the colour profile; empty without one that is whole.
        pixels: a JPEG with the segments alone that make its pixels; damage to others is not in it.
        is_progressive: whether every scan has all of the image, so that all of it is held while it is decoded.
        has_more_frames: whether other images follow in the file (MPO).
        is_grey: whether it has one component, which is grey.
        n_scans: of a progressive image, each of which goes over all of it.
    """

    size_hw: tuple[int, int]
    is_cmyk: bool
    orientation: int
    icc_profile: bytes
    pixels: bytes = b""
    is_progressive: bool = False
    has_more_frames: bool = False
    is_grey: bool = False
    n_scans: int = 1


def read_jpeg_header(data: bytes) -> JpegHeader:
    """Return what the markers of a JPEG say.

    Args:
        data: the bytes of the file.

    Raises:
        ValueError: the header is damaged, or of a kind that is refused (lossless, not 8 bits per colour).
    """
    frame, exif, profile = b"", b"", dict[int, bytes]()
    n_profile = 0
    is_progressive = has_more_frames = False
    kept = [data[:2]]
    for marker, start, stop in _segments(data):
        segment = data[start + 4 : stop]
        if marker not in _METADATA:
            kept.append(_with_usual_version(data[start:stop]) if marker == _APP0 else data[start:stop])
        if marker in _FRAMES:
            frame, is_progressive = segment, marker in _PROGRESSIVE
            if marker in _LOSSLESS:
                raise ValueError("a lossless JPEG; convert it to PNG.")
        elif marker == _APP1 and not exif and segment.startswith(_EXIF):
            exif = segment
        elif marker == _APP2 and segment.startswith(_ICC) and len(segment) > len(_ICC) + 2:
            number, n_profile = segment[len(_ICC)], max(n_profile, segment[len(_ICC) + 1])
            profile.setdefault(number, segment[len(_ICC) + 2 :])
        elif marker == _APP2 and segment.startswith(_MPF):
            has_more_frames = True
    size_hw = _size_of(frame)
    # A profile comes in numbered parts; where one is missing, it cannot be used.
    whole = b"".join(profile[at] for at in sorted(profile)) if sorted(profile) == [*range(1, n_profile + 1)] else b""
    pixels, turned = b"".join(kept), orientation_of(exif)
    is_cmyk, is_grey = frame[5] == _N_INKS, frame[5] == 1
    n_scans = max(1, pixels.count(_SCAN_MARKER)) if is_progressive else 1
    return JpegHeader(size_hw, is_cmyk, turned, whole, pixels, is_progressive, has_more_frames, is_grey, n_scans)


def bare_jpeg(header: JpegHeader) -> bytes:
    """Return a JPEG of the first image alone: its pixels, how it is turned and its colours, and nothing else.

    Args:
        header: of the file.
    """
    parts = [header.pixels[:2]]
    if header.orientation != 1:
        exif = Image.Exif()
        exif[ORIENTATION] = header.orientation
        parts.append(_segment(_APP1, exif.tobytes()))
    profile = header.icc_profile
    pieces = [profile[at : at + _MOST_SEGMENT] for at in range(0, len(profile), _MOST_SEGMENT)]
    parts += [_segment(_APP2, _ICC + bytes([at, len(pieces)]) + one) for at, one in enumerate(pieces, 1)]
    end = header.pixels.find(_END_MARKER, header.pixels.find(_SCAN_MARKER)) + len(_END_MARKER)
    return b"".join([*parts, header.pixels[2:end]])


def _segment(marker: int, content: bytes) -> bytes:
    return bytes([_FILL, marker]) + (len(content) + 2).to_bytes(2) + content


def _size_of(frame: bytes) -> tuple[int, int]:
    if len(frame) < 6:
        raise ValueError("the header is damaged: it states no size.")
    if frame[0] != _BITS:
        raise ValueError(f"a JPEG of {frame[0]} bits per colour; convert it to 8 bits or to PNG.")
    height, width = int.from_bytes(frame[1:3]), int.from_bytes(frame[3:5])
    if not height or not width:
        raise ValueError(f"the header is damaged: it states a size of {width} x {height}.")
    return height, width


def _with_usual_version(segment: bytes) -> bytes:
    """Return a JFIF segment with version 1.2: decoders warn of others, and the pixels are the same."""
    return segment[:9] + b"\1\2" + segment[11:] if segment[4:9] == b"JFIF\0" else segment


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield (marker, start, stop) of each segment, the last one being the first scan with all that follows.

    Raises:
        ValueError: a marker is missing where one has to be.
    """
    at, marker = 2, 0
    while at + 4 <= len(data):
        if data[at] != _FILL:
            found = _NEXT.search(data, at) if marker in _METADATA else None
            if found is None:
                raise ValueError("the header is damaged: a marker is missing.")
            at = found.start()  # metadata whose length is too short: what is left of it is metadata too
        marker = data[at + 1]
        if marker == _FILL:
            at += 1
        elif marker in _WITHOUT_LENGTH:
            at += 2
        elif marker == _SCAN:
            yield marker, at, len(data)
            return
        else:
            stop = at + 2 + max(int.from_bytes(data[at + 2 : at + 4]), 2)
            yield marker, at, stop
            at = stop
