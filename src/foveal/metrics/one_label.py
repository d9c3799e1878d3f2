"""Metrics of one label per image: outputs [N, C], raw or activated unless a metric says otherwise; indices [N]."""

from __future__ import annotations

import torch
from torch import Tensor

from foveal.core.errors import InputError
from foveal.losses import IGNORED
from foveal.metrics.common import declare_metric, refuse_nan


@declare_metric(higher_is_better=True)
def accuracy(output: Tensor, target: Tensor) -> Tensor:
    """Return the share of images whose largest output is the target class.

    Args:
        output: raw or activated, [N, C].
        target: class indices [N]; `IGNORED` (-100) is unknown.

    Raises:
        InputError: the shapes are others, or an output is NaN.

    Examples:
        >>> from foveal.vision.all import *
        >>> accuracy(torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3]]), torch.tensor([0, 1, 1])).item()
        0.6666666666666666
    """
    output, target = _known_items(output, target, "accuracy")
    return (output.argmax(dim=1) == target).double().mean()


@declare_metric(higher_is_better=False)
def error_rate(output: Tensor, target: Tensor) -> Tensor:
    """Return the share of images whose largest output is not the target class: 1 - `accuracy`.

    Args:
        output: raw or activated, [N, C].
        target: class indices [N]; `IGNORED` (-100) is unknown.

    Raises:
        InputError: the shapes are others, or an output is NaN.

    Examples:
        >>> from foveal.vision.all import *
        >>> error_rate(torch.tensor([[0.9, 0.1], [0.7, 0.3]]), torch.tensor([0, 1])).item()
        0.5
    """
    return 1 - accuracy(output, target)


@declare_metric(higher_is_better=True)
def top_k_accuracy(output: Tensor, target: Tensor, k: int = 5) -> Tensor:
    """Return the share of images whose target class is among the `k` largest outputs; of equals the later class.

    Args:
        output: raw or activated, [N, C].
        target: class indices [N]; `IGNORED` (-100) is unknown.
        k: between 1 and C. As a metric of a fit: `partial(top_k_accuracy, k=2)`.

    Raises:
        InputError: `k` is out of its bounds, the shapes are others, or an output is NaN.

    Examples:
        >>> from foveal.vision.all import *
        >>> outputs = torch.tensor([[0.6, 0.3, 0.1], [0.6, 0.3, 0.1]])
        >>> top_k_accuracy(outputs, torch.tensor([1, 2]), k=2).item()
        0.5
    """
    output, target = _known_items(output, target, "top_k_accuracy")
    if not 1 <= k <= output.shape[1]:
        raise InputError(f"`k` must be between 1 and the number of classes, {output.shape[1]}; got {k!r}.")
    ranked = output.argsort(dim=1, stable=True).flip(1)
    return (ranked[:, :k] == target[:, None]).any(dim=1).double().mean()


def confusion_matrix(output: Tensor, target: Tensor) -> Tensor:
    """Return how often each class was answered, int64 [C, C]: the truth down, the answer across.

    Args:
        output: raw or activated, [N, C].
        target: class indices [N]; `IGNORED` is unknown.
    """
    output, target = _known_items(output, target, "confusion_matrix")
    n = output.shape[1]
    return torch.bincount(target * n + output.argmax(dim=1), minlength=n * n).reshape(n, n)


@declare_metric(higher_is_better=True)
def recall_per_class(output: Tensor, target: Tensor) -> Tensor:
    """Return the share of each class's images that are answered correctly, [C]; NaN for a class without images.

    Args:
        output: raw or activated, [N, C].
        target: class indices [N]; `IGNORED` is unknown.
    """
    right, there, _ = _counts(output, target, "recall_per_class")
    return right / there


@declare_metric(higher_is_better=True)
def balanced_accuracy(output: Tensor, target: Tensor) -> Tensor:
    """Return the mean of `recall_per_class` over the classes that occur.

    Args:
        output: raw or activated, [N, C].
        target: class indices [N]; `IGNORED` is unknown.
    """
    return recall_per_class(output, target).nanmean()


@declare_metric(higher_is_better=True)
def f1_per_class(output: Tensor, target: Tensor) -> Tensor:
    """Return the F1 score of each class, [C]; NaN for a class that neither occurs nor is answered.

    Args:
        output: raw or activated, [N, C].
        target: class indices [N]; `IGNORED` is unknown.
    """
    right, there, answered = _counts(output, target, "f1_per_class")
    return 2 * right / (there + answered)


@declare_metric(higher_is_better=True)
def f1_score(output: Tensor, target: Tensor) -> Tensor:
    """Return the mean of `f1_per_class` over the classes that occur or are answered (macro).

    Args:
        output: raw or activated, [N, C].
        target: class indices [N]; `IGNORED` is unknown.
    """
    return f1_per_class(output, target).nanmean()


@declare_metric(higher_is_better=False, takes="activated")
def expected_calibration_error(output: Tensor, target: Tensor, n_bins: int = 15) -> Tensor:
    """Return how far confidence and accuracy are apart, the mean over bins of confidence weighted by their images.

    Takes *activated* outputs. Source: Guo et al. 2017, "On Calibration of Modern Neural Networks".

    Args:
        output: probabilities [N, C].
        target: class indices [N]; `IGNORED` is unknown.
        n_bins: of confidence, of equal width.
    """
    output, target = _known_items(output, target, "expected_calibration_error")
    confidence, answer = output.double().max(dim=1)
    right = (answer == target).double()
    number = (confidence * n_bins).ceil().clamp(1, n_bins).long() - 1
    gaps = torch.zeros(n_bins, dtype=torch.float64).index_add(0, number, right - confidence)
    return gaps.abs().sum() / len(target)


def _counts(output: Tensor, target: Tensor, name: str) -> tuple[Tensor, Tensor, Tensor]:
    """Return how often each class was answered correctly, how often it is there and how often it was answered.

    float64 [C] each: what a confusion matrix [C, C] says of single classes, without its memory.
    """
    (output, target), n = _known_items(output, target, name), output.shape[1]
    answer = output.argmax(dim=1)
    columns = (target[answer == target], target, answer)
    right, there, answered = (torch.bincount(column, minlength=n).double() for column in columns)
    return right, there, answered


def _known_items(output: Tensor, target: Tensor, name: str) -> tuple[Tensor, Tensor]:
    """Return outputs and targets of the images whose class is known.

    Raises:
        InputError: the shapes are others, or an output is NaN.
    """
    if target.ndim != 1 or output.ndim != 2:
        raise InputError(
            f"`{name}` takes one class index per image, targets [N] beside outputs [N, C]; got {list(target.shape)} "
            f"and {list(output.shape)}. For several labels use `accuracy_multi` and its like."
        )
    refuse_nan(output)
    known = target != IGNORED
    return output[known], target[known]
