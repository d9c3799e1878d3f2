"""How the target of one dataset item prints: by its kind, as the book shows it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class ShownTensor(Tensor):
    """A tensor that prints the kind of its target; the first operation returns a plain one.

    A class may be named as what it prints, with `Shown` behind.
    """

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Return what an operation makes of plain tensors."""
        plain = [arg.as_subclass(Tensor) if isinstance(arg, ShownTensor) else arg for arg in args]
        if func is Tensor.__repr__:
            number = plain[0].float() if plain[0].is_floating_point() else plain[0]
            return repr(number).replace("tensor", type(args[0]).__name__.removesuffix("Shown"), 1)
        with torch._C.DisableTorchFunctionSubclass():  # noqa: SLF001 -- torch's documented way out of a subclass
            return func(*plain, **(kwargs or {}))


def shown(target: Tensor, kind: type[ShownTensor]) -> ShownTensor:
    """Return a target as a tensor that prints its kind.

    Args:
        target: encoded.
        kind: the class to print as.
    """
    return (target.float() if target.is_floating_point() else target).as_subclass(kind)
