"""The one thing that is read of EXIF: how the image is turned. A block that is cut, or broken, says nothing."""

from __future__ import annotations

import struct

ORIENTATION = 0x0112  # the tag, EXIF 2.3, 4.6.4
_PREFIX = b"Exif\0\0"
_ORDERS = {b"II*\0": "<", b"MM\0*": ">"}
_ENTRY = 12  # bytes of an entry: tag, type, count, value
_SHORT, _LONG = 3, 4
_MOST_ENTRIES = 1000  # of a directory that is read; chosen by hand: cameras write some 20


def orientation_of(block: bytes) -> int:
    r"""Return the orientation, 1 to 8, in a block of EXIF; 1 where it says none, or cannot be read.

    Args:
        block: with or without `Exif` and two zero bytes before it.

    >>> orientation_of(b"II*\0\x08\0\0\0" + struct.pack("<HHHIHHI", 1, 0x0112, 3, 1, 6, 0, 0))
    6
    """
    data = block.removeprefix(_PREFIX)
    order = _ORDERS.get(data[:4])
    if order is None or len(data) < 8:
        return 1
    (start,) = struct.unpack_from(f"{order}I", data, 4)
    if start + 2 > len(data):
        return 1
    (count,) = struct.unpack_from(f"{order}H", data, start)
    for at in range(start + 2, start + 2 + _ENTRY * min(count, _MOST_ENTRIES), _ENTRY):
        if at + _ENTRY > len(data):
            return 1
        tag, kind, n_values = struct.unpack_from(f"{order}HHI", data, at)
        if tag == ORIENTATION:
            (value,) = struct.unpack_from(f"{order}{'H' if kind == _SHORT else 'I'}", data, at + 8)
            return int(value) if kind in {_SHORT, _LONG} and n_values == 1 and 1 <= value <= 8 else 1
    return 1
