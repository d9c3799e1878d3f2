"""What the tests of extremes share."""

import pytest
import torch
from safetensors.torch import save_file

from extremes.grid import ARCH
from foveal.models import zoo


@pytest.fixture(scope="session")
def weights(tmp_path_factory):
    """A file with weights of a backbone of a few thousand numbers."""
    torch.manual_seed(0)
    model = zoo.build(ARCH)
    assert sum(p.numel() for p in model.parameters()) < 50_000
    file = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_file(model.state_dict(), file)
    return file
