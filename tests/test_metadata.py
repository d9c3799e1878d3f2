"""Metadata never decides whether an image is read; what is no image is named; deep grey has one rule; see docs/your-data."""

import contextlib
import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageCms, ImageFile, ImageOps

from foveal.audit.checks import audit
from foveal.core.errors import ImageError, InputError
from foveal.images.decode import decode, open_image
from foveal.images.means import reduction_factor
from foveal.images.png import SIGNATURE, split_png
from foveal.sources.items import Item, Source

FORMATS = {
    "JPEG": {"quality": 90},
    "PNG": {},
    "WEBP": {"lossless": True},
    "AVIF": {"quality": 100},
    "TIFF": {},
}


def photo(width=41, height=26):
    y, x = np.mgrid[:height, :width]
    return Image.fromarray(np.stack([x * 6, y * 9, (x + y) * 3], axis=2).astype(np.uint8))


def encoded(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def exif_block(order, orientation, *, magic=42, entries=3):
    """A block of EXIF as cameras write it, with the orientation among other entries."""
    kind = {"little": ("<", b"II"), "big": (">", b"MM")}[order]
    tags = [(0x010F, 2, 4, 0x41424300), (0x0112, 3, 1, orientation), (0x0131, 2, 4, 0x41424300)][:entries]
    head = kind[1] + struct.pack(f"{kind[0]}HI", magic, 8) + struct.pack(f"{kind[0]}H", len(tags))
    body = b""
    for tag, type_, count, value in tags:
        packed = struct.pack(f"{kind[0]}HH", value, 0) if type_ == 3 else struct.pack(f"{kind[0]}I", value)
        body += struct.pack(f"{kind[0]}HHI", tag, type_, count) + packed
    return b"Exif\0\0" + head + body + b"\0\0\0\0"


def chunk(kind, content, crc=None):
    checksum = zlib.crc32(kind + content) if crc is None else crc
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)


def with_exif(kind, block):
    """Return an image of a format with these bytes as its EXIF, whatever they are."""
    data = encoded(photo(), kind, **FORMATS[kind])
    if kind == "JPEG":
        return data[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + data[2:]
    if kind == "PNG":
        at = data.index(b"IDAT") - 4
        return data[:at] + chunk(b"eXIf", block.removeprefix(b"Exif\0\0")) + data[at:]
    return encoded(photo(), kind, exif=block, **FORMATS[kind])


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("order", ["little", "big"])
@pytest.mark.parametrize("magic", [42, 43])
def test_exif_cut_at_any_byte_leaves_the_image_as_it_is(kind, order, magic):
    """Where the block still says how the image is turned it is turned, and else not; it is always read."""
    block = exif_block(order, 6, magic=magic)
    stored = decode(encoded(photo(), kind, **FORMATS[kind]))
    turned = np.rot90(stored, 3)
    for length in range(6, len(block) + 1):
        found = decode(with_exif(kind, block[:length]))
        assert np.array_equal(found, stored) or (magic == 42 and np.array_equal(found, turned)), length
    assert np.array_equal(found, turned) == (magic == 42)


@given(st.data())
def test_exif_with_any_bytes_changed_is_read(data):
    block = bytearray(exif_block(data.draw(st.sampled_from(["little", "big"])), 3))
    for _ in range(data.draw(st.integers(1, 6))):
        block[data.draw(st.integers(6, len(block) - 1))] = data.draw(st.integers(0, 255))
    kind = data.draw(st.sampled_from(["JPEG", "PNG"]))
    opened = open_image(with_exif(kind, bytes(block)))
    assert opened.decode().pixels.shape[:2] == opened.size_hw
    assert sorted(opened.size_hw) == [26, 41]


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_format_stands_upright_once(kind, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    more = {"tiffinfo": {0x0112: orientation}} if kind == "TIFF" else {"exif": exif}
    opened = open_image(encoded(photo(), kind, **FORMATS[kind], **more))
    tagged = photo()
    tagged.getexif()[0x0112] = orientation
    expected = np.asarray(ImageOps.exif_transpose(tagged)).astype(int)
    pixels = opened.decode().pixels
    assert opened.size_hw == pixels.shape[:2] == expected.shape[:2]
    assert np.abs(pixels - expected).mean() < 6


def png_with(*chunks):
    data = encoded(photo(), "PNG")
    at = data.index(b"IDAT") - 4
    return data[:at] + b"".join(chunks) + data[at:]


PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
BROKEN = {
    "a text that unpacks to 80 MB": chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(80 << 20))),
    "many long texts": b"".join(chunk(b"tEXt", b"k%d\0" % at + b"x" * 900_000) for at in range(80)),
    "a packed text that is cut": chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"text")[:-5]),
    "an international text without parts": chunk(b"iTXt", b"XML:com.adobe.xmp"),
    "a profile that is cut": chunk(b"iCCP", b"sRGB\0\0" + zlib.compress(PROFILE)[:-30]),
    "a profile of nothing": chunk(b"iCCP", b""),
    "EXIF of one byte": chunk(b"eXIf", b"I"),
    "a wrong checksum": chunk(b"tEXt", b"Comment\0hello", crc=7),
    "a time of two bytes": chunk(b"tIME", b"ab"),
    "a gamma of one byte": chunk(b"gAMA", b"a"),
    "a transparency in a private chunk": chunk(b"prVt", b"\0\0"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_metadata_of_a_png_is_left_aside(case):
    assert np.array_equal(decode(png_with(BROKEN[case])), np.asarray(photo()))


def test_no_chunk_of_pixels_is_taken_for_metadata():
    """Whatever byte of a PNG is changed, it is refused or has the same pixels."""
    image = photo().convert("P")
    image.info["transparency"] = 3
    data = encoded(image, "PNG", transparency=3)
    expected = decode(data)
    for at in range(len(SIGNATURE), len(data)):
        for change in (1, 32, 128):
            changed = bytearray(data)
            changed[at] ^= change
            with contextlib.suppress(ImageError):
                assert np.array_equal(decode(bytes(changed)), expected), (at, change)


@given(st.binary(max_size=300))
def test_parts_of_a_png_are_found_or_refused(tail):
    try:
        parts = split_png(SIGNATURE + tail)
    except ValueError:
        return
    assert parts.pixels.startswith(SIGNATURE)


def test_opening_a_png_decodes_nothing(monkeypatch):
    data = encoded(photo(), "PNG", exif=Image.Exif())
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda _: pytest.fail("it was decoded"))
    assert open_image(data).size_hw == (26, 41)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\x00\x00\x00\x0cjP  \r\n\x87\n" + bytes(40), "JPEG 2000"),
        (b"\xff\x0a\x00\x10" + bytes(40), "JPEG XL"),
        (b"\x00\x00\x00\x0cJXL \r\n\x87\n" + bytes(40), "JPEG XL"),
        (b"8BPS\0\1" + bytes(40), "Photoshop"),
        (bytes(128) + b"DICM" + bytes(40), "DICOM"),
        (b"%PDF-1.7\n" + bytes(40), "PDF"),
        (b"PK\x03\x04" + bytes(40), "ZIP"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "git lfs pull"),
        (bytes(5000), "nothing but zeros"),
        (b"\0\5\x16\7\0\2\0\0Mac OS X        " + bytes(40), "AppleDouble"),
        (b"<!DOCTYPE html><html>", "HTML"),
        (b'<?xml version="1.0"?><svg xmlns="x"/>', "SVG"),
        (b'<?xml version="1.0"?><Error><Code>NoSuchKey</Code></Error>', "XML"),
        (b'{"message": "not found"}', "JSON"),
        (b"\x00\x00\x00\x18ftypisom" + bytes(40), "video"),
        (b"plain text", "text"),
        ("größe".encode(), "text"),
    ],
)
def test_what_is_no_image_is_named(data, reason):
    with pytest.raises(ImageError, match=reason):
        open_image(data)


def test_an_avif_under_another_brand_is_read():
    data = encoded(photo(), "AVIF", quality=100)
    length = int.from_bytes(data[:4])
    brands = b"mif1" + data[12:16] + b"avif" + data[16:length]
    renamed = struct.pack(">I", 8 + len(brands)) + b"ftyp" + brands + data[length:]
    assert open_image(renamed).format == "AVIF"


def test_files_with_several_images_are_noted(tmp_path, monkeypatch):
    monkeypatch.setenv("FOVEAL_HOME", str(tmp_path / "home"))
    pages = [photo(), photo().rotate(180), photo().rotate(90, expand=True)]
    pages[0].save(tmp_path / "pages.tif", save_all=True, append_images=pages[1:])
    pages[0].save(tmp_path / "moving.png", save_all=True, append_images=pages[1:2])
    pages[0].save(tmp_path / "both.mpo", save_all=True, append_images=pages[1:2])
    for name in ("pages.tif", "moving.png", "both.mpo"):
        assert np.abs(decode(tmp_path / name).astype(int) - np.asarray(photo())).mean() < 3
    items = [Item(tmp_path / name, "x", None, name) for name in ("both.mpo", "moving.png", "pages.tif")]
    found = [f.where for f in audit(Source("x", "single-label", items)).findings if "several frames" in f.rule]
    assert found == ["both.mpo", "moving.png", "pages.tif"]


# Grey of more than 8 bits


def tiff(values, mode=None):
    return encoded(Image.fromarray(values, mode) if mode else Image.fromarray(values), "TIFF")


def test_sixteen_bits_are_scaled_by_one_number_whatever_the_image_holds():
    dark, light = (np.full((20, 30), value, np.uint16) for value in (4095, 40_000))
    assert decode(tiff(dark))[0, 0, 0] == round(4095 * 255 / 65535)
    assert decode(tiff(light))[0, 0, 0] == round(40_000 * 255 / 65535)


@pytest.mark.parametrize("white", [1.0, 255.0, 65535.0])
@pytest.mark.parametrize("kind", [np.float32, np.int32])
def test_thirty_two_bits_have_the_usual_white_that_holds_them(white, kind):
    if white == 1.0 and kind is np.int32:
        return
    values = np.linspace(white * 0.3, white * 0.9, 600).reshape(20, 30).astype(kind)
    opened = open_image(tiff(values)).decode()
    assert opened.guessed_white == white
    np.testing.assert_allclose(opened.pixels[..., 0], values * (255 / white), atol=1.0)


def test_white_can_be_stated(monkeypatch):
    monkeypatch.setenv("FOVEAL_WHITE", "4095")
    values = np.linspace(0, 4095, 600).reshape(20, 30).astype(np.uint16)
    np.testing.assert_allclose(decode(tiff(values))[..., 0], values * (255 / 4095), atol=1.0)
    monkeypatch.setenv("FOVEAL_WHITE", "bright")
    with pytest.raises(InputError, match="FOVEAL_WHITE must be a number"):
        decode(tiff(values))


def test_white_that_differs_between_images_is_a_finding(tmp_path, monkeypatch):
    monkeypatch.setenv("FOVEAL_HOME", str(tmp_path))
    items = []
    for at, most in enumerate((0.9, 0.8, 200.0)):
        file = tmp_path / f"{at}.tif"
        file.write_bytes(tiff(np.random.default_rng(at).uniform(0, most, (40, 40)).astype(np.float32)))
        items.append(Item(file, "x", None, file.name))
    (found,) = [f for f in audit(Source("x", "single-label", items)).findings if "white" in f.rule]
    assert (found.level, found.value) == ("warning", "2 with 1, 1 with 255")


def test_min_is_white_is_turned_over():
    values = np.linspace(0, 65535, 600).reshape(20, 30).astype(np.uint16)
    data = bytearray(tiff(values))
    at = data.index(struct.pack("<HHI", 262, 3, 1))
    data[at + 8 : at + 10] = struct.pack("<H", 0)
    np.testing.assert_allclose(decode(bytes(data))[..., 0], 255 - values / 257, atol=1.0)


# Large images, and small ones of large ones


def test_a_jpeg_over_the_limit_is_read_smaller(monkeypatch):
    data = encoded(photo(400, 300), "JPEG", quality=95)
    monkeypatch.setenv("FOVEAL_MAX_PIXELS", "40_000")
    opened = open_image(data)
    decoded = opened.decode()
    assert opened.size_hw == (300, 400)
    assert decoded.pixels.shape == (150, 200, 3)
    np.testing.assert_allclose(decoded.source_to_decoded(np.array([[400.0, 300.0]])), [[200, 150]])
    for kind, more in (("PNG", {}), ("JPEG", {"progressive": True})):
        with pytest.raises(ImageError, match="400 x 300 pixels are more than the limit of 40,000"):
            open_image(encoded(photo(400, 300), kind, **more)).decode()
    monkeypatch.setenv("FOVEAL_MAX_PIXELS", "many")
    with pytest.raises(InputError, match="FOVEAL_MAX_PIXELS must be a whole number"):
        open_image(data)


@pytest.mark.parametrize("scale", [0.5, 0.3, 0.2, 0.1])
@pytest.mark.parametrize("orientation", [1, 6])
def test_an_image_is_reduced_alike_in_every_form(scale, orientation, scenes):
    """As a JPEG and as its pixels, bit for bit, and with the same map; where its decoder does it, within rounding."""
    file = min((scenes / "scenes").glob("*.jpg"))
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = Image.open(file).convert("RGB").resize((208, 160))
    data = encoded(image, "JPEG", quality=95, subsampling=0, exif=exif)
    opened = open_image(data)
    from_jpeg, quick = opened.decode(scale), opened.decode(scale, quick=True)
    assert quick.pixels.shape == from_jpeg.pixels.shape
    assert 0 < np.abs(quick.pixels.astype(int) - from_jpeg.pixels).mean() < 1
    whole = Image.open(io.BytesIO(data))
    for other in (whole, encoded(whole, "PNG", exif=exif), np.asarray(ImageOps.exif_transpose(whole))):
        found = open_image(other).decode(scale)
        assert np.array_equal(found.pixels, from_jpeg.pixels)
        places = np.array([[3.0, 5.0], [100, 60]])
        np.testing.assert_allclose(found.source_to_decoded(places), from_jpeg.source_to_decoded(places), atol=1e-9)
    assert from_jpeg.pixels.shape[0] == -(-opened.size_hw[0] // reduction_factor(scale))


def test_an_image_inside_the_json_of_labelme_is_read(tmp_path):
    import base64
    import json

    data = encoded(photo(), "PNG")
    file = Path(tmp_path / "a.json")
    file.write_text(json.dumps({"shapes": [], "imageData": base64.b64encode(data).decode()}))
    assert np.array_equal(decode(file), np.asarray(photo()))
    file.write_text(json.dumps({"shapes": [], "imageData": None}))
    with pytest.raises(ImageError, match="JSON, not an image"):
        decode(file)
