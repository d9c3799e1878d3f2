"""AVIF without its EXIF: libavif refuses an image whose EXIF is damaged, and its orientation lies elsewhere anyway."""

from __future__ import annotations

import re

# An entry of the list of items (`infe`, ISO/IEC 14496-12, 8.11.6) up to its type: version and flags, id, protection.
_EXIF_ITEM = re.compile(rb"(infe(?:\x02...(?:..)|\x03...(?:....))..)Exif", re.DOTALL)


def without_exif(data: bytes) -> bytes:
    """Return a file in which no item is called EXIF; its pixels and how it is turned (`irot`, `imir`) stay.

    Args:
        data: the bytes of the file.
    """
    head, mark, rest = data.partition(b"mdat")
    return _EXIF_ITEM.sub(rb"\1skip", head) + mark + rest
