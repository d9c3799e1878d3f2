"""Damaged images: no crash, no hang, no wrong pixels where that can be known."""

from __future__ import annotations

import contextlib
import io
import os
import time
import warnings
from collections import Counter, defaultdict
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import numpy as np
import simplejpeg
from PIL import Image

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


def run(full: bool) -> Report:
    """Damage images of every format in every way."""
    count = 100_000 if full else 2_000
    report = Report(f"intake: {count:,} mutated images, no crash, no hang over {SECONDS:.0f} s, no wrong pixels unseen")
    outcomes, slowest = _outcomes(count, report)
    report.table.append(
        ("format", "damage", "files", "refused", "same pixels", "wrong pixels", "simplejpeg strict wrong")
    )
    for (kind, damage), found in sorted(outcomes.items()):
        jpeg = kind.startswith("JPEG")
        reference = found["reference"] if jpeg else ""
        files = found["refused"] + found["same"] + found["wrong"]
        shares = [f"{found[name] / files:.2%}" for name in ("refused", "same", "wrong")]
        report.table.append((kind, damage, files, *shares, f"{reference / files:.2%}" if jpeg else ""))
        if jpeg:
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
    each = -(-count // len(pairs))
    outcomes: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    slowest = 0.0
    with ProcessPoolExecutor(initializer=_prepare) as pool:
        jobs = [
            pool.submit(_damaged, *pair, start, min(50, each - start)) for pair in pairs for start in range(0, each, 50)
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
            image.save(out, kind, **options)
            _originals.setdefault(name, []).append((out.getvalue(), decode(out.getvalue())))


def _damaged(kind: str, damage: str, start: int, count: int) -> tuple[tuple[str, str], Counter[str], float]:
    counts: Counter[str] = Counter()
    slowest = 0.0
    for number in range(start, start + count):
        rng = np.random.default_rng([list(FORMATS).index(kind), DAMAGES.index(damage), number])
        original, expected = _originals[kind][int(rng.integers(len(_originals[kind])))]
        data = _damage(bytearray(original), damage, rng)
        if data == original:
            data[len(data) // 2] ^= 1
        began = time.perf_counter()
        try:
            counts["same" if np.array_equal(decode(bytes(data)), expected) else "wrong"] += 1
        except ImageError:
            counts["refused"] += 1
        slowest = max(slowest, time.perf_counter() - began)
        if kind.startswith("JPEG"):
            with contextlib.suppress(ValueError):
                counts["reference"] += not np.array_equal(simplejpeg.decode_jpeg(bytes(data), strict=True), expected)
    return (kind, damage), counts, slowest


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
