"""A learner over loaders of a user's own: batches of inputs and targets, of which nothing else is known."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from torch import Tensor

from foveal.core.arguments import checked_methods
from foveal.core.errors import InputError
from foveal.data.loader import DataLoader, require_batches
from foveal.learner.trainer import Trainer
from foveal.metrics.common import MetricFunction, refuse_what_is_none
from foveal.training.checked_loss import CheckedLoss
from foveal.training.checkpoint import Checkpoints
from foveal.training.hooks import check_callbacks

_NEED_A_TASK = (
    "export",
    "predict",
    "predictor",
    "show_results",
    "tta",
    "report",
    "explain",
    "embed",
    "tune_thresholds",
    "calibrate",
    "calibrate_radius",
    "probe",
)


@checked_methods
class PlainLearner(Trainer):
    """Trains any model by any loss; outputs stay as the model returns them."""

    def get_preds(
        self,
        ds_idx: int = 1,
        *,
        dl: DataLoader | Iterable[tuple[Tensor, Tensor]] | None = None,
        with_loss: bool = False,
    ) -> tuple[Tensor, ...]:
        """Return the model's outputs [n, ...] and the targets of one side, or of a loader, on the CPU.

        Args:
            ds_idx: 0 is the training side, in the order of its loader; 1 the validation side.
            dl: a loader instead.
            with_loss: append the loss of each item [n].
        """
        chosen = self.dls[ds_idx] if dl is None else dl
        in_order = chosen.in_order() if isinstance(chosen, DataLoader) else require_batches(chosen)
        evaluation = self._training.evaluate(in_order)
        losses = [evaluation.losses(self._loss())] if with_loss else []
        return (evaluation.outputs, evaluation.targets, *losses)

    def __getattr__(self, name: str) -> Any:
        if name in _NEED_A_TASK:
            raise InputError(
                f"`{name}` needs to know what is learned and how images are prepared, and these loaders are your own: "
                "build them with a DataBlock and its blocks."
            )
        raise AttributeError(f"{type(self).__name__} has no attribute `{name}`.")

    def _usual_metrics(self) -> list[MetricFunction]:
        return []

    def _refuse(self, callbacks: Sequence[object]) -> None:
        for metric in self._metrics():
            refuse_what_is_none(metric)
        if any(isinstance(callback, Checkpoints) for callback in callbacks):
            raise InputError(
                "A checkpoint holds for the same data in the same order, which loaders of your own do not tell: build "
                "them with a DataBlock, or keep the weights with SaveModelCallback."
            )
        check_callbacks(callbacks, self._training.fit_inputs().directions())

    def _activate(self, output: Tensor) -> Tensor:
        return output

    def _loss(self) -> CheckedLoss:
        return CheckedLoss(self.loss_func)
