"""Laws of resampling: the library and NumPy agree bit for bit, and what must be exact is."""

import math
import subprocess
import sys

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foveal.core.errors import InputError
from foveal.geometry import resample, resample_pure
from foveal.geometry.pixels import NO_SMOOTHING, Smoothing

MODES = ("reflection", "border", "zeros")
IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
SIDE = st.one_of(st.integers(1, 5), st.integers(1, 70))
NUMBER = st.one_of(st.floats(-3, 3), st.floats(-1e4, 1e4), st.floats(), st.sampled_from([0.0, 1.0, -1.0, 1e-9, 0.5]))
SMOOTHING = st.one_of(
    st.just(NO_SMOOTHING),
    st.builds(Smoothing, st.integers(0, 63), st.integers(0, 63), st.integers(0, 16000), st.integers(0, 16000)),
)

if resample.library() is None and not sys.platform.startswith("win"):
    pytest.skip("there is no library here: python hatch_build.py", allow_module_level=True)


@st.composite
def images(draw):
    height, width, n_channels, seed = draw(SIDE), draw(SIDE), draw(st.sampled_from([1, 3, 4])), draw(st.integers(0, 99))
    rng = np.random.default_rng(seed)
    full = rng.integers(0, 256, (height + 3, 2 * width + 5, n_channels), dtype=np.uint8)
    full = np.where(full > 200, 255, np.where(full < 60, 0, full)).astype(np.uint8)
    how = draw(st.sampled_from(["whole", "part", "upside down", "transposed"]))
    if how == "part":
        return full[2 : 2 + height, 3 : 3 + width]
    if how == "upside down":
        return full[:height, :width][::-1]
    if how == "transposed":
        return full[:height, :width].transpose(1, 0, 2)
    return np.ascontiguousarray(full[:height, :width])


@st.composite
def maps(draw, size_hw):
    """Maps as they are drawn in training, and any numbers at all."""
    if draw(st.booleans()):
        return tuple(draw(NUMBER) for _ in range(9))
    angle, scale, flip = draw(st.floats(-4, 4)), draw(st.floats(0.2, 4)), draw(st.sampled_from([-1, 1]))
    x, y = draw(st.floats(-300, 300)), draw(st.floats(-300, 300))
    cos, sin = scale * math.cos(angle), scale * math.sin(angle)
    gx, gy = (draw(st.one_of(st.just(0.0), st.floats(-0.1, 0.1))) for _ in range(2))
    depth = 1 - gx * size_hw[1] / 2 - gy * size_hw[0] / 2
    return (cos * flip, -sin, x, sin * flip, cos, y, gx, gy, depth)


def both(image, smoothing, to_source, size_hw, mode):
    here = resample.resample(image, smoothing, to_source, size_hw, mode)
    there = resample_pure.resample(image, smoothing, to_source, size_hw, mode)
    np.testing.assert_array_equal(here, there)
    return here


@settings(max_examples=600)
@given(st.data(), images(), SMOOTHING, st.tuples(SIDE, SIDE), st.sampled_from(MODES))
def test_the_library_and_numpy_agree_bit_for_bit(data, image, smoothing, size_hw, mode):
    to_source = data.draw(maps(size_hw))
    shown = both(image, smoothing, to_source, size_hw, mode)
    smoothed = resample.smooth(image, smoothing)
    np.testing.assert_array_equal(smoothed, resample_pure.smooth(image, smoothing))
    np.testing.assert_array_equal(shown, both(smoothed, NO_SMOOTHING, to_source, size_hw, mode))
    table = np.random.default_rng(1).normal(size=(image.shape[2], 256)).astype(np.float32)
    out, expected = np.empty((2, *shown.shape), np.float32)
    resample.resample_into(out, image, smoothing, to_source, mode, table)
    resample_pure.look_up(expected, shown, table)
    np.testing.assert_array_equal(out, expected)


@given(images(), st.integers(-200, 200), st.integers(-200, 200), st.sampled_from(MODES))
def test_a_shift_by_whole_pixels_copies_them_and_shows_the_border_as_told(image, x, y, mode):
    height, width = image.shape[:2]
    shown = both(image, NO_SMOOTHING, (1.0, 0.0, x, 0.0, 1.0, y, 0.0, 0.0, 1.0), (height, width), mode)
    how = {"reflection": "symmetric", "border": "edge", "zeros": "constant"}[mode]
    around = np.pad(image, ((200, 200), (200, 200), (0, 0)), mode=how)
    np.testing.assert_array_equal(shown, around[200 + y :, 200 + x :][:height, :width])


@given(images(), SMOOTHING)
def test_a_flip_is_the_mirrored_image_and_smoothing_keeps_it(image, smoothing):
    height, width = image.shape[:2]
    size_hw = (height, width)
    np.testing.assert_array_equal(both(image, NO_SMOOTHING, IDENTITY, size_hw, "border"), image)
    mirrored = both(image, smoothing, (-1.0, 0.0, width, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0), size_hw, "zeros")
    np.testing.assert_array_equal(mirrored, resample.smooth(image, smoothing)[:, ::-1])
    turned = both(image, smoothing, (-1.0, 0.0, width, 0.0, -1.0, height, 0.0, 0.0, 1.0), size_hw, "reflection")
    np.testing.assert_array_equal(turned, resample.smooth(image[::-1, ::-1], smoothing))


@given(SIDE, SIDE, st.integers(0, 255), SMOOTHING)
def test_an_even_image_stays_as_it_is(height, width, value, smoothing):
    image = np.full((height, width, 3), value, np.uint8)
    to_source = (0.7, 0.2, -3.0, -0.2, 0.7, 5.0, 0.001, 0.0, 0.97)
    for mode in MODES[:2]:
        assert (both(image, smoothing, to_source, (40, 60), mode) == value).all()


def test_beyond_the_horizon_it_is_black_or_the_border():
    image = np.full((20, 30, 3), 200, np.uint8)
    to_source = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.2, 0.0, -2.0)  # depth 1 at the centre, 0 at a third
    assert (both(image, NO_SMOOTHING, to_source, (20, 30), "zeros")[:, :9] == 0).all()
    assert (both(image, NO_SMOOTHING, to_source, (20, 30), "border") == 200).all()
    for broken in (math.nan, math.inf, -math.inf):
        for mode in MODES:
            both(image, NO_SMOOTHING, (broken,) * 9, (20, 30), mode)


@pytest.mark.parametrize("turn", [0.0, 0.3])
def test_it_is_bilinear_as_opencv_is(turn):
    rng = np.random.default_rng(0)
    image = cv2.GaussianBlur(rng.integers(0, 256, (90, 120, 3), dtype=np.uint8), (0, 0), 1.5)
    cos, sin = 0.9 * math.cos(turn), 0.9 * math.sin(turn)
    m = (cos, -sin, 20.3, sin, cos, 4.1, 0.0, 0.0, 1.0)
    centred = np.array([[cos, -sin, 20.3 + (cos - sin) / 2 - 0.5], [sin, cos, 4.1 + (sin + cos) / 2 - 0.5]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    for mode, border in (("reflection", cv2.BORDER_REFLECT), ("border", cv2.BORDER_REPLICATE), ("zeros", 0)):
        theirs = cv2.warpAffine(image, centred, (100, 80), flags=flags, borderMode=border)
        difference = np.abs(both(image, NO_SMOOTHING, m, (80, 100), mode).astype(int) - theirs)
        assert difference.mean() < 0.3
        assert np.percentile(difference, 99) <= 2


def test_too_large_an_image_is_refused():
    image = np.lib.stride_tricks.as_strided(np.zeros(1, np.uint8), (1, 1 << 22, 1), (1, 1, 1))
    with pytest.raises(InputError, match="2,097,152"):
        resample.resample(image, NO_SMOOTHING, IDENTITY, (1, 1), "border")


def test_without_the_library_it_is_numpy():
    program = "from foveal.geometry import resample; print(resample.library())"
    for wanted, said in (("1", "None"), ("0", "CDLL")):
        done = subprocess.run(
            [sys.executable, "-c", program], env={**__import__("os").environ, "FOVEAL_PURE": wanted},
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert said in done.stdout
