"""Names of the course for words that foveal writes as text."""

from __future__ import annotations


class ResizeMethod:
    """How `Resize` brings an image to size: the texts "squish", "crop" and "pad"."""

    Squish = "squish"
    Crop = "crop"
    Pad = "pad"


class PadMode:
    """What stands where an image does not reach: the texts "zeros", "border" and "reflection"."""

    Zeros = "zeros"
    Border = "border"
    Reflection = "reflection"
