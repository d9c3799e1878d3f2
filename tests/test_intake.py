"""The catalogue of intake: one verdict a case, the same in training, batch prediction and the predictor."""

import contextlib
import io
import time
import tracemalloc

import numpy as np
import pytest
import torch
from PIL import Image

from foveal import lazy
from foveal.bundle.predictor import Prediction, Predictor, Refused
from foveal.data.samples import Pipeline
from foveal.errors import MissingDependencyError, PictureError
from foveal.geometry.fit import RandomResizedCrop
from foveal.image.decode import decode, open_picture
from foveal.image.prepare import IMAGENET, Preparation
from foveal.models.vision import ModelSpec, build_model
from foveal.rng import generator_for
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
        except PictureError as error:
            return error.reason
        return None

    def batch():
        (answer,) = predictor.predict_batch([file], workers=1)
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
    with pytest.raises(PictureError, match="limit"):
        open_picture(REFUSED[name][0])
    seconds, (_, peak) = time.perf_counter() - began, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert seconds < 0.1
    assert peak < 50 << 20


@pytest.mark.parametrize("name", ["animated.gif", "animated.webp", "many.mpo"])
def test_of_several_frames_the_first_is_used(name):
    difference = np.abs(decode(USED[name]).astype(int) - np.asarray(FRAMES[0])).mean()
    assert difference < 12


def test_heic_needs_its_extra_and_says_so(monkeypatch):
    import pillow_heif

    pillow_heif.register_heif_opener()
    data = encoded(photo(), "HEIF", quality=95)
    assert np.abs(decode(data).astype(int) - np.asarray(photo())).mean() < 6

    def absent(*_, **__):
        raise MissingDependencyError('install it with: pip install "foveal[heif]"')

    monkeypatch.setattr(lazy, "require", absent)
    with pytest.raises(PictureError, match=r"foveal\[heif\]"):
        open_picture(data)


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
        except PictureError:
            pass
        assert time.perf_counter() - began < 2
        if kind == "JPEG":
            with contextlib.suppress(ValueError):
                reference_wrong += not np.array_equal(simplejpeg.decode_jpeg(bytes(data), strict=True), expected)
    assert wrong <= reference_wrong
