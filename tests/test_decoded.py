"""Decoded images are kept in files: the same pixels to the bit, whole or not at all, within a size."""

import itertools
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from foveal.core.errors import ImageError, InputError
from foveal.data.decoding_cost import DecodingCost, decoding_cost
from foveal.images.decode import open_image
from foveal.images.decoded import DecodedImages
from foveal.vision.all import CategoryBlock, ColReader, ColSplitter, DataBlock, ImageBlock, RandomResizedCrop

SCALES = (1.0, 0.6, 0.5, 0.3, 0.2, 0.1)
MIB = 1 << 20


def written(folder, name, size_wh=(90, 61), mode="RGB", **options):
    channels = {"RGB": 3, "RGBA": 4, "L": 0}[mode]
    shape = (size_wh[1], size_wh[0], *([channels] if channels else []))
    pixels = np.random.default_rng(len(name)).integers(0, 256, shape, dtype=np.uint8)
    Image.fromarray(pixels).save(folder / name, **options)
    return folder / name


def turned():
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


def same(one, other):
    return (
        np.array_equal(one.pixels, other.pixels)
        and np.array_equal(one.source_to_decoded.matrix, other.source_to_decoded.matrix)
        and one.guessed_white == other.guessed_white
    )


@pytest.fixture
def files(tmp_path):
    return [
        written(tmp_path, "plain.jpg"),
        written(tmp_path, "turned.jpg", exif=turned()),
        written(tmp_path, "alpha.png", mode="RGBA"),
        written(tmp_path, "grey.tif", mode="L"),
        written(tmp_path, "one.bmp", (1, 1)),
    ]


@pytest.mark.parametrize("n_channels", [1, 3])
def test_what_is_kept_is_what_decoding_gives_to_the_bit(files, tmp_path, n_channels):
    for _ in range(2):  # written, then found by another process
        kept = DecodedImages(tmp_path / "kept", 64 * MIB)
        for file in files:
            plain = open_image(file, n_channels)
            for _ in range(2):  # its first use, and those from memory
                opened = kept.open(file, n_channels)
                assert (opened.size_hw, opened.name, opened.format) == (plain.size_hw, plain.name, plain.format)
                for scale, quick in itertools.product(SCALES, (False, True)):
                    assert same(opened.decode(scale, quick=quick), plain.decode(scale, quick=quick))


def test_an_image_is_decoded_once_for_each_of_its_scales(files, tmp_path, monkeypatch):
    DecodedImages(tmp_path / "kept", 64 * MIB).open(files[0]).decode(1.0)
    kept = DecodedImages(tmp_path / "kept", 64 * MIB)
    monkeypatch.setattr("foveal.images.decode.simplejpeg.decode_jpeg", None)
    kept.open(files[0]).decode(1.0)
    with pytest.raises((ImageError, TypeError)):
        kept.open(files[0]).decode(0.4)


def test_a_changed_file_is_another_image(files, tmp_path):
    kept = DecodedImages(tmp_path / "kept", 64 * MIB)
    kept.open(files[0]).decode()
    files[0].write_bytes(written(tmp_path, "another name.jpg").read_bytes())
    assert same(kept.open(files[0]).decode(), open_image(files[0]).decode())


def test_a_damaged_entry_is_made_anew(files, tmp_path):
    plain = open_image(files[0]).decode()
    DecodedImages(tmp_path / "kept", 64 * MIB).open(files[0]).decode()
    (entry,) = (one for one in (tmp_path / "kept").glob("*/*") if one.is_file())
    whole = entry.read_bytes()
    for damaged in (b"", whole[:60], whole[:-1], whole[:-1] + bytes([whole[-1] ^ 1]), b"x" + whole[1:]):
        entry.write_bytes(damaged)
        assert same(DecodedImages(tmp_path / "kept", 64 * MIB).open(files[0]).decode(), plain)
        assert entry.read_bytes() == whole


def test_all_stay_within_the_size_and_what_is_in_use_is_not_thrown_away(tmp_path):
    files = [written(tmp_path, f"{'x' * at}.png", (64, 64)) for at in range(1, 9)]
    each = 64 * 64 * 3 + 128
    folder = tmp_path / "kept"

    def n_bytes():
        return sum(one.stat().st_size for one in folder.glob("*/*"))

    first = DecodedImages(folder, 4 * each)
    assert all(same(first.open(file).decode(), open_image(file).decode()) for file in files)
    assert n_bytes() == 4 * each
    kept_first = set(folder.glob("*/*"))
    for entry in kept_first:
        os.utime(entry, (0, 0))
    second = DecodedImages(folder, 4 * each)
    assert all(same(second.open(file).decode(), open_image(file).decode()) for file in files[4:])
    assert n_bytes() == 4 * each
    assert not kept_first & set(folder.glob("*/*"))


def test_what_is_refused_is_refused_as_always(tmp_path):
    kept = DecodedImages(tmp_path / "kept", MIB)
    (tmp_path / "empty.jpg").write_bytes(b"")
    for bad in (tmp_path / "none.jpg", tmp_path / "empty.jpg", tmp_path):
        with pytest.raises(ImageError) as here:
            kept.open(bad)
        with pytest.raises(ImageError) as there:
            open_image(bad)
        assert str(here.value) == str(there.value)


def loaders_of(files, **options):
    frame = pd.DataFrame(
        {
            "fname": files,
            "label": ["a", "b"] * (len(files) // 2),
            "is_valid": [False, False, True, True] * (len(files) // 4),
        }
    )
    block = DataBlock(
        (ImageBlock, CategoryBlock),
        get_x=ColReader("fname"),
        get_y=ColReader("label"),
        splitter=ColSplitter(),
        item_tfms=RandomResizedCrop(24, min_scale=0.2),
    )
    return block.dataloaders(frame, bs=2, seed=4, **options)


def test_loaders_that_keep_decoded_images_give_the_same_batches(tmp_path):
    files = [str(written(tmp_path, f"{'y' * at}.jpg", (200, 150))) for at in range(1, 9)]
    plain, keeping = loaders_of(files), loaders_of(files).keep_decoded(DecodedImages(tmp_path / "kept", MIB))
    for epoch in range(3):
        for ours, theirs in zip(keeping.train.batches(epoch=epoch), plain.train.batches(epoch=epoch), strict=True):
            assert torch.equal(ours.inputs, theirs.inputs)
    assert list((tmp_path / "kept").glob("*/*"))


def test_the_size_is_read_from_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("FOVEAL_HOME", str(tmp_path))
    monkeypatch.setenv("FOVEAL_DECODED_MIB", "7")
    assert (DecodedImages.usual().n_bytes, DecodedImages.usual().folder) == (7 * MIB, Path(tmp_path) / "decoded")
    monkeypatch.setenv("FOVEAL_DECODED_MIB", "0")
    assert DecodedImages.usual() is None
    monkeypatch.setenv("FOVEAL_DECODED_MIB", "much")
    with pytest.raises(InputError, match=r"FOVEAL_DECODED_MIB must be a whole number of MiB.*'much'"):
        DecodedImages.usual()


def test_keeping_pays_where_images_are_large_and_passes_many(tmp_path):
    small = loaders_of([str(written(tmp_path, f"{'s' * at}.png", (24, 24))) for at in range(1, 9)])
    assert not decoding_cost(small.train, small.valid, 100).pays(1 << 40)
    cost = decoding_cost(small.train, small.valid, 5)
    assert cost.n_bytes == 8 * 24 * 24 * 3
    assert cost.saved_seconds < decoding_cost(small.train, small.valid, 500).saved_seconds
    assert DecodingCost(10, 60).pays(10)
    assert not DecodingCost(11, 60).pays(10)
    assert not DecodingCost(10, 1).pays(10)


@pytest.mark.parametrize("keep", ["no", "yes", "auto"])
def test_a_run_keeps_decoded_images_where_that_is_wanted(foveal, tmp_path, monkeypatch, scenes, keep):
    monkeypatch.setenv("FOVEAL_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("foveal.data.decoding_cost._WORTH_SECONDS", -1e9 if keep == "auto" else 1e9)
    words = ["--images", scenes / "scenes", "--empty", "none", "--size", "32", "--epochs", "1", "--batch-size", "16"]
    said = foveal("train", scenes / "scenes.csv", *words, "--keep-decoded", keep, "--out", tmp_path / "run").out
    n_kept = len(list((tmp_path / "home" / "decoded").glob("*/*")))
    assert (n_kept >= 60) == (keep != "no")
    assert ("decoded images are kept" in said) == (keep == "auto")
