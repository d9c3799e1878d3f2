"""Checkpoints: all that a run needs to resume bit-exactly, in one safe file that is whole or absent.

A checkpoint is a .safetensors file: weights, the optimizer's averages, gradients that wait for their step, torch's
random state, the state of callbacks, and as JSON the position in the run. The data pipeline needs three
integers of it: seed, epoch and position.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from foveal.core import distributed, storage
from foveal.core.arguments import check_number
from foveal.core.errors import InputError, ModelFileError, TrainingError
from foveal.training.hooks import Callback
from foveal.training.state import EpochResult, FitState

FILE = "checkpoint.safetensors"
_HASH = "sha256"
_VERSION = 1  # of the file's layout; another one is refused
_EVERY_SECONDS = 120.0
"""Seconds between two checkpoints within an epoch; chosen by hand: what a crash costs at most, beside a fraction of a
second for writing."""
PathLike = str | os.PathLike[str]
HookState = Mapping[str, Any]
"""Tensors and JSON values by name, as torch's `state_dict` has them."""


@runtime_checkable
class Stateful(Protocol):
    """A callback that remembers something between steps, by torch's protocol, so that a resumed fit has it too."""

    def state_dict(self) -> HookState:
        """Return what it remembers: tensors, and values that JSON can hold."""

    def load_state_dict(self, state: HookState) -> None:
        """Take back what `state_dict` returned."""


@runtime_checkable
class _OldStateful(Protocol):
    """What `Stateful` was in version 0.1; it works for one more version, with a warning."""

    def tensors(self) -> Mapping[str, Tensor]: ...

    def values(self) -> Mapping[str, object]: ...

    def restore(self, tensors: Mapping[str, Tensor], values: Mapping[str, object]) -> None: ...


@dataclass(frozen=True, slots=True)
class _Adapted:
    """A callback by the old protocol, under the new one."""

    hook: _OldStateful

    def state_dict(self) -> HookState:
        return {**self.hook.tensors(), **self.hook.values()}

    def load_state_dict(self, state: HookState) -> None:
        tensors, values = _split(state)
        self.hook.restore(tensors, values)


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
        return strip_prefix(self.tensors, name)


def strip_prefix(tensors: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    """Return the tensors whose names begin with `name/`, without it.

    Args:
        tensors: by name.
        name: what stands before the first `/`.
    """
    return {key.removeprefix(f"{name}/"): t for key, t in tensors.items() if key.startswith(f"{name}/")}


def write(path: PathLike, state: FitState, hooks: Iterable[object] = ()) -> None:
    """Write a checkpoint.

    Args:
        path: the file; it is replaced as a whole.
        state: where the fit stands.
        hooks: the state of those that are `Stateful` is written too.

    Raises:
        TrainingError: it cannot be written; the one before is unchanged.
    """
    tensors = {f"model/{name}": tensor for name, tensor in state.model.state_dict().items()}
    tensors |= optimizer_tensors(state.optimizer.state_dict()["state"])
    if state.n_waiting:
        parameters = state.model.named_parameters()
        tensors |= {f"gradient/{name}": p.grad for name, p in parameters if p.grad is not None}
    tensors["random/cpu"] = torch.get_rng_state()
    if state.device.type == "cuda":
        tensors["random/cuda"] = torch.cuda.get_rng_state(state.device)
    if state.smooth.total is not None:
        tensors["smooth"] = state.smooth.total
    values: dict[str, object] = {"scaler": state.scaler.state_dict(), "count": state.smooth.count}
    values |= {"phase": state.phase, "step": state.step, "stop": state.stop, "plan": dict(state.run_fingerprint)}
    values |= {"epoch": state.epochs_done, "data_epoch": state.epochs_before + state.epochs_done}
    values["results"] = [asdict(result) for result in state.results]
    values["history"] = [asdict(result) for result in state.history]
    of_hooks: dict[str, dict[str, object]] = {}
    for name, hook in _stateful(hooks):
        kept_tensors, kept_values = _split(hook.state_dict())
        tensors |= {f"hook/{name}/{key}": tensor for key, tensor in kept_tensors.items()}
        of_hooks[name] = kept_values
    values["hooks"] = of_hooks
    try:
        write_state(path, tensors, values)
    except OSError as error:
        raise TrainingError(
            f"The checkpoint `{path}` could not be written ({error.strerror or error}). The one before, if there was "
            "one, is unchanged: make room or choose another folder, and resume."
        ) from error


def optimizer_tensors(averages: Mapping[int, Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Return an optimizer's averages, as its `state_dict` has them by the parameter's number, as tensors by name."""
    return {
        f"optimizer/{index}/{name}": torch.as_tensor(value)
        for index, kept in averages.items()
        for name, value in kept.items()
    }


def optimizer_averages(tensors: Mapping[str, Tensor], optimizer: torch.optim.Optimizer) -> dict[int, dict[str, Tensor]]:
    """Return what `optimizer_tensors` wrote, in the memory format of an optimizer's parameters.

    Args:
        tensors: by the parameter's number and the name of the average, without `optimizer/`.
        optimizer: over the same parameters in the same order.
    """
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    averages: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        index, _, name = key.partition("/")
        averages.setdefault(int(index), {})[name] = _match_layout(parameters[int(index)], tensor)
    return averages


def write_state(path: PathLike, tensors: Mapping[str, Tensor], values: Mapping[str, object]) -> None:
    """Write a checkpoint of anything that `read` can read.

    Args:
        path: the file.
        tensors: by name.
        values: JSON values by name.
    """
    text = json.dumps({"version": _VERSION, **values})
    storage.write_tensors(path, tensors, {"checkpoint": text, _HASH: _hash_of(text, tensors)})


def read(path: PathLike) -> Stored:
    """Return a checkpoint, from its file or the folder of its run.

    Raises:
        ModelFileError: it does not exist, or is not a checkpoint of this version.
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
    if metadata.get(_HASH, "") not in ("", _hash_of(metadata["checkpoint"], tensors)):  # version 0.1 wrote none
        raise ModelFileError(f"`{file}` was changed or damaged: it is not what was written. Begin the run anew.")
    return Stored(file, tensors, values)


def _hash_of(text: str, tensors: Mapping[str, Tensor]) -> str:
    """Return a hash of all that a checkpoint holds: 0.03 s for one of 50 MB."""
    hashes = (f"{name} {storage.tensor_hash(tensors[name])}\n" for name in sorted(tensors))
    return hashlib.sha256("".join((text, *hashes)).encode()).hexdigest()


def restore(stored: Stored, state: FitState, hooks: Iterable[object] = ()) -> None:
    """Bring a fresh state of the same fit to where a checkpoint stands.

    Args:
        stored: the checkpoint.
        state: at the beginning of the fit.
        hooks: as they were when the checkpoint was written, in the same order.

    Raises:
        InputError: the fit is another one; the message names what differs.
        ModelFileError: what the checkpoint holds cannot be that of any fit.
    """
    try:
        _check_fingerprint(stored, state)
        _check_position(stored, state)
        _restore(stored, state, hooks)
    except InputError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, RuntimeError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise ModelFileError(f"`{stored.path}` is damaged ({reason}). Begin the run anew.") from error


def _restore(stored: Stored, state: FitState, hooks: Iterable[object]) -> None:
    state.model.load_state_dict(stored.part("model"))
    averages = optimizer_averages(stored.part("optimizer"), state.optimizer)
    state.optimizer.load_state_dict(state.optimizer.state_dict() | {"state": averages})
    gradients = stored.part("gradient")
    for name, parameter in state.model.named_parameters():
        if name in gradients:
            parameter.grad = _match_layout(parameter, gradients[name])
    state.scaler.load_state_dict(stored.position["scaler"])
    state.phase, state.step, state.stop = (stored.position[name] for name in ("phase", "step", "stop"))
    state.epochs_done = stored.position["epoch"]
    state.epochs_before = stored.position["data_epoch"] - state.epochs_done
    state.epoch = min(state.epochs_done, state.n_epochs - 1)  # a fit that is done stands at its last epoch
    state.smooth.count = stored.position["count"]
    state.smooth.total = stored.tensors["smooth"].to(state.device) if "smooth" in stored.tensors else None
    state.results[:] = [EpochResult(**result) for result in stored.position["results"]]
    state.history[:] = [EpochResult(**result) for result in stored.position["history"]]
    for name, hook in _stateful(hooks):
        if name in stored.position["hooks"]:
            hook.load_state_dict({**stored.part(f"hook/{name}"), **stored.position["hooks"][name]})
    torch.set_rng_state(stored.tensors["random/cpu"])
    if "random/cuda" in stored.tensors and state.device.type == "cuda":
        torch.cuda.set_rng_state(stored.tensors["random/cuda"], state.device)


class Checkpoints(Callback):
    """Write a checkpoint into a folder: after each epoch, now and then within one, and when a signal ends the fit.

    `learn.fit(..., resume=folder)` resumes it bit-exactly, with the same data, model and arguments.

    Examples:
        The fit ends early, and is resumed from its checkpoint.

        >>> import tempfile
        >>> from foveal.vision.all import *
        >>> class Interrupt(Callback):
        ...     def after_epoch(self):
        ...         if self.epoch == 1: raise CancelFitException
        >>> files = get_image_files(untar_data(URLs.SAMPLE_PETS))[::16]
        >>> dls = ImageDataLoaders.from_name_func(".", files, lambda f: f[0].isupper(), item_tfms=Resize(32), bs=4)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     learn = Learner(dls, SimpleCNN([3, dls.c]))
        ...     with learn.no_logging(): learn.fit(3, cbs=[Interrupt, Checkpoints(folder)])
        ...     Path(folder).ls()
        ...     with learn.no_logging(): learn.fit(3, resume=folder)
        ...     len(learn.recorder.values)
        (#1) [Path('.../checkpoint.safetensors')]
        3
    """

    def __init__(self, folder: PathLike, *, every_seconds: float = _EVERY_SECONDS) -> None:
        """Write below a folder, which is made where it is missing.

        Args:
            folder: of the run.
            every_seconds: the time between two checkpoints within an epoch.

        Raises:
            InputError: the time is below 0.
        """
        check_number("every_seconds", every_seconds, at_least=0)
        self.path = Path(folder) / FILE
        self.every_seconds = every_seconds
        self.others: list[object] = []
        self._last = time.monotonic()

    def __repr__(self) -> str:
        return f"Checkpoints({str(self.path.parent)!r}, every_seconds={self.every_seconds})"

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


def _stateful(hooks: Iterable[object]) -> list[tuple[str, Stateful]]:
    """Return callbacks with a state by their name in the file: a number among them, and their class."""
    kept = [(type(hook).__name__, adapted) for hook in hooks if (adapted := _adapt(hook)) is not None]
    return [(f"{number}-{name}", hook) for number, (name, hook) in enumerate(kept)]


def _adapt(hook: object) -> Stateful | None:
    if isinstance(hook, Stateful):
        return hook
    if not isinstance(hook, _OldStateful):
        return None
    warnings.warn(
        f"{type(hook).__name__} has `tensors`, `values` and `restore`; a callback's state is now `state_dict` and "
        "`load_state_dict`, as torch has them. The old methods go with the next version.",
        DeprecationWarning,
        stacklevel=2,
    )
    return _Adapted(hook)


def _split(state: HookState) -> tuple[dict[str, Tensor], dict[str, object]]:
    """Return the tensors of a state, and its other values."""
    tensors = {name: value for name, value in state.items() if isinstance(value, Tensor)}
    return tensors, {name: value for name, value in state.items() if name not in tensors}


def _match_layout(parameter: Tensor, tensor: Tensor) -> Tensor:
    """Return a tensor in a parameter's memory format: fused optimizers go through memory, not through indices."""
    if tensor.shape != parameter.shape:
        return tensor
    return torch.empty_like(parameter, dtype=tensor.dtype, requires_grad=False).copy_(tensor)


def _check_position(stored: Stored, state: FitState) -> None:
    """Refuse a position that the fit cannot be at, which would end it at once, or begin it elsewhere.

    Raises:
        ValueError: it is one.
    """
    epoch, data_epoch, step, count = (stored.position[name] for name in ("epoch", "data_epoch", "step", "count"))
    if not all(type(number) is int and number >= 0 for number in (epoch, data_epoch, step, count, stored.phase)):
        raise ValueError("its position is no whole number")
    first, last = epoch * state.steps_per_epoch, min(epoch + 1, state.n_epochs) * state.steps_per_epoch
    if not (epoch <= min(state.n_epochs, data_epoch) and first <= step <= last):
        fit = f"a fit of {state.n_epochs} times {state.steps_per_epoch}"
        raise ValueError(f"step {step:,} of epoch {epoch} is not in {fit}")
    parameters = [p for group in state.optimizer.param_groups for p in group["params"]]
    for key, tensor in stored.part("optimizer").items():
        like = parameters[int(key.partition("/")[0])]
        if tensor.ndim and tensor.shape != like.shape:
            raise ValueError(f"an average of {list(tensor.shape)} for a parameter of {list(like.shape)}")


def _check_fingerprint(stored: Stored, state: FitState) -> None:
    before, now = stored.position["plan"], json.loads(json.dumps(dict(state.run_fingerprint)))
    names = [*now, *(name for name in before if name not in now)] if now else []
    differ = [
        f"{name} was {before.get(name)!r}, is {now.get(name)!r}" for name in names if before.get(name) != now.get(name)
    ]
    if differ:
        raise InputError(
            f"`{stored.path}` is of another run: {'; '.join(differ)}. Resume with the same data, model and arguments."
        )
