"""What is read of AVIF and HEIC: their brands; and AVIF without its EXIF.

libavif refuses an image whose EXIF is damaged, and its orientation lies elsewhere anyway.
"""

from __future__ import annotations

import re

# An entry of the list of items (`infe`, ISO/IEC 14496-12, 8.11.6) up to its type: version and flags, id, protection.
_EXIF_ITEM = re.compile(rb"(infe(?:\x02...(?:..)|\x03...(?:....))..)Exif", re.DOTALL)


HEIC = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"})
AVIF = frozenset({b"avif", b"avis"})
"""The brands of both formats."""


def brands_of(data: bytes) -> set[bytes]:
    """Return the brands of a file of the ISO base media format: the main one and those it goes with.

    Args:
        data: the bytes of the file.
    """
    box = data[8 : min(int.from_bytes(data[:4]), 256)]
    return {box[:4], *(box[at : at + 4] for at in range(8, len(box), 4))}


def without_exif(data: bytes) -> bytes:
    """Return a file in which no item is called EXIF; its pixels and how it is turned (`irot`, `imir`) stay.

    Args:
        data: the bytes of the file.
    """
    head, mark, rest = data.partition(b"mdat")
    return _EXIF_ITEM.sub(rb"\1skip", head) + mark + rest
