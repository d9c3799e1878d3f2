"""Speed, as ratios to a reference in the same run: what a clock says depends on who else uses the machine."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image, ImageOps

from foveal.images.decode import open_image
from foveal.images.decoded import DecodedImages
from foveal.vision.all import (
    CategoryBlock,
    ColReader,
    ColSplitter,
    DataBlock,
    ImageBlock,
    Normalize,
    RandomResizedCrop,
)

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks" / "sides"))
from common import per_image
from limits import decode_seconds

N, ROUNDS = 192, 3
MOST_OF_DECODING, MOST_OF_IMPORTS, MOST_OF_KEPT = 2.5, 1.5, 0.5


def test_loading_is_not_far_from_bare_decoding(photographs, tmp_path):
    """Measured: 1.5 times bare decoding with as many threads (benchmarks/results)."""
    files = []
    for image in sorted((photographs / "voc2012_mini" / "train").glob("*.jpg"))[:N]:
        files.append(str(tmp_path / image.name))
        ImageOps.fit(Image.open(image).convert("RGB"), (500, 375)).save(files[-1], quality=90)
    crop = RandomResizedCrop(128, min_scale=0.35)
    block = DataBlock(
        (ImageBlock, CategoryBlock),
        get_x=ColReader("fname"),
        get_y=ColReader("label"),
        splitter=ColSplitter(),
        item_tfms=crop,
        batch_tfms=[Normalize.from_stats([0.5] * 3, [0.5] * 3)],
    )
    frame = pd.DataFrame({"fname": files, "label": ["a", "b"] * (N // 2), "is_valid": [False] * (N - 2) + [True] * 2})
    train = block.dataloaders(frame, bs=32, num_workers=2).train
    ratios = [per_image(lambda: (batch[0] for batch in train)) / decode_seconds(files, crop) for _ in range(ROUNDS)]
    assert min(ratios) < MOST_OF_DECODING, ratios


def test_an_image_that_is_kept_is_not_decoded_again(photographs, tmp_path):
    """Measured: a third of the time of decoding, which takes longer the larger an image is."""
    files = []
    for image in sorted((photographs / "voc2012_mini" / "train").glob("*.jpg"))[:12]:
        files.append(tmp_path / image.name)
        ImageOps.fit(Image.open(image).convert("RGB"), (1500, 1000)).save(files[-1], quality=90)
    kept = DecodedImages(tmp_path / "kept", 1 << 28)

    def seconds(opener):
        began = time.thread_time()
        for file in files:
            opener(file).decode(1.0).pixels.sum()
        return time.thread_time() - began

    seconds(kept.open)
    assert min(seconds(kept.open) / seconds(open_image) for _ in range(ROUNDS)) < MOST_OF_KEPT


def processor_seconds(code):
    before = os.times()
    subprocess.run([sys.executable, "-c", code], check=True)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def test_importing_is_not_far_from_torch_and_pandas():
    """Measured: 1.25 times (benchmarks/results)."""
    codes = ("from foveal.vision.all import *", "import torch, pandas")
    rounds = (tuple(map(processor_seconds, codes)) for _ in range(ROUNDS))
    assert any(ours / theirs < MOST_OF_IMPORTS for ours, theirs in rounds)


@pytest.mark.parametrize("words", [["--help"], ["train", "--help"]])
def test_help_needs_no_torch(words):
    began = time.perf_counter()
    subprocess.run([sys.executable, "-m", "foveal", *words], check=True, stdout=subprocess.DEVNULL)
    ours = time.perf_counter() - began
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import torch"], check=True)
    assert ours < (time.perf_counter() - began) / 2
