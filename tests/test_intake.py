"""The catalogue of intake: one verdict a case, the same in training, batch prediction and the predictor."""

import contextlib
import io
import os
import time
import tracemalloc

import numpy as np
import pytest
import torch
from PIL import Image

from foveal.core import lazy
from foveal.core.errors import ImageError, MissingDependencyError
from foveal.core.rng import generator_for
from foveal.data.samples import Pipeline
from foveal.geometry.resize import RandomResizedCrop
from foveal.images.decode import decode, open_image
from foveal.images.prepare import IMAGENET, Preparation
from foveal.inference.prediction import Prediction, Refused
from foveal.inference.predictor import Predictor
from foveal.models.vision import ModelSpec, build_model
from foveal.tasks.multi_label import MultiLabel
from foveal.tasks.vocab import Vocab


def encoded(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def photo(mode="RGB", size=(90, 70)):
    width, height = size
    y, x = np.mgrid[:height, :width]
    pixels = np.stack([x * 200 // width, y * 200 // height, (x + y) * 200 // (width + height)], axis=2)
    return Image.fromarray(pixels.astype(np.uint8)).convert(mode)


def with_start_of_frame(data, marker=0xC0, bits=8, size=None):
    data = bytearray(data)
    at = data.index(b"\xff\xc0")
    data[at + 1], data[at + 4] = marker, bits
    if size:
        data[at + 5 : at + 9] = size[0].to_bytes(2) + size[1].to_bytes(2)
    return bytes(data)


def wide_profile():
    """The ICC profile of a wide gamut (Adobe RGB): primaries in XYZ under D50, a gamma of 563/256."""

    def fixed(*values):
        return b"".join(round(value * 65536).to_bytes(4, "big", signed=True) for value in values)

    def xyz(*values):
        return b"XYZ \0\0\0\0" + fixed(*values)

    name = b"wide\0"
    curve = b"curv\0\0\0\0" + (1).to_bytes(4) + (563).to_bytes(2) + b"\0\0"
    tags = {
        b"desc": b"desc\0\0\0\0" + len(name).to_bytes(4) + name + b"\0" * (12 + 67 + 3),
        b"cprt": b"text\0\0\0\0none\0\0\0\0",
        b"wtpt": xyz(0.9642, 1.0, 0.8249),
        b"rXYZ": xyz(*ADOBE[:, 0]),
        b"gXYZ": xyz(*ADOBE[:, 1]),
        b"bXYZ": xyz(*ADOBE[:, 2]),
        b"rTRC": curve,
        b"gTRC": curve,
        b"bTRC": curve,
    }
    table, data, start = len(tags).to_bytes(4), b"", 128 + 4 + 12 * len(tags)
    for tag, content in tags.items():
        table += tag + (start + len(data)).to_bytes(4) + len(content).to_bytes(4)
        data += content + b"\0" * (-len(content) % 4)
    head = bytearray(128)
    head[8:12], head[12:24], head[36:40] = b"\x02\x10\0\0", b"mntrRGB XYZ ", b"acsp"
    head[68:80] = fixed(0.9642, 1.0, 0.8249)
    head[0:4] = (start + len(data)).to_bytes(4)
    return bytes(head) + table + data


# Columns: red, green, blue. Both under D50.
ADOBE = np.array([[0.60974, 0.20528, 0.14919], [0.31111, 0.62567, 0.06322], [0.01947, 0.06087, 0.74457]])
SRGB = np.array([[0.43607, 0.38515, 0.14307], [0.22249, 0.71687, 0.06061], [0.01392, 0.09708, 0.71410]])


def adobe_to_srgb(colour):
    linear = np.linalg.solve(SRGB, ADOBE @ (np.array(colour) / 255) ** (563 / 256)).clip(0, 1)
    return 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


JPEG, PNG = encoded(photo(), "JPEG"), encoded(photo(), "PNG")
FRAMES = [photo(), photo().transpose(Image.Transpose.FLIP_LEFT_RIGHT)]
FLIPPED = bytes(byte ^ 0xFF if i == len(PNG) // 2 else byte for i, byte in enumerate(PNG))

USED = {
    "grey.jpg": encoded(photo("L"), "JPEG"),
    "cmyk.jpg": encoded(photo("CMYK"), "JPEG"),
    "progressive.jpg": encoded(photo(), "JPEG", progressive=True),
    "palette.png": encoded(photo("P"), "PNG"),
    "grey_alpha.png": encoded(photo("LA"), "PNG"),
    "rgba.png": encoded(photo("RGBA"), "PNG"),
    "rgba.webp": encoded(photo("RGBA"), "WEBP"),
    "x.bmp": encoded(photo(), "BMP"),
    "x.gif": encoded(photo(), "GIF"),
    "x.tif": encoded(photo(), "TIFF"),
    "x.avif": encoded(photo(), "AVIF"),
    "deep.png": encoded(Image.fromarray(np.arange(6000, dtype=np.uint16).reshape(60, 100) * 10), "PNG"),
    "deep.tif": encoded(Image.fromarray(np.arange(6000, dtype=np.uint16).reshape(60, 100) * 10), "TIFF"),
    "float.tif": encoded(Image.fromarray(np.linspace(-1, 1, 6000, dtype=np.float32).reshape(60, 100)), "TIFF"),
    "one_bit.png": encoded(photo("1"), "PNG"),
    "animated.gif": encoded(FRAMES[0], "GIF", save_all=True, append_images=FRAMES[1:]),
    "animated.webp": encoded(FRAMES[0], "WEBP", save_all=True, append_images=FRAMES[1:]),
    "many.mpo": encoded(FRAMES[0], "MPO", save_all=True, append_images=FRAMES[1:]),
    "1x1.png": encoded(photo(size=(1, 1)), "PNG"),
    "1x5000.png": encoded(photo(size=(1, 5000)), "PNG"),
    "5000x1.jpg": encoded(photo(size=(5000, 1)), "JPEG"),
    "ünï çödé 图片.jpg": JPEG,
    "really_a_png.jpg": PNG,
    "UPPER.JPG": JPEG,
    "more_after_the_end.jpg": JPEG + b"\0" * 100,
}
AVIF = encoded(photo(), "AVIF")
AVIF_AT = AVIF.index(b"mdat") + 60
WEBP_BOMB = bytearray(encoded(photo(), "WEBP", lossless=True))
_VP8L = WEBP_BOMB.index(b"VP8L") + 9
WEBP_BOMB[_VP8L : _VP8L + 4] = (16383 | 16383 << 14 | 1 << 28).to_bytes(4, "little")
REFUSED = {
    "half.jpg": (JPEG[: len(JPEG) // 2], "damaged"),
    "99.jpg": (JPEG[: int(len(JPEG) * 0.99)], "damaged"),
    "two_bytes.jpg": (JPEG[:-2], "damaged"),
    "half.png": (PNG[: len(PNG) // 2], "damaged"),
    "bad_crc.png": (FLIPPED, "damaged"),
    "12_bit.jpg": (with_start_of_frame(JPEG, bits=12), "12 bits"),
    "lossless.jpg": (with_start_of_frame(JPEG, marker=0xC3), "lossless"),
    "no_size.jpg": (with_start_of_frame(JPEG, size=(0, 10)), "header"),
    "bomb.jpg": (with_start_of_frame(JPEG, size=(65000, 65000)), "limit"),
    "bomb.png": (encoded(Image.new("1", (30000, 30000)), "PNG"), "limit"),
    "bomb.gif": (encoded(Image.new("P", (20000, 20000)), "GIF"), "limit"),
    "bomb.webp": (bytes(WEBP_BOMB), "limit"),
    "bomb.tif": (encoded(Image.new("1", (30000, 30000)), "TIFF", compression="group4"), "limit"),
    "half.avif": (AVIF[: len(AVIF) // 2], "damaged"),
    "changed.avif": (AVIF[:AVIF_AT] + bytes(64) + AVIF[AVIF_AT + 64 :], "damaged"),
    "empty.jpg": (b"", "empty"),
    "html.jpg": (b"<!DOCTYPE html><title>404</title>", "HTML"),
    "text.jpg": (b"not found", "text"),
}


@pytest.fixture(scope="module")
def predictor():
    task = MultiLabel(Vocab(("a", "b")))
    model = build_model(ModelSpec("resnet18", 2, (32, 32)))
    return Predictor.of(model, task, Preparation.of((32, 32), "crop", IMAGENET))


def verdicts(file, predictor):
    """What training, batch prediction and the predictor say of a file: None, or the reason."""
    pipeline = Pipeline.of(RandomResizedCrop(32, min_scale=0.5))

    def reason(function):
        try:
            function()
        except ImageError as error:
            return error.reason
        return None

    def batch():
        (answer,) = predictor.predict_batch([file], num_workers=1)
        if isinstance(answer, Refused):
            raise answer.error
        assert isinstance(answer, Prediction)

    target = torch.zeros(2)
    train = reason(lambda: pipeline.sample(file, target, predictor.task, generator_for(1)))
    return [train, reason(batch), reason(lambda: predictor.predict(file))]


@pytest.mark.parametrize("name", USED)
def test_what_is_used_is_used_everywhere(name, predictor, tmp_path):
    (tmp_path / name).write_bytes(USED[name])
    assert verdicts(tmp_path / name, predictor) == [None] * 3
    assert np.ptp(decode(tmp_path / name)) > 50 or name == "1x1.png"


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_is_refused_everywhere(name, predictor, tmp_path):
    data, reason = REFUSED[name]
    (tmp_path / name).write_bytes(data)
    found = verdicts(tmp_path / name, predictor)
    assert len(set(found)) == 1
    assert reason in found[0]


@pytest.mark.parametrize("name", [name for name in REFUSED if name.startswith("bomb")])
def test_bombs_cost_neither_time_nor_memory(name):
    tracemalloc.start()
    began = time.perf_counter()
    with pytest.raises(ImageError, match="limit"):
        open_image(REFUSED[name][0])
    seconds, (_, peak) = time.perf_counter() - began, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert seconds < 0.1
    assert peak < 50 << 20


@pytest.mark.parametrize("name", ["animated.gif", "animated.webp", "many.mpo"])
def test_of_several_frames_the_first_is_used(name):
    difference = np.abs(decode(USED[name]).astype(int) - np.asarray(FRAMES[0])).mean()
    assert difference < 12


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP"])
def test_the_colours_of_a_wide_profile_become_srgb(kind):
    """The oracle is the arithmetic of the two colour spaces."""
    options = {"quality": 100, "subsampling": 0} if kind == "JPEG" else {"lossless": True} if kind == "WEBP" else {}
    for colour in ((200, 100, 50), (30, 140, 160), (128, 128, 128), (90, 200, 120)):
        image = Image.new("RGB", (32, 32), colour)
        found = decode(encoded(image, kind, icc_profile=wide_profile(), **options))[16, 16]
        np.testing.assert_allclose(found, adobe_to_srgb(colour), atol=3)
        np.testing.assert_allclose(decode(encoded(image, kind, **options))[16, 16].astype(int), colour, atol=2)


def test_a_file_without_permission_is_refused_by_name(predictor, tmp_path):
    file = tmp_path / "secret.jpg"
    file.write_bytes(JPEG)
    file.chmod(0)
    user = os.geteuid()
    if user == 0:  # root may read everything
        os.seteuid(65534)
    try:
        found = verdicts(file, predictor)
    finally:
        os.seteuid(user)
    assert found == ["no permission to read it."] * 3


def test_heic_needs_its_extra_and_says_so(monkeypatch):
    import pillow_heif

    pillow_heif.register_heif_opener()
    data = encoded(photo(), "HEIF", quality=95)
    assert np.abs(decode(data).astype(int) - np.asarray(photo())).mean() < 6

    def absent(*_, **__):
        raise MissingDependencyError('install it with: pip install "foveal[heif]"')

    monkeypatch.setattr(lazy, "require", absent)
    with pytest.raises(ImageError, match=r"foveal\[heif\]"):
        open_image(data)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_random_damage_never_crashes_and_is_never_worse_than_the_strict_decoder(kind):
    """A thousand mutations a kind: refused by name, or accepted where the reference accepts as well."""
    import simplejpeg

    original = encoded(photo(size=(160, 120)), kind)
    expected = decode(original)
    rng = np.random.default_rng(0)
    wrong = reference_wrong = 0
    for _ in range(1000):
        data = bytearray(original)
        for at in rng.integers(0, len(data), rng.integers(1, 5)):
            data[at] = rng.integers(256)
        if rng.random() < 0.2:
            data = data[: rng.integers(1, len(data))]
        began = time.perf_counter()
        try:
            found = decode(bytes(data))
            wrong += not np.array_equal(found, expected)
        except ImageError:
            pass
        assert time.perf_counter() - began < 2
        if kind == "JPEG":
            with contextlib.suppress(ValueError):
                reference_wrong += not np.array_equal(simplejpeg.decode_jpeg(bytes(data), strict=True), expected)
    assert wrong <= reference_wrong
