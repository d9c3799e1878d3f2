"""`Module`: a `torch.nn.Module` whose subclasses need not call its `__init__`."""

from __future__ import annotations

from typing import Any

from torch import nn


class Module(nn.Module):
    """A `torch.nn.Module` whose `__init__` need not call its parent's first.

    Examples:
        >>> from foveal.vision.all import *
        >>> class Net(Module):
        ...     def __init__(self): self.layer = nn.Linear(4, 2)
        ...     def forward(self, x): return self.layer(x)
        >>> Net()(torch.zeros(3, 4)).shape
        torch.Size([3, 2])
    """

    def __new__(cls, *_: Any, **__: Any) -> Any:
        """Prepare the module before its `__init__` runs."""
        made = super().__new__(cls)
        nn.Module.__init__(made)
        return made

    def __init__(self) -> None:
        """Leave what was prepared, and any part that is there already, as it is."""
