"""An image inside the .json of LabelMe, as base64."""

from __future__ import annotations

import base64
import binascii
import json

ENDING = ".json"


def embedded_image(data: bytes) -> bytes:
    """Return the bytes of the image that a .json holds; of one that holds none, its own.

    Args:
        data: of the .json.
    """
    try:
        record = json.loads(data)
        text = record.get("imageData") if isinstance(record, dict) else None
        return base64.b64decode(text, validate=True) if isinstance(text, str) else data
    except (ValueError, binascii.Error, RecursionError):
        return data
