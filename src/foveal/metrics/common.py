"""What all metrics share: what a metric is, its name, its direction, and means over classes.

A metric is a function of (output, target), computed once over all predictions. foveal's own are plain functions that
declare with `declare_metric` whether higher is better and whether they take *raw* outputs (logits) or *activated* ones;
`Metric` says the same of any other function. Unknown targets (NaN, or `IGNORED` for class indices) are left out.
A value that is not defined, as the average precision of a class without positives, is NaN where one value per class is
returned and is left out of means; outputs that are NaN are refused.

Shapes: N images, C classes.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, SupportsFloat, TypeVar, get_args

import torch
from torch import Tensor

from foveal.core.errors import InputError, UnknownNameError, near_match

MetricFunction = Callable[[Tensor, Tensor], SupportsFloat]
"""A metric, or a value per class, of (output, target)."""
Takes = Literal["logits", "activated"]
Average = Literal["macro", "micro", "weighted"] | None
Function = TypeVar("Function", bound=Callable[..., object])

# Characters of an argument's value in the name of a metric, beyond which only its type is shown; chosen by hand, so
# that a column of the epoch table stays narrower than a line of a terminal.
_LONGEST_ARGUMENT = 16


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric of your own, with what cannot be read off a function.

    It is computed once over all predictions of the validation side, not batch by batch.

    Attributes:
        function: of (output, target); returns a number.
        name: the column of the epoch table, and what `monitor` is called.
        higher_is_better: False for errors.
        takes: `logits`, what the model returns, or `activated`, what `get_preds` returns (probabilities, points).

    Raises:
        UnknownNameError: `takes` is another word.

    Examples:
        >>> from foveal.vision.all import *
        >>> def mean_confidence(output, target): return output.max(dim=1).values.mean()
        >>> metric = Metric(mean_confidence, "confidence", higher_is_better=True, takes="activated")
        >>> metric(torch.tensor([[0.5, 0.5], [0.0, 1.0]]), torch.tensor([0, 1]))
        tensor(0.7500)
    """

    function: MetricFunction
    name: str
    higher_is_better: bool
    takes: Takes = "logits"

    def __post_init__(self) -> None:
        if self.takes not in get_args(Takes):
            raise UnknownNameError(
                "`takes` is 'logits' (what the model returns) or 'activated' (probabilities, points); got "
                f"{self.takes!r}.{near_match(self.takes, get_args(Takes))}"
            )

    def __call__(self, output: Tensor, target: Tensor) -> SupportsFloat:
        """Return the value of the function.

        Args:
            output: what the model returned, or its activation; see `takes`.
            target: encoded labels, one row per image.
        """
        return self.function(output, target)


def declare_metric(
    *, higher_is_better: bool, takes: Takes = "logits", has_threshold: bool = False
) -> Callable[[Function], Function]:
    """Return a decorator that declares what `Metric` says of a function; the function stays itself.

    Args:
        higher_is_better: False for errors.
        takes: `logits`, also for a function that takes either, or `activated`.
        has_threshold: whether it has the arguments `thresh` and `sigmoid`, so that tuned thresholds can be put in.
    """

    def declare(function: Function) -> Function:
        vars(function).update(higher_is_better=higher_is_better, takes=takes, has_threshold=has_threshold)
        return function

    return declare


def metric_name(metric: Callable[..., object]) -> str:
    """Return the name of a `Metric`, of a function or of what a `partial` wraps."""
    inner = _unwrap(metric)
    return inner.name if isinstance(inner, Metric) else str(getattr(inner, "__name__", type(inner).__name__))


def higher_is_better(metric: Callable[..., object]) -> bool | None:
    """Return the direction that a metric declares; None where it declares none."""
    declared: object = getattr(_unwrap(metric), "higher_is_better", None)
    return declared if isinstance(declared, bool) else None


def require_direction(metric: Callable[..., object], name: str) -> bool:
    """Return whether higher is better.

    Args:
        metric: one of a task, for instance.
        name: what the message calls it.

    Raises:
        InputError: the metric does not declare it.
    """
    if (declared := higher_is_better(metric)) is None:
        raise InputError(
            f"Whether a higher `{name}` is better is not known. Wrap the function: Metric(function, {name!r}, "
            "higher_is_better=True), or False for an error."
        )
    return declared


def takes_activated(metric: Callable[..., object]) -> bool:
    """Return whether a metric takes activated outputs in place of raw ones."""
    return getattr(_unwrap(metric), "takes", "logits") == "activated"


def named_metrics(metrics: Iterable[MetricFunction]) -> dict[str, MetricFunction]:
    """Return metrics by name, each name once: of several with one name, a `partial` shows its arguments.

    >>> def share(output, target, thresh=0.5): ...
    >>> list(named_metrics([share, partial(share, thresh=0.2), share]))
    ['share', 'share(thresh=0.2)', 'share_2']
    """
    listed = list(metrics)
    plain = [metric_name(metric) for metric in listed]
    named: dict[str, MetricFunction] = {}
    for name, metric in zip(plain, listed, strict=True):
        full = name if plain.count(name) == 1 else name + _arguments(metric)
        unique, number = full, 2
        while unique in named:
            unique, number = f"{full}_{number}", number + 1
        named[unique] = metric
    return named


def at_thresholds(
    metrics: Mapping[str, MetricFunction], thresholds: Sequence[float]
) -> tuple[dict[str, MetricFunction], list[str]]:
    """Return the same metrics, with these thresholds where a threshold was left at its default, and the names of those.

    Args:
        metrics: by name.
        thresholds: one per class, of probabilities.
    """
    moved = {name: metric for name, metric in metrics.items() if _threshold_is_open(metric)}
    at = {"thresh": torch.tensor(thresholds), "sigmoid": False}
    fixed: dict[str, MetricFunction] = {
        name: Metric(partial(_function(metric), **at), name, require_direction(metric, name), takes="activated")
        for name, metric in moved.items()
    }
    return {**metrics, **fixed}, list(moved)


def of_probabilities(metrics: Mapping[str, MetricFunction]) -> dict[str, MetricFunction]:
    """Return the same metrics, for outputs that are probabilities: those that would activate them first do not.

    Args:
        metrics: by name.
    """
    given = {"sigmoid": False}
    return {
        name: partial(_function(metric), **given) if _threshold_is_open(metric, but={"thresh"}) else metric
        for name, metric in metrics.items()
    }


def refuse_unsuitable(metrics: Iterable[MetricFunction], n_outputs: int, targets: Tensor) -> None:
    """Let a metric that does not suit a task say so before an epoch is spent.

    Args:
        metrics: each is called once.
        n_outputs: numbers that the model returns per image.
        targets: encoded labels [N, ...]; two of them are looked at.

    Raises:
        InputError: of the metric, or it is not one.
    """
    for metric in metrics:
        refuse_what_is_none(metric)
        try:
            metric(torch.zeros(len(targets[:2]), n_outputs), targets[:2])
        except InputError:
            raise
        except Exception:  # noqa: BLE001 -- it may need more than two items to be defined
            return


def refuse_what_is_none(metric: object) -> None:
    """Refuse what is not a function of (output, target): a name in quotes, or what makes a metric when it is called.

    Raises:
        InputError: it is one of these.
    """
    if isinstance(metric, str):
        raise InputError(f"A metric is a function, not its name in quotes: {metric!r}. Write metrics={metric}.")
    if not callable(metric):
        raise InputError(f"A metric is a function of (output, target); got {metric!r}.")
    try:
        inspect.signature(metric).bind(None, None)
    except ValueError:
        return  # a function in C says nothing of its arguments
    except TypeError as error:
        name = metric_name(metric)
        raise InputError(
            f"`{name}` is not a function of (output, target). Is it one that makes a metric? Then write `{name}()`."
        ) from error


def refuse_nan(output: Tensor) -> None:
    """Refuse outputs for which no metric is defined.

    Raises:
        InputError: one of them is NaN.
    """
    if output.isnan().any():
        raise InputError("A metric is not defined for outputs that are NaN.")


def average_classes(per_class: Tensor, weight: Tensor, average: Average) -> Tensor:
    """Return the mean of one value per class over the classes where it is defined.

    Args:
        per_class: float64 [C], NaN where not defined.
        weight: of each class in the weighted mean, [C].
        average: `macro` is the plain mean, `weighted` goes by `weight`, None returns the values themselves.

    Raises:
        UnknownNameError: there is no such average.
    """
    if average is None:
        return per_class
    if average == "macro":
        return per_class.nanmean()
    if average == "weighted":
        defined = ~per_class.isnan()
        return (per_class[defined] * weight[defined]).sum() / weight[defined].sum()
    raise UnknownNameError.of("average", average, ("macro", "micro", "weighted"))


def sweep(score: Tensor, truth: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return each distinct score, largest first, with the hits and the answers at it and above; float64, of one length.

    Args:
        score: of one class, [N].
        truth: 0 or 1, [N]; images where it is NaN are left out.
    """
    known = ~truth.isnan()
    score, order = score[known].sort(descending=True)
    last_of_tie = torch.ones_like(score, dtype=torch.bool)
    last_of_tie[:-1] = score[1:] != score[:-1]
    hits = (truth[known][order] == 1).double().cumsum(0)
    answers = torch.arange(1, len(score) + 1, dtype=torch.float64)
    return score[last_of_tie], hits[last_of_tie], answers[last_of_tie]


def nan_value() -> Tensor:
    """Return NaN, float64."""
    return torch.tensor(torch.nan, dtype=torch.float64)


def _unwrap(metric: Callable[..., object]) -> Callable[..., object]:
    """Return the function or the `Metric` below partials."""
    while isinstance(metric, partial):
        metric = metric.func
    return metric


def _function(metric: MetricFunction) -> MetricFunction:
    return metric.function if isinstance(metric, Metric) else metric


def _threshold_is_open(metric: MetricFunction, *, but: Collection[str] = ()) -> bool:
    """Return whether a metric has a threshold, and nobody set it or the activation; `but` names what may be set."""
    function = _function(metric)
    given = function.keywords if isinstance(function, partial) else {}
    positional = function.args if isinstance(function, partial) else ()
    has_threshold = getattr(_unwrap(function), "has_threshold", False) is True
    return has_threshold and not positional and not ({"thresh", "sigmoid"} & set(given)) - set(but)


def _arguments(metric: Callable[..., object]) -> str:
    """Return the keyword arguments of a partial as they stand in a call."""
    given = metric.keywords if isinstance(metric, partial) else {}
    texts = {name: repr(value) for name, value in given.items()}
    shown = (
        f"{name}={text if len(text) <= _LONGEST_ARGUMENT else type(given[name]).__name__}"
        for name, text in texts.items()
    )
    return f"({', '.join(shown)})" if given else ""
