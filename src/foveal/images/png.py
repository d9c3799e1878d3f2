"""PNG: the chunks that make the pixels, what is read of the others (ISO/IEC 15948), and a PNG of pixels."""

from __future__ import annotations

import io
import zlib
from dataclasses import dataclass

from PIL import Image

from foveal.geometry.pixels import Pixels

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PIXELS = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"})
_REGISTERED = b"tEXt zTXt iTXt eXIf iCCP tIME pHYs gAMA cHRM sRGB bKGD hIST sPLT sBIT oFFs pCAL sCAL sTER dSIG cICP"
_OTHERS = b"mDCv mDCV cLLi cLLI caBX iDOT vpAg prVW prVt orNT npTc npLb npOl deBG msOG skMf mkBF mkBS mkBT exIf"
_OF_FRAMES = b"acTL fcTL fdAT gIFg gIFx gIFt"
_METADATA = frozenset(b" ".join((_REGISTERED, _OTHERS, _OF_FRAMES)).split())
"""Chunks that are no pixels of the still image."""
_AROUND = 12  # bytes of a chunk besides its content: length, type, checksum
_MOST_PROFILE = 1 << 22  # bytes of a colour profile; chosen by hand: those of printers have 2 MB


@dataclass(frozen=True, slots=True)
class PngParts:
    """What a PNG consists of.

    Attributes:
        pixels: a PNG with the chunks alone that make its pixels; damage to others is not in it.
        exif: the block of EXIF; empty without one.
        icc_profile: the colour profile; empty without one that can be read.
        has_more_frames: whether it is an animation, of which `pixels` has the still image.
    """

    pixels: bytes
    exif: bytes = b""
    icc_profile: bytes = b""
    has_more_frames: bool = False


def split_png(data: bytes) -> PngParts:
    """Return the parts of a PNG.

    Args:
        data: the bytes of the file.

    Raises:
        ValueError: a chunk that may belong to the pixels is damaged, or the file is cut.
    """
    kept, exif, profile, has_more_frames = [SIGNATURE], b"", b"", False
    at = len(SIGNATURE)
    while True:
        if at + _AROUND > len(data):
            raise ValueError("the file is cut.")
        length, kind = int.from_bytes(data[at : at + 4]), data[at + 4 : at + 8]
        end = at + _AROUND + length
        if end > len(data):
            raise ValueError("the file is cut, or the length of a part is wrong.")
        content = data[at + 8 : end - 4]
        if kind in _PIXELS:
            kept.append(data[at:end])
        elif kind not in _METADATA and zlib.crc32(data[at + 4 : end - 4]) != int.from_bytes(data[end - 4 : end]):
            raise ValueError("the checksum of a part is wrong.")
        elif kind == b"eXIf":
            exif = content
        elif kind == b"iCCP":
            profile = _profile(content)
        elif kind == b"acTL":
            has_more_frames = int.from_bytes(content[:4]) > 1
        at = end
        if kind == b"IEND":
            return PngParts(b"".join(kept), exif, profile, has_more_frames)


def _profile(content: bytes) -> bytes:
    packed = content.partition(b"\0")[2][1:]
    try:
        unpacking = zlib.decompressobj()
        profile = unpacking.decompress(packed, _MOST_PROFILE)
    except zlib.error:
        return b""
    return profile if unpacking.eof else b""


def encoded_png(pixels: Pixels) -> bytes:
    """Return an image, uint8 [H, W, C], as the bytes of a PNG."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()
