"""The threshold of prediction sets, chosen on images that the model did not learn from."""

from __future__ import annotations

from torch import Tensor

from foveal.metrics.conformal import COVERAGE, conformal_quantile
from foveal.tasks.base import AnyTask
from foveal.tasks.kinds import kind_of


def set_threshold(task: AnyTask, values: Tensor, targets: Tensor, share: float = COVERAGE) -> float | None:
    """Return the probability from which a class belongs to the set; None where there are too few images to choose it.

    Args:
        task: has classes.
        values: probabilities [n, C], of images that the model did not learn from.
        targets: encoded labels [n] or [n, C]; images of which a label is not known are left out.
        share: of new images, of which the set holds the truth.
    """
    if kind_of(task).has_thresholds:
        known = ~targets.isnan().any(dim=1)
        least = values.masked_fill(targets != 1, 1.0).amin(dim=1)[known]  # 1 where there is no label to hold
    else:
        known = targets >= 0
        least = values[known].gather(1, targets[known][:, None])[:, 0]
    found = conformal_quantile(-least.double(), share)
    return None if found is None else -found
