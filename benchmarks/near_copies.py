"""How many resized and re-encoded copies of photographs the audit finds, and how many strangers it takes for copies.

FOVEAL_HOME=$(mktemp -d) python benchmarks/near_copies.py FOLDER
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from foveal.audit.checks import audit
from foveal.sources.folders import get_image_files
from foveal.sources.items import Item, Source


def findings(files, words):
    items = [Item(file, "x", None, str(file)) for file in files]
    return [f for f in audit(Source("folder", "single-label", items)).findings if words in f.rule]


if __name__ == "__main__":
    files = list(get_image_files(sys.argv[1]))
    alone = findings(files, "copy")
    rng = np.random.default_rng(0)
    folder = Path(tempfile.mkdtemp())
    copies = []
    for file in files[::4]:
        with Image.open(file) as opened:
            image = opened.convert("RGB")
        share = rng.uniform(0.3, 1.5)
        size = (int(image.width * share), int(image.height * share))
        copies.append(folder / f"copy_{file.name}")
        image.resize(size, Image.Resampling.LANCZOS).save(copies[-1], quality=int(rng.integers(30, 95)))
    found = findings([*files, *copies], "near copy")
    right = sum(f.images[1].name == f"copy_{f.images[0].name}" for f in found)
    pairs = len(files) * (len(files) - 1) // 2
    print(f"{len(files):,} photographs, {pairs:,} pairs: {len(alone)} taken for copies")
    print(
        f"{len(copies)} copies (30% to 150% of the size, quality 30 to 94): {right} found, {len(found) - right} wrongly"
    )
