"""TIFF without its descriptions: entries of text and metadata that point nowhere keep Pillow from opening it."""

from __future__ import annotations

import struct

_ORDERS = {b"II*\0": "<", b"MM\0*": ">"}
TIFF = frozenset(_ORDERS)
"""What a TIFF begins with."""
_ENTRY = 12  # bytes of an entry of a directory: tag, type, count, value or offset (TIFF 6.0, section 2)
_METADATA = frozenset((269, 270, 271, 272, 285, 305, 306, 315, 316, 337, 700, 33432, 33723, 34377, 34665, 34853, 37724))
"""Names, descriptions, makers, dates, XMP, IPTC, Photoshop's resources, EXIF and GPS."""
_UNUSED, _BYTE = 65000, 1  # a private tag that nothing reads


def without_descriptions(data: bytes) -> bytes:
    """Return a TIFF whose first directory says nothing besides how its pixels are stored.

    Args:
        data: the bytes of the file.
    """
    order = _ORDERS.get(data[:4])
    if order is None or len(data) < 8:
        return data
    (start,) = struct.unpack_from(f"{order}I", data, 4)
    if start + 2 > len(data):
        return data
    (count,) = struct.unpack_from(f"{order}H", data, start)
    changed = bytearray(data)
    for at in range(start + 2, min(start + 2 + _ENTRY * count, len(data) - _ENTRY + 1), _ENTRY):
        if struct.unpack_from(f"{order}H", data, at)[0] in _METADATA:
            changed[at : at + _ENTRY] = struct.pack(f"{order}HHII", _UNUSED, _BYTE, 1, 0)
    return bytes(changed)
