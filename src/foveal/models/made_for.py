"""Which backbone a file of weights is made for: told by the shapes of its tensors, whatever they are called.

The list `architectures.txt` beside this file has a line per fingerprint, with the names of timm's that share it;
`scripts/architectures` writes it anew.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from functools import cache
from importlib import resources

from torch import Tensor

_LIST = "architectures.txt"
_LETTERS = 12
"""Hexadecimal digits of a fingerprint: 48 bits, so that the 1,000 or so of the list do not meet by chance."""
_SHOWN = 3
_OF_SIZE_OR_CLASSES = re.compile(
    r"pos_embed|positional|position|rope|freqs|token|attn_mask|coords|(?:^|\.)(?:head|heads|fc|classifier|head_dist)(?:\.|$)"
)
"""Names of what depends on the size of image, on the classes, or is only for pretraining."""


def fingerprint(tensors: Mapping[str, Tensor]) -> str:
    """Return a short hash of the shapes of all layers' weights, without classifier and position embeddings.

    Args:
        tensors: a state dict.
    """
    shapes = sorted(
        "x".join(map(str, tensor.shape))
        for name, tensor in tensors.items()
        if tensor.ndim >= 2 and not _OF_SIZE_OR_CLASSES.search(name)
    )
    return hashlib.sha256(",".join(shapes).encode()).hexdigest()[:_LETTERS]


def architectures_of(tensors: Mapping[str, Tensor]) -> list[str]:
    """Return the first names of timm's whose layers have the shapes of a file's; empty where nothing has.

    Args:
        tensors: of the file.
    """
    return _known().get(fingerprint(tensors), [])[:_SHOWN]


@cache
def _known() -> dict[str, list[str]]:
    text = (resources.files("foveal.models") / _LIST).read_text("utf-8")
    rows = (line.split() for line in text.splitlines() if line and not line.startswith("#"))
    return {row[0]: row[1:] for row in rows}
