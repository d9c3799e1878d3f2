"""One strict decoder: what is accepted comes out right, what is damaged is refused by name."""

import io

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps

from foveal.core.errors import ImageError
from foveal.geometry.homography import corners_of
from foveal.images.canvas import sheet, small_copy
from foveal.images.decode import MAX_PIXELS, decode, open_image
from foveal.images.pil import PILImage


def photo(width=75, height=50):
    y, x = np.mgrid[:height, :width]
    return Image.fromarray(np.stack([x * 3, y * 4, (x + y) * 2], axis=2).astype(np.uint8))


def encoded(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "BMP", "GIF", "TIFF", "WEBP", "PPM", "AVIF", "JPEG"])
def test_every_format_comes_out_as_pillow_shows_it(kind):
    lossless = {"WEBP": {"lossless": True}, "AVIF": {"quality": 100}, "JPEG": {"quality": 95}}.get(kind, {})
    data = encoded(photo(), kind, **lossless)
    expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    difference = np.abs(decode(data).astype(int) - expected)
    assert difference.max() <= (1 if kind == "JPEG" else 0)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("scale", [1.0, 0.5, 0.25])
def test_a_image_stands_upright_and_its_map_says_where_everything_went(kind, orientation, scale):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(photo(75, 51), kind, exif=exif)
    upright = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")).astype(float)
    opened = open_image(data)
    assert opened.size_hw == upright.shape[:2]
    decoded = opened.decode(scale)
    corners = decoded.source_to_decoded(corners_of(opened.size_hw))
    # Sample both images at the same source places: they show the same colour.
    places = np.random.default_rng(0).uniform(12, 38, (20, 2))
    there = decoded.source_to_decoded(places)
    for (x, y), (u, v) in zip(places, there, strict=True):
        expected, found = upright[int(y), int(x)], decoded.pixels[int(v), int(u)]
        np.testing.assert_allclose(found, expected, atol=24 / scale / 2)
    assert np.ptp(corners, axis=0) == pytest.approx(np.array(opened.size_hw[::-1]) * scale)


@pytest.mark.parametrize("scale", [1.0, 0.4, 0.1])
@pytest.mark.parametrize("progressive", [False, True])
def test_a_truncated_jpeg_is_refused_at_every_scale(scale, progressive):
    data = encoded(photo(300, 200), "JPEG", progressive=progressive)
    for cut in (len(data) // 2, int(len(data) * 0.99), len(data) - 2):
        with pytest.raises(ImageError, match=r"damaged|header"):
            open_image(data[:cut]).decode(scale)


def test_a_truncated_or_changed_png_is_refused():
    data = encoded(photo(), "PNG")
    changed = bytearray(data)
    changed[len(data) // 2] ^= 0xFF
    for bad in (data[: len(data) // 2], bytes(changed)):
        with pytest.raises(ImageError, match="damaged"):
            decode(bad)


def test_grey_palette_transparency_and_deep_images_become_rgb():
    grey = photo().convert("L")
    np.testing.assert_array_equal(decode(encoded(grey, "PNG"))[..., 0], np.asarray(grey))
    clear = Image.new("RGBA", (4, 4), (0, 0, 0, 0))
    assert (decode(encoded(clear, "PNG")) == 255).all()
    deep = np.array([[0, 257 * 100, 65535]], dtype=np.uint16)
    assert decode(encoded(Image.fromarray(deep), "PNG"))[0, :, 0].tolist() == [0, 100, 255]
    one_bit = Image.fromarray(np.array([[0, 255]], dtype=np.uint8)).convert("1")
    assert decode(encoded(one_bit, "PNG"))[0, :, 0].tolist() == [0, 255]
    cmyk = decode(encoded(photo().convert("CMYK"), "JPEG", quality=98))
    assert np.abs(cmyk.astype(int) - np.asarray(photo())).mean() < 6


def test_colours_of_a_profile_become_srgb():
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
    plain = photo()
    assert (decode(encoded(plain, "PNG", icc_profile=profile.tobytes())) == np.asarray(plain)).all()  # not for RGB
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    np.testing.assert_array_equal(decode(encoded(plain, "PNG", icc_profile=srgb)), np.asarray(plain))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"<!DOCTYPE html><html>", "HTML"),
        (b"just text", "text, not an image"),
        (b"\x00\x01\x02\xff" * 30, "not an image"),
        (b"\xff\xd8\xff\xe0", "header is damaged"),
    ],
)
def test_what_is_no_image_is_named(tmp_path, content, reason):
    file = tmp_path / "x.jpg"
    file.write_bytes(content)
    with pytest.raises(ImageError, match=reason) as caught:
        decode(file)
    assert caught.value.path == str(file)


def test_paths_that_lead_nowhere_are_named(tmp_path):
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "link.jpg").symlink_to(tmp_path / "gone")
    for name, reason in (("none.jpg", "no such file"), ("folder.jpg", "folder"), ("link.jpg", "link")):
        with pytest.raises(ImageError, match=reason):
            decode(tmp_path / name)


def test_a_bomb_is_refused_by_its_header():
    jpeg = bytearray(encoded(photo(), "JPEG"))
    at = jpeg.index(b"\xff\xc0")
    jpeg[at + 5 : at + 9] = (65000).to_bytes(2) * 2
    png = encoded(Image.new("1", (12000, 12000)), "PNG")
    assert MAX_PIXELS < 12000 * 12000
    for data in (bytes(jpeg), png):
        with pytest.raises(ImageError, match="limit"):
            open_image(data)


def test_arrays_are_checked():
    assert decode(np.zeros((3, 4), np.uint8)).shape == (3, 4, 3)
    with pytest.raises(ImageError, match="uint8"):
        decode(np.zeros((3, 4), np.float32))
    with pytest.raises(ImageError, match="shape"):
        decode(np.zeros((3, 4, 2), np.uint8))
    with pytest.raises(ImageError, match="expected a path"):
        decode(3)


def test_a_image_prints_its_kind():
    image = PILImage.create(photo(40, 30))
    assert repr(image) == "PILImage mode=RGB size=40x30"
    assert image.shape == (30, 40)
    assert image.to_thumb(20).size == (20, 15)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_small_copy_is_drawn_in_the_coordinates_of_the_image(kind):
    large = np.zeros((1800, 2600, 3), np.uint8)
    large[900:1000, 1300:1500] = 255
    copy = small_copy(encoded(Image.fromarray(large), kind))
    assert copy.size_hw == (1800, 2600)
    assert copy.pixels.shape == (900, 1300, 3)
    figure = sheet([copy, large], lambda canvas, _: canvas.points(np.array([[1400.0, 950.0]]), "red", "o"))
    for axes in figure.axes:
        assert (axes.get_xlim(), axes.get_ylim()) == ((0, 2600), (1800, 0))
        image = axes.images[0]
        left, right, bottom, top = image.get_extent()
        pixels = np.asarray(image.get_array())
        column, row = (1400 - left) / (right - left), (950 - top) / (bottom - top)
        assert pixels[int(row * pixels.shape[0]), int(column * pixels.shape[1])].min() > 200


def test_a_small_image_is_its_own_copy():
    image = np.arange(30 * 40 * 3, dtype=np.uint8).reshape(30, 40, 3)
    copy = small_copy(image)
    assert copy.size_hw == (30, 40)
    assert np.array_equal(copy.pixels, image)
