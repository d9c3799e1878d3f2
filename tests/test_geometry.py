"""Laws of the geometry: maps compose and undo, pixels and points go the same way."""

import importlib
import math
import re
import sys

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from foveal.core.errors import InputError, UnknownNameError
from foveal.core.rng import generator_for
from foveal.geometry.homography import IDENTITY, Homography, corners_of
from foveal.geometry.moves import Dihedral, Flip, Move, Rotate, Shift, Warp, Zoom
from foveal.geometry.resize import CropPad, RandomCrop, RandomResizedCrop, Resize, ResizeStep
from foveal.geometry.warp import stack_windows, warp, warp_batch, window
from foveal.images.augment import aug_transforms
from foveal.images.prepare import UNCHANGED, Preparation
from foveal.images.tones import Brightness, Contrast

AFFINE = [Flip(p=1), Flip(p=1, vertical=True), Dihedral(), Rotate(30, p=1), Zoom(0.8, 1.3, p=1), Shift(0.1, p=1)]
SIZE = st.tuples(st.integers(40, 400), st.integers(40, 400))
SEED = st.integers(0, 2**63)


def test_a_matrix_moves_points_as_written():
    assert Homography.translation(3, -2)([[1, 1]]).tolist() == [[4, -1]]
    assert Homography.scaling(2, 3)([[1, 1]]).tolist() == [[2, 3]]
    np.testing.assert_allclose(Homography.rotation(90)([[1, 0]]), [[0, 1]], atol=1e-12)
    np.testing.assert_allclose(Flip(p=1)((20, 100), generator_for(0))([[30, 5]]), [[70, 5]], atol=1e-12)


@given(SIZE, SEED, st.permutations([*AFFINE, Warp(0.4, p=1)]))
def test_inverse_undoes_any_chain(size_hw, seed, moves):
    rng = generator_for(seed)
    chain = Homography().then(*(move(size_hw, rng) for move in moves))
    points = rng.random((9, 2)) * size_hw[::-1]
    np.testing.assert_allclose(chain.inverse(chain(points)), points, atol=1e-3)


@given(SIZE, SEED)
def test_a_stack_moves_each_batch_by_its_own_map(size_hw, seed):
    rng = generator_for(seed)
    maps = [Warp(p=1)(size_hw, rng) for _ in range(4)]
    points = rng.random((4, 3, 2)) * 50
    stacked = Homography.stack(maps)(points)
    for one, before, after in zip(maps, points, stacked, strict=True):
        np.testing.assert_allclose(one(before), after)


def test_missing_points_stay_missing_and_leave_others_alone():
    moved = Homography.rotation(10)([[math.nan, math.nan], [1.0, 2.0]])
    assert np.isnan(moved[0]).all()
    assert np.isfinite(moved[1]).all()


def test_only_mirrors_mirror():
    rng = generator_for(0)
    assert Flip(p=1)((10, 20), rng).is_mirrored
    assert not Rotate(180, p=1)((10, 20), rng).is_mirrored
    assert {bool(Dihedral()((10, 10), generator_for(i)).is_mirrored) for i in range(30)} == {True, False}


def test_dihedral_draws_all_eight():
    seen = {tuple(Dihedral()((4, 4), generator_for(i))(corners_of((4, 4))).ravel()) for i in range(200)}
    assert len(seen) == 8


@pytest.mark.parametrize("move", [*AFFINE, Warp()])
def test_a_move_draws_as_many_values_whatever_it_decides(move):
    assert isinstance(move, Move)
    rest = {p: generator_for(5) for p in (0.0, 1.0)}
    for p, rng in rest.items():
        type(move)(p=p)((30, 40), rng)
    assert rest[0.0].random() == rest[1.0].random()


@given(SIZE, st.sampled_from(["crop", "pad", "squish"]), SEED)
def test_resize_shows_what_its_method_says(size_hw, method, seed):
    height, width = size_hw
    for rng in (None, generator_for(seed)):
        fit = Resize((64, 96), method)
        corners = fit(size_hw, rng)(corners_of(size_hw))
        (left, top), (right, bottom) = corners[0], corners[2]
        shown_w, shown_h = right - left, bottom - top
        if method == "squish":
            np.testing.assert_allclose([left, top, right, bottom], [0, 0, 96, 64], atol=1e-9)
            continue
        assert shown_w / width == pytest.approx(shown_h / height)
        slack = (96 - shown_w, 64 - shown_h)
        assert min(map(abs, slack)) < 1e-9
        assert (max(slack) <= 1e-9) if method == "crop" else (min(slack) >= -1e-9)
        if rng is None:
            assert left + right == pytest.approx(96)
            assert top + bottom == pytest.approx(64)


@given(SIZE, SEED)
def test_a_random_crop_lies_inside_and_has_its_area_and_aspect(size_hw, seed):
    height, width = size_hw
    fit = RandomResizedCrop((50, 80), min_scale=0.3)
    part = fit(size_hw, generator_for(seed)).inverse(corners_of((50, 80)))
    (left, top), (right, bottom) = part[0], part[2]
    assert left >= -1e-6
    assert top >= -1e-6
    assert right <= width + 1e-6
    assert bottom <= height + 1e-6
    share = (right - left) * (bottom - top) / (height * width)
    aspect = (right - left) / (bottom - top) / (80 / 50)
    fallen_back = aspect == pytest.approx(1, abs=1e-6)
    assert fallen_back or (share + 1e-9 >= 0.3 and aspect + 1e-9 >= 3 / 4 and aspect <= 4 / 3 + 1e-9)


def blob(size_hw, centre_xy, sigma=5.0):
    height, width = size_hw
    y, x = np.mgrid[:height, :width] + 0.5
    values = 230 * np.exp(-((x - centre_xy[0]) ** 2 + (y - centre_xy[1]) ** 2) / (2 * sigma**2))
    return np.repeat(np.round(values).astype(np.uint8)[..., None], 3, axis=2)


def centroid(pixels):
    values = pixels[..., 0].astype(float)
    y, x = np.mgrid[: values.shape[0], : values.shape[1]] + 0.5
    return np.array([(values * x).sum(), (values * y).sum()]) / values.sum()


def warped_in_a_batch(image, placement, input_size_hw, pad_mode="reflection"):
    """The path of an accelerator: a window for the batch, and one warp for all of it."""
    part, rest = window(image, placement, input_size_hw, pad_mode)
    other = np.zeros((part.shape[0] + 7, part.shape[1] + 4, 3), np.uint8)  # batches hold windows of any size
    stacked = stack_windows([part, other])
    return warp_batch(stacked, Homography.stack([rest, IDENTITY]), input_size_hw)[0].numpy()


PATHS = [warp, warped_in_a_batch]


@pytest.mark.parametrize("path", PATHS)
@settings(max_examples=60)
@given(SEED, st.lists(st.sampled_from(AFFINE), max_size=3), st.floats(0.35, 1.6))
def test_a_drawn_blob_and_its_point_agree_after_any_affine_chain(path, seed, moves, scale):
    rng = generator_for(seed)
    size_hw, input_size_hw = (200, 240), (round(200 * scale), round(240 * scale))
    centre = rng.uniform(90, 110, 2)
    placement = Resize(input_size_hw, "squish")(size_hw).then(*(move(input_size_hw, rng) for move in moves))
    expected = placement([centre])[0]
    if not (0.2 < expected[0] / input_size_hw[1] < 0.8 and 0.2 < expected[1] / input_size_hw[0] < 0.8):
        return
    image = blob(size_hw, centre)
    offset = centroid(image) - centre
    shown = path(image, placement, input_size_hw, "border")  # a reflection would show a second blob
    np.testing.assert_allclose(centroid(shown), expected + offset * scale, atol=0.05)


@pytest.mark.parametrize("path", PATHS)
@settings(max_examples=40)
@given(SEED, st.lists(st.sampled_from(AFFINE), max_size=2), st.floats(0.7, 1.4))
def test_in_perspective_a_blob_lies_where_it_is_rendered_through_the_same_matrix(path, seed, moves, scale):
    """Perspective moves a centroid by itself, so the blob is also rendered by asking every canvas pixel's source."""
    rng = generator_for(seed)
    size_hw, input_size_hw = (200, 240), (round(200 * scale), round(240 * scale))
    centre = rng.uniform(90, 110, 2)
    chain = [*moves, Warp(0.3, p=1)]
    placement = Resize(input_size_hw, "squish")(size_hw).then(*(move(input_size_hw, rng) for move in chain))
    expected = placement([centre])[0]
    seen = placement.inverse(corners_of(input_size_hw))
    mirrored = (seen < -70).any() or (seen > (310, 270)).any()  # far beyond the border the blob is seen once more
    if mirrored or not (0.25 < expected[0] / input_size_hw[1] < 0.75 and 0.25 < expected[1] / input_size_hw[0] < 0.75):
        return
    height, width = input_size_hw
    fine = 4
    y, x = (np.mgrid[: height * fine, : width * fine] + 0.5) / fine
    source = placement.inverse(np.stack([x.ravel(), y.ravel()], axis=1)).reshape(height * fine, width * fine, 2)
    values = np.exp(-((source - centre) ** 2).sum(axis=2) / (2 * 5.0**2))
    analytic = np.array([(values * x).sum(), (values * y).sum()]) / values.sum()
    image = blob(size_hw, centre)
    np.testing.assert_allclose(centroid(path(image, placement, input_size_hw)), analytic, atol=0.05)


@settings(max_examples=40)
@given(SEED, SIZE, st.sampled_from([Resize((90, 120)), Resize((70, 60), "pad"), RandomResizedCrop(80, 0.2)]))
def test_both_paths_show_the_same_interior_pixels(seed, size_hw, fit):
    """Both see the same reduced pixels through the same matrix, also where the canvas looks beyond the image."""
    rng = generator_for(seed)
    noise = rng.integers(0, 256, (*size_hw, 3), dtype=np.uint8)
    image = cv2.GaussianBlur(noise, (0, 0), 2)
    image = ((image.astype(float) - 100) * 4).clip(0, 255).astype(np.uint8)
    chain = [Flip(), Warp(0.3), Rotate(20), Zoom(0.9, 1.3)]
    placement = fit(size_hw, rng).then(*(move(fit.input_size_hw, rng) for move in chain))
    here, there = (path(image, placement, fit.input_size_hw)[2:-2, 2:-2].astype(int) for path in PATHS)
    assert np.abs(here - there).mean() < 0.5


def zone_plate(size):
    """Rings whose frequency grows from the centre to half a cycle a pixel at the sides."""
    y, x = np.mgrid[:size, :size] + 0.5 - size / 2
    values = 127.5 + 127.5 * np.cos(np.pi * (x**2 + y**2) / size)
    return np.repeat(np.round(values).astype(np.uint8)[..., None], 3, axis=2)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("factor", [1.5, 1.8, 3])
def test_shrinking_a_zone_plate_is_as_free_of_false_rings_as_pillows_area(path, factor):
    """Where the rings are finer than the canvas can show, an honest answer is even grey: what varies is false."""
    size, new = 360, round(360 / factor)
    plate = zone_plate(size)
    shown = path(plate, Homography.scaling(1 / factor, 1 / factor), (new, new)).astype(float)
    pillow = Image.fromarray(plate)
    area, lanczos = (
        np.asarray(pillow.resize((new, new), how)).astype(float)
        for how in (Image.Resampling.BOX, Image.Resampling.LANCZOS)
    )
    plain = cv2.resize(plate, (new, new), interpolation=cv2.INTER_LINEAR)
    y, x = np.mgrid[:new, :new] + 0.5 - new / 2
    too_fine = np.hypot(x, y) * factor / size > 0.5 / factor * 1.25
    false_rings = shown[too_fine].std()
    assert false_rings <= area[too_fine].std() + 0.1
    assert false_rings < 0.75 * plain[too_fine].std()
    coarse = np.hypot(x, y) * factor / size < 0.25 / factor
    assert np.abs(shown - lanczos)[coarse].mean() < 8  # and rings that can be shown stay
    if factor == 3:
        assert np.abs(shown - area).mean() < 0.5


def test_an_identity_and_a_whole_pixel_shift_copy_pixels():
    image = np.random.default_rng(0).integers(0, 255, (30, 40, 3), dtype=np.uint8)
    np.testing.assert_array_equal(warp(image, Homography(), (30, 40)), image)
    np.testing.assert_array_equal(warp(image, Homography.translation(-3, -5), (10, 12)), image[5:15, 3:15])


def test_what_lies_beyond_the_border_is_reflected():
    image = np.arange(5 * 6 * 3, dtype=np.uint8).reshape(5, 6, 3)
    shown = warp(image, Homography.translation(2, 1), (7, 10))
    np.testing.assert_array_equal(shown, cv2.copyMakeBorder(image, 1, 1, 2, 2, cv2.BORDER_REFLECT))


@settings(max_examples=300)
@given(st.lists(st.one_of(st.floats(), st.floats(-2, 2), st.sampled_from([0.0, 1.0])), min_size=9, max_size=9))
def test_any_numbers_for_a_map_give_an_image(numbers):
    """Maps that cannot be undone, of no numbers at all, or with a horizon in sight: something is shown, and no more."""
    image = np.full((20, 30, 3), 90, np.uint8)
    weird = Homography(np.array(numbers).reshape(3, 3))
    for mode in ("reflection", "border"):
        assert (warp(image, weird, (12, 16), mode) == 90).all()
        window(image, weird, (12, 16), mode)
    assert warp(image, weird, (12, 16), "zeros").shape == (12, 16, 3)


def test_beyond_a_horizon_lies_the_border():
    image = np.full((40, 40, 3), 90, np.uint8)
    tilted = Homography(np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, -0.02, 1.0]]))
    behind = Homography(np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.05, 1.0]])).inverse
    assert (warp(image, tilted, (40, 40), "border") == 90).all()
    shown = warp(image, behind.then(Homography.translation(0, 30)), (40, 40), "zeros")
    assert (shown[:8] == 0).all()
    assert (shown[32:35, 1:10] == 90).all()


def test_wrong_arguments_are_named():
    with pytest.raises(UnknownNameError, match="Did you mean `crop`"):
        Resize(10, "crops")
    with pytest.raises(InputError, match="min_scale"):
        RandomResizedCrop(10, min_scale=0)
    with pytest.raises(InputError, match="probability"):
        Flip(p=2)


@pytest.mark.parametrize("size", ["224", (224,), (1, 2, 3), 224.0, (32, 1.5), True, None, 0, (8, -1), {"h": 8}])
@pytest.mark.parametrize("resize", [Resize, RandomResizedCrop, RandomCrop, CropPad])
def test_a_size_is_one_or_two_whole_numbers(resize, size):
    with pytest.raises(InputError, match=rf"each at least 1; got {re.escape(repr(size))}"):
        resize(size)


def test_a_size_may_be_numpys_or_in_a_list():
    assert Resize(np.int64(8)).input_size_hw == Resize([8, 8]).input_size_hw == (8, 8)


NOT_PROBABILITIES = [5, -0.1, "0.5", None, float("nan")]
NOT_EXTENTS = [-5, "10", None, float("inf")]


@pytest.mark.parametrize("p", NOT_PROBABILITIES)
@pytest.mark.parametrize("kind", [Flip, Dihedral, Rotate, Zoom, Shift, Warp, Brightness, Contrast])
def test_a_probability_of_a_move_or_a_tone_is_one(kind, p):
    with pytest.raises(InputError, match=r"`p` is a probability between 0 and 1; got "):
        kind(p=p)


@pytest.mark.parametrize("value", NOT_EXTENTS)
@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (Rotate, "max_degrees"),
        (Shift, "max_share"),
        (Warp, "magnitude"),
        (Zoom, "min_zoom"),
        (Zoom, "max_zoom"),
        (Brightness, "max_lighting"),
        (Contrast, "max_lighting"),
        *(
            (aug_transforms, name)
            for name in ("mult", "max_rotate", "max_warp", "max_lighting", "min_zoom", "max_zoom")
        ),
    ],
)
def test_how_far_a_move_or_a_tone_goes_is_a_number_in_its_bounds(kind, name, value):
    with pytest.raises(InputError, match=f"{name}.*got"):
        kind(**{name: value})


@pytest.mark.parametrize("p", NOT_PROBABILITIES)
@pytest.mark.parametrize("name", ["p_affine", "p_lighting"])
def test_probabilities_of_the_recipe_are_named(name, p):
    with pytest.raises(InputError, match=f"`{name}` is a probability between 0 and 1; got "):
        aug_transforms(**{name: p})


@pytest.mark.parametrize("ratio", [(2, 0), (2, 1), (0, 1), (1,), 1, "12", (1, float("inf"))])
def test_aspects_of_a_random_crop_are_two_in_order(ratio):
    with pytest.raises(InputError, match="`ratio` is the least and the greatest"):
        RandomResizedCrop(32, ratio=ratio)


def test_a_zoom_that_is_wanted_is_never_left_out():
    for options in ({"min_zoom": 1.2}, {"max_zoom": 0.8}, {"min_zoom": 1.2, "p_affine": 0}):
        with pytest.raises(InputError, match="min_zoom <= max_zoom"):
            aug_transforms(**options)
    assert Zoom(1.2, 1.2, 0.75) in aug_transforms(min_zoom=1.2, max_zoom=1.2)
    assert not any(isinstance(step, Zoom) for step in aug_transforms(max_zoom=1.0))
    with pytest.raises(InputError, match="`min_scale` must be"):
        aug_transforms(size=32, min_scale=3)


def test_further_transforms_may_be_one_several_or_none():
    alone = aug_transforms(do_flip=False)
    assert aug_transforms(do_flip=False, xtra_tfms=Flip()) == [*alone, Flip()]
    assert aug_transforms(do_flip=False, xtra_tfms=[Flip(), Shift()]) == [*alone, Flip(), Shift()]
    assert aug_transforms(do_flip=False, xtra_tfms=None) == alone


def test_names_of_version_0_1_still_work_with_a_warning():
    for name in [name for name in sys.modules if name.startswith("foveal.geometry.fit")]:
        del sys.modules[name]
    with pytest.warns(DeprecationWarning, match=r"`foveal.geometry.fit` is now `foveal.geometry.resize`"):
        old = importlib.import_module("foveal.geometry.fit")
    assert (old.Resize, old.Fit) == (Resize, ResizeStep)
    prepared = Preparation(Resize(4), UNCHANGED).image(np.zeros((8, 8, 3), np.uint8))
    with pytest.warns(DeprecationWarning, match="`placement` is now `source_to_input`"):
        assert prepared.placement is prepared.source_to_input
