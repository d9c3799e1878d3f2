"""Damaged images: no crash, no hang, no wrong pixels where that can be known."""

from __future__ import annotations

import contextlib
import io
import os
import time
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Literal

import numpy as np
import simplejpeg
from PIL import Image, PngImagePlugin

from foveal.core.errors import ImageError
from foveal.images.decode import decode
from foveal.sources.synthetic import draw_scene
from promises import Report

PHOTOGRAPHS = Path(os.environ.get("FOVEAL_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))
N_IMAGES, SIDE = 24, 192
SECONDS = 2.0
FORMATS = {
    "JPEG": ("JPEG", {"quality": 88}),
    "JPEG progressive": ("JPEG", {"quality": 80, "progressive": True}),
    "PNG": ("PNG", {}),
    "WebP": ("WEBP", {"quality": 85}),
    "WebP lossless": ("WEBP", {"lossless": True}),
    "GIF": ("GIF", {}),
    "TIFF": ("TIFF", {"compression": "tiff_lzw"}),
    "BMP": ("BMP", {}),
    "AVIF": ("AVIF", {"quality": 70}),
}
DAMAGES = ("one bit", "one byte", "eight bytes", "header", "zeroed block", "lost block", "doubled block", "cut")
METADATA = ("metadata: bytes", "metadata: cut", "metadata: doubled")
"""Damage inside the blocks of EXIF, XMP, text and profiles alone, whose lengths and places stay right."""
SHARE_OF_METADATA = 0.3
WITH_BLOCKS = ("JPEG", "JPEG progressive", "PNG", "WebP", "WebP lossless", "AVIF")


def run(full: bool) -> Report:
    """Damage images of every format in every way."""
    count = 100_000 if full else 2_000
    report = Report(f"intake: {count:,} mutated images, no crash, no hang over {SECONDS:.0f} s, no wrong pixels unseen")
    outcomes, slowest = _outcomes(count, report)
    report.table.append(
        ("format", "damage", "files", "refused", "same pixels", "wrong pixels", "simplejpeg strict wrong")
    )
    for (kind, damage), found in sorted(outcomes.items()):
        jpeg, inside = kind.startswith("JPEG"), damage in METADATA
        reference = found["reference"] if jpeg else ""
        files = found["refused"] + found["same"] + found["wrong"]
        shares = [f"{found[name] / files:.2%}" for name in ("refused", "same", "wrong")]
        report.table.append((kind, damage, files, *shares, f"{reference / files:.2%}" if jpeg else ""))
        if inside:
            report.require(found["same"] == files, f"{kind}, {damage}: metadata decided whether an image is read")
        elif jpeg:
            report.require(found["wrong"] <= reference, f"{kind}, {damage}: more wrong pixels than strict simplejpeg's")
        if kind == "PNG":
            report.require(not found["wrong"], f"PNG, {damage}: {found['wrong']} accepted with wrong pixels")
        if damage == "cut" and (jpeg or kind == "PNG"):
            report.require(found["refused"] == files, f"{kind}: a cut file was accepted")
    report.require(slowest < SECONDS, f"one file took {slowest:.1f} s")
    report.promise += f" (slowest {slowest * 1000:.0f} ms)"
    return report


def _outcomes(count: int, report: Report) -> tuple[dict[tuple[str, str], Counter[str]], float]:
    pairs = [(kind, damage) for kind in FORMATS for damage in DAMAGES]
    inside = [(kind, damage) for kind in WITH_BLOCKS for damage in METADATA]
    each = {
        **dict.fromkeys(pairs, -(-round(count * (1 - SHARE_OF_METADATA)) // len(pairs))),
        **dict.fromkeys(inside, -(-round(count * SHARE_OF_METADATA) // len(inside))),
    }
    outcomes: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    slowest = 0.0
    with ProcessPoolExecutor(initializer=_prepare) as pool:
        jobs = [
            pool.submit(_damaged, *pair, start, min(50, n - start))
            for pair, n in each.items()
            for start in range(0, n, 50)
        ]
        for job in jobs:
            try:
                pair, counts, seconds = job.result()
            except BrokenProcessPool:
                report.broken.append("a process crashed")
                break
            outcomes[pair] += counts
            slowest = max(slowest, seconds)
    return outcomes, slowest


_originals: dict[str, list[tuple[bytes, np.ndarray]]] = {}


def _prepare() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # the C libraries speak of every damage
    warnings.simplefilter("ignore")
    files = sorted(PHOTOGRAPHS.rglob("*.jpg"))[:: max(1, len(list(PHOTOGRAPHS.rglob("*.jpg"))) // N_IMAGES)]
    images = [Image.fromarray(decode(file)) for file in files[:N_IMAGES]]
    for image in images or [draw_scene(0, at).image for at in range(N_IMAGES)]:
        image.thumbnail((SIDE, SIDE))
        for name, (kind, options) in FORMATS.items():
            out = io.BytesIO()
            image.save(out, kind, **options, **(_blocks(kind) if name in WITH_BLOCKS else {}))
            _originals.setdefault(name, []).append((out.getvalue(), decode(out.getvalue())))


def _exif() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112], exif[0x010F], exif[0x0131] = 1, "A maker of cameras", "An editor of images, version 4"
    exif[0x9286] = "A comment. " * 8
    return exif


def _blocks(kind: str) -> dict[str, object]:
    """Return what a camera and an editor write beside the pixels: EXIF of an upright image, XMP, a text."""
    blocks: dict[str, object] = {"exif": _exif()}
    if kind == "PNG":
        text = PngImagePlugin.PngInfo()
        text.add_text("Comment", "What is to be seen. " * 9, zip=True)
        text.add_itxt("XML:com.adobe.xmp", "<x:xmpmeta/>" * 9, zip=True)
        blocks["pnginfo"] = text
    elif kind in {"JPEG", "WEBP"}:
        blocks["xmp"] = b"<x:xmpmeta>" + b"about this image " * 9 + b"</x:xmpmeta>"
    return blocks


def _places(data: bytes, kind: str) -> list[tuple[int, int]]:
    """Return (start, stop) of the content of each block of metadata."""
    if kind.startswith("JPEG"):
        return list(_jpeg_blocks(data))
    if kind.startswith("WebP"):
        return list(_chunks(data, 12, "little", 8, {b"EXIF", b"XMP "}))
    if kind == "PNG":
        return list(_chunks(data, 8, "big", 12, {b"eXIf", b"zTXt", b"iTXt", b"tEXt"}))
    # AVIF writes EXIF anew, without the orientation: from its first bytes to the last text in it.
    start = next(at for mark in (b"MM\0*", b"II*\0") if (at := data.find(mark)) >= 0)
    return [(start, max(data.rfind(text) + len(text) for text in (b"A comment. ", b"version 4")))]


def _jpeg_blocks(data: bytes) -> Iterator[tuple[int, int]]:
    at = 2
    while data[at + 1] != 0xDA:
        length = int.from_bytes(data[at + 2 : at + 4])
        if data[at + 1] == 0xE1:
            yield at + 4, at + 2 + length
        at += 2 + length


def _chunks(
    data: bytes, at: int, order: Literal["little", "big"], around: int, kinds: set[bytes]
) -> Iterator[tuple[int, int]]:
    """Yield the blocks of a file of chunks: in RIFF the type comes first, in PNG the length."""
    while at < len(data):
        first, second = data[at : at + 4], data[at + 4 : at + 8]
        kind, length = (first, second) if order == "little" else (second, first)
        n = int.from_bytes(length, order)
        if kind in kinds:
            yield at + 8, at + 8 + n
        at += around + n + (n % 2 if order == "little" else 0)


def _damage_inside(data: bytearray, kind: str, damage: str, rng: np.random.Generator) -> bytearray:
    """Damage one block of metadata and keep its length and checksum as they were, as a careless writer leaves them."""
    places = _places(bytes(data), kind)
    start, stop = places[int(rng.integers(len(places)))]
    at = int(rng.integers(start, stop))
    if damage == "metadata: bytes":
        for place in rng.integers(start, stop, int(rng.integers(1, 9))):
            data[place] = int(rng.integers(256))
    elif damage == "metadata: cut":
        data[at:stop] = bytes(stop - at)
    else:
        length = min(at - start, stop - at)
        data[at : at + length] = data[start : start + length]
    return data


def _damaged(kind: str, damage: str, start: int, count: int) -> tuple[tuple[str, str], Counter[str], float]:
    counts: Counter[str] = Counter()
    slowest = 0.0
    for number in range(start, start + count):
        rng = np.random.default_rng([list(FORMATS).index(kind), (*DAMAGES, *METADATA).index(damage), number])
        original, expected = _originals[kind][int(rng.integers(len(_originals[kind])))]
        if damage in METADATA:
            data = _damage_inside(bytearray(original), kind, damage, rng)
        else:
            data = _damage(bytearray(original), damage, rng)
            if data == original:
                data[len(data) // 2] ^= 1
        began = time.perf_counter()
        try:
            found = decode(bytes(data))
            # What EXIF says of the orientation may have become another orientation: any turn of the pixels is the same.
            same = any(np.array_equal(one, expected) for one in (_turns(found) if kind in WITH_BLOCKS else [found]))
            counts["same" if same else "wrong"] += 1
        except ImageError:
            counts["refused"] += 1
        slowest = max(slowest, time.perf_counter() - began)
        if kind.startswith("JPEG"):
            with contextlib.suppress(ValueError):
                counts["reference"] += not np.array_equal(simplejpeg.decode_jpeg(bytes(data), strict=True), expected)
    return (kind, damage), counts, slowest


def _turns(pixels: np.ndarray) -> list[np.ndarray]:
    return [np.rot90(one, quarters) for one in (pixels, pixels[:, ::-1]) for quarters in range(4)]


def _damage(data: bytearray, damage: str, rng: np.random.Generator) -> bytearray:
    size = len(data)
    at = int(rng.integers(size))
    length = int(rng.integers(1, max(2, size // 8)))
    if damage == "one bit":
        data[at] ^= 1 << int(rng.integers(8))
    elif damage == "one byte":
        data[at] = int(rng.integers(256))
    elif damage == "eight bytes":
        for place in rng.integers(0, size, 8):
            data[place] = int(rng.integers(256))
    elif damage == "header":
        data[int(rng.integers(min(64, size)))] = int(rng.integers(256))
    elif damage == "zeroed block":
        data[at : at + length] = bytes(len(data[at : at + length]))
    elif damage == "lost block":
        del data[at : at + length]
    elif damage == "doubled block":
        data[at:at] = data[at : at + length]
    else:
        # Not within the last two bytes of a JPEG only: any cut at all.
        del data[int(rng.integers(1, size)) :]
    return data
