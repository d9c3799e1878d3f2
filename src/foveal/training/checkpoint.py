"""Checkpoints: all that a run needs to go on to the bit, in one safe file that is whole or absent.

A checkpoint is a .safetensors file: weights, the optimizer's averages, gradients that wait for their step, torch's
random state, what hooks keep, and as JSON the position in the run. The data pipeline needs three integers of it: seed,
epoch and position.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from foveal.core import distributed, storage
from foveal.core.errors import InputError, ModelFileError, TrainingError
from foveal.training.state import EpochResult, FitState

FILE = "checkpoint.safetensors"
_VERSION = 1


@runtime_checkable
class Stateful(Protocol):
    """A hook with something to keep from one step to the next."""

    def tensors(self) -> Mapping[str, Tensor]:
        """Return its tensors."""

    def values(self) -> Mapping[str, Any]:
        """Return its other values, as JSON says them."""

    def restore(self, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
        """Take both back."""


@dataclass(frozen=True, slots=True, eq=False)
class Stored:
    """What a checkpoint file holds."""

    path: Path
    tensors: Mapping[str, Tensor]
    position: Mapping[str, Any]

    @property
    def phase(self) -> int:
        """Which fit of the run was at work, from 0."""
        return int(self.position["phase"])

    def part(self, name: str) -> dict[str, Tensor]:
        """Return the tensors whose names begin with `name/`, without it."""
        return below(self.tensors, name)


def below(tensors: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    """Return the tensors whose names begin with `name/`, without it."""
    return {key.removeprefix(f"{name}/"): t for key, t in tensors.items() if key.startswith(f"{name}/")}


def write(path: str | os.PathLike[str], state: FitState, hooks: Iterable[object] = ()) -> None:
    """Write a checkpoint.

    Raises:
        TrainingError: it cannot be written; the one before is as it was.
    """
    tensors = {f"model/{name}": tensor for name, tensor in state.model.state_dict().items()}
    tensors |= averages_as_tensors(state.optimizer.state_dict()["state"])
    if state.waiting:
        parameters = state.model.named_parameters()
        tensors |= {f"gradient/{name}": p.grad for name, p in parameters if p.grad is not None}
    tensors["random/cpu"] = torch.get_rng_state()
    if state.device.type == "cuda":
        tensors["random/cuda"] = torch.cuda.get_rng_state(state.device)
    if state.smooth.total is not None:
        tensors["smooth"] = state.smooth.total
    values: dict[str, Any] = {"version": _VERSION, "scaler": state.scaler.state_dict(), "count": state.smooth.count}
    values |= {name: getattr(state, name) for name in _POSITION} | {"plan": dict(state.plan)}
    values["results"] = [asdict(result) for result in state.results]
    values["history"] = [asdict(result) for result in state.history]
    values["hooks"] = {}
    for name, hook in _keeping(hooks):
        tensors |= {f"hook/{name}/{key}": tensor for key, tensor in hook.tensors().items()}
        values["hooks"][name] = dict(hook.values())
    try:
        storage.write_tensors(path, tensors, {"checkpoint": json.dumps(values)})
    except OSError as error:
        raise TrainingError(
            f"The checkpoint `{path}` could not be written ({error.strerror or error}). The one before, if there was "
            "one, is as it was: make room or choose another folder, and resume."
        ) from error


def averages_as_tensors(averages: Mapping[int, Mapping[str, Any]]) -> dict[str, Tensor]:
    """Return what an optimizer knows of its parameters as tensors by name."""
    return {
        f"optimizer/{index}/{name}": torch.as_tensor(value)
        for index, kept in averages.items()
        for name, value in kept.items()
    }


def averages_of(tensors: Mapping[str, Tensor], optimizer: torch.optim.Optimizer) -> dict[int, dict[str, Tensor]]:
    """Return what `averages_as_tensors` wrote, laid out as the parameters of an optimizer."""
    trained = [p for group in optimizer.param_groups for p in group["params"]]
    averages: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        index, _, name = key.partition("/")
        averages.setdefault(int(index), {})[name] = _laid_out_as(trained[int(index)], tensor)
    return averages


def read(path: str | os.PathLike[str]) -> Stored:
    """Read a checkpoint: a file, or the folder of a run.

    Raises:
        ModelFileError: there is none, or it is no checkpoint of this version.
    """
    file = Path(path) / FILE if Path(path).is_dir() else Path(path)
    if not file.is_file():
        raise ModelFileError(f"There is no checkpoint `{file}`: the run has not begun, or has ended.")
    tensors, metadata = storage.read_tensors(file)
    try:
        values = json.loads(metadata["checkpoint"])
        version = values["version"]
    except (KeyError, ValueError, TypeError) as error:
        raise ModelFileError(f"`{file}` is no checkpoint of foveal ({error}).") from error
    if version != _VERSION:
        raise ModelFileError(f"`{file}` is a checkpoint of version {version}; this foveal reads version {_VERSION}.")
    return Stored(file, tensors, values)


def restore(stored: Stored, state: FitState, hooks: Iterable[object] = ()) -> None:
    """Bring a fresh state of the same fit to where a checkpoint stands.

    Raises:
        InputError: the fit is another one; the message names what differs.
    """
    _check_plan(stored, state)
    state.model.load_state_dict(stored.part("model"))
    averages = averages_of(stored.part("optimizer"), state.optimizer)
    state.optimizer.load_state_dict(state.optimizer.state_dict() | {"state": averages})
    gradients = stored.part("gradient")
    for name, parameter in state.model.named_parameters():
        if name in gradients:
            parameter.grad = _laid_out_as(parameter, gradients[name])
    state.scaler.load_state_dict(stored.position["scaler"])
    for name in _POSITION:
        setattr(state, name, stored.position[name])
    state.smooth.count = stored.position["count"]
    state.smooth.total = stored.tensors["smooth"].to(state.device) if "smooth" in stored.tensors else None
    state.results[:] = [EpochResult(**result) for result in stored.position["results"]]
    state.history[:] = [EpochResult(**result) for result in stored.position["history"]]
    for name, hook in _keeping(hooks):
        if name in stored.position["hooks"]:
            hook.restore(stored.part(f"hook/{name}"), stored.position["hooks"][name])
    torch.set_rng_state(stored.tensors["random/cpu"])
    if "random/cuda" in stored.tensors and state.device.type == "cuda":
        torch.cuda.set_rng_state(stored.tensors["random/cuda"], state.device)


class Checkpoints:
    """A hook that writes a checkpoint into a folder: after each epoch, now and then within one, and when stopped."""

    def __init__(self, folder: str | os.PathLike[str], *, every_seconds: float = 120.0) -> None:
        self.path = Path(folder) / FILE
        self.every_seconds = every_seconds
        self.others: list[object] = []
        self._last = time.monotonic()

    def before_fit(self, state: FitState) -> None:
        """Begin to count the time."""
        del state
        self._last = time.monotonic()

    def after_step(self, state: FitState) -> None:
        """Write when it is time."""
        if time.monotonic() - self._last >= self.every_seconds:
            self._write(state)

    def after_epoch(self, state: FitState) -> None:
        """Write."""
        self._write(state)

    def after_fit(self, state: FitState) -> None:
        """Write where the run was interrupted."""
        if state.stopped_by is not None:
            self._write(state)

    def _write(self, state: FitState) -> None:
        if distributed.is_first():
            write(self.path, state, self.others)
        self._last = time.monotonic()


_POSITION = ("phase", "data_epoch", "epoch", "step", "stop")


def _keeping(hooks: Iterable[object]) -> Iterable[tuple[str, Stateful]]:
    kept = [hook for hook in hooks if isinstance(hook, Stateful)]
    return [(f"{at}-{type(hook).__name__}", hook) for at, hook in enumerate(kept)]


def _laid_out_as(parameter: Tensor, tensor: Tensor) -> Tensor:
    """Return a tensor in a parameter's memory format: fused optimizers go through memory, not through indices."""
    if tensor.shape != parameter.shape:
        return tensor
    return torch.empty_like(parameter, dtype=tensor.dtype, requires_grad=False).copy_(tensor)


def _check_plan(stored: Stored, state: FitState) -> None:
    before, now = stored.position["plan"], json.loads(json.dumps(dict(state.plan)))
    differ = [f"{name} was {before.get(name)!r}, is {now.get(name)!r}" for name in now if before.get(name) != now[name]]
    if differ:
        raise InputError(
            f"`{stored.path}` is of another run: {'; '.join(differ)}. Resume with the same data, model and arguments."
        )
