"""What a person writes for a setting (text of the command line, a list, a number), as the value that it stands for."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BeforeValidator

from foveal.core.errors import InputError, near_match
from foveal.geometry.resize import as_size_hw


def parse_size(size: object) -> tuple[int, int]:
    """Return (height, width) in pixels.

    Raises:
        InputError: it is no such number, or below 1.

    Examples:
        >>> parse_size("128"), parse_size("240x320"), parse_size(96), parse_size([64, 48])
        ((128, 128), (240, 320), (96, 96), (64, 48))
    """
    if isinstance(size, list | tuple) and len(size) == 2:
        size = f"{size[0]}x{size[1]}"
    match = re.fullmatch(r"(\d+)(?:x(\d+))?", str(size).strip().lower())
    if match is None or int(match[1]) < 1 or (match[2] is not None and int(match[2]) < 1):
        raise InputError(f"--size is a number of pixels or HEIGHTxWIDTH, like 128 or 240x320; got {size!r}.")
    return as_size_hw((int(match[1]), int(match[2] or match[1])))


def parse_bytes(text: str) -> int:
    """Return a number of bytes.

    Raises:
        InputError: it is no such number, or below 1.

    Examples:
        >>> parse_bytes("20MB"), parse_bytes("1.5 kB"), parse_bytes("512")
        (20000000, 1500, 512)
    """
    match = re.fullmatch(r"([0-9.]+)\s*(|k|m|g)b?", text.strip().lower())
    try:
        n = 0 if match is None else int(float(match[1]) * 1000 ** ("", "k", "m", "g").index(match[2]))
    except ValueError:
        n = 0
    if n < 1:
        raise InputError(f"A size is a number of bytes like 20MB or 512kB; got {text!r}.")
    return n


def parse_minutes(minutes: object) -> float | None:
    """Return minutes, or None for `auto`.

    Raises:
        InputError: it is no number.

    Examples:
        >>> parse_minutes("2.5"), parse_minutes("auto"), parse_minutes(3)
        (2.5, None, 3.0)
    """
    if minutes is None or str(minutes).strip().lower() == "auto":
        return None
    try:
        return float(str(minutes))
    except ValueError:
        raise InputError(f"--time is a number of minutes, or auto; got {minutes!r}.") from None


def parse_names(names: object) -> tuple[str, ...]:
    """Return names given as a list, or in one text with commas.

    Raises:
        InputError: it holds something else than text.

    Examples:
        >>> parse_names("x1, y1"), parse_names(["left eye"]), parse_names(None)
        (('x1', 'y1'), ('left eye',), ())
    """
    if names is None:
        return ()
    given = names.split(",") if isinstance(names, str) else names
    if not isinstance(given, list | tuple) or not all(isinstance(name, str) for name in given):
        raise InputError(f"Names are a list of text, or one text with commas, like x,y; got {names!r}.")
    return tuple(stripped for name in given if (stripped := name.strip()))


def parse_pairs(pairs: object) -> tuple[tuple[str, str], ...]:
    """Return pairs of names given as a list, or in one text.

    Raises:
        InputError: a pair is not FIRST:SECOND.

    Examples:
        >>> parse_pairs("left eye:right eye,left ear:right ear"), parse_pairs([("a", "b")])
        ((('left eye', 'right eye'), ('left ear', 'right ear')), (('a', 'b'),))
    """
    if isinstance(pairs, list | tuple) and all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in pairs):
        return tuple((str(first), str(second)) for first, second in pairs)
    parts = [name.partition(":") for name in parse_names(pairs)]
    for first, colon, second in parts:
        if not (first and colon and second):
            raise InputError(f"--flip-pairs is FIRST:SECOND[,FIRST:SECOND...]; got {pairs!r}.")
    return tuple((first.strip(), second.strip()) for first, _, second in parts)


def parse_class_weights(weights: object) -> dict[str, float] | Literal["balanced"] | None:
    """Return weights by class, given as a mapping or in one text, or `balanced`.

    Raises:
        InputError: a weight is no positive number, or a class is named twice.

    Examples:
        >>> parse_class_weights("dog=2, cat=0.5"), parse_class_weights({"dog": 2}), parse_class_weights("balanced")
        ({'dog': 2.0, 'cat': 0.5}, {'dog': 2.0}, 'balanced')
    """
    if weights is None or weights == "balanced":
        return None if weights is None else "balanced"
    pairs: list[tuple[object, object]] = []
    if isinstance(weights, Mapping):
        pairs = list(weights.items())
    elif isinstance(weights, str):
        pairs = [(name, value) for name, _, value in (part.rpartition("=") for part in weights.split(","))]
    found: dict[str, float] = {}
    for given, value in pairs:
        name, number = str(given).strip(), _number(value)
        if not name or not 0 < number < math.inf:
            near = near_match(weights, ["balanced"]) if isinstance(weights, str) else ""
            raise InputError(
                f"--class-weights is CLASS=NUMBER[,CLASS=NUMBER...] with positive numbers, or balanced; got "
                f"{weights!r}.{near}"
            )
        if name in found:
            raise InputError(f"--class-weights names `{name}` twice; got {weights!r}.")
        found[name] = number
    if not found:
        raise InputError(f"--class-weights is CLASS=NUMBER[,CLASS=NUMBER...], or balanced; got {weights!r}.")
    return found


def _number(value: object) -> float:
    try:
        return math.nan if isinstance(value, bool) else float(str(value))
    except ValueError:
        return math.nan


ClassWeights = Annotated[dict[str, float] | Literal["balanced"] | None, BeforeValidator(parse_class_weights)]
Names = Annotated[tuple[str, ...], BeforeValidator(parse_names)]
Pairs = Annotated[tuple[tuple[str, str], ...], BeforeValidator(parse_pairs)]
Size = Annotated[tuple[int, int], BeforeValidator(parse_size)]
Minutes = Annotated[float | None, BeforeValidator(parse_minutes)]
