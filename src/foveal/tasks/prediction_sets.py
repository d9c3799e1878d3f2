"""Prediction sets: classes among which the truth is in 90 of 100 new images; larger where the model is uncertain.

Source: Sadinle, Lei and Wasserman 2019, "Least Ambiguous Set-Valued Classifiers with Bounded Error Levels"; of several
labels the set holds all of an image's labels.
"""

from __future__ import annotations

from torch import Tensor

from foveal.tasks.base import AnyTask
from foveal.tasks.kinds import kind_of


def prediction_set(task: AnyTask, values: Tensor) -> list[str]:
    """Return the classes of the set, the most probable first; of one label at least that.

    Args:
        task: its decision has a `set_threshold`.
        values: probabilities of one image, [C].
    """
    least = task.decision.set_threshold
    assert least is not None
    order = values.argsort(descending=True, stable=True).tolist()
    chosen = [task.names[at] for at in order if float(values[at]) >= least]
    return chosen or ([] if kind_of(task).has_thresholds else [task.names[order[0]]])
