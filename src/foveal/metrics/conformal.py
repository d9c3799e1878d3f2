"""The bound that holds a further value with a given chance (split conformal prediction)."""

from __future__ import annotations

import math

from torch import Tensor

COVERAGE = 0.9
"""The usual level: the share of new images in which a radius or a prediction set holds the truth."""


def conformal_quantile(ratios: Tensor, share: float = COVERAGE) -> float | None:
    """Return the bound that holds a further ratio with a chance of at least `share`; None where they are too few.

    It is the k-th smallest of n, k = ceil((n + 1) share), if one more is as likely to take any place in their order.

    Args:
        ratios: [n], NaN where not known.
        share: between 0 and 1.

    >>> import torch
    >>> conformal_quantile(torch.arange(1.0, 10.0)), conformal_quantile(torch.arange(1.0, 9.0))
    (9.0, None)
    """
    known = ratios[~ratios.isnan()].double().sort().values
    place = math.ceil((len(known) + 1) * share - 1e-9)  # 10 * 0.9 must not become 9.000...1
    return float(known[place - 1]) if place <= len(known) else None
