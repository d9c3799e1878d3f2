"""The processes that work on one run together, started by `torchrun`: shares, sums and gathers.

With one process everything here is the identity. A function that says *together* must be called by all processes at
the same place. What differs between processes (a clock, a signal) must go through one of them before it decides
anything.
"""

from __future__ import annotations

import atexit
import contextlib
import os
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from foveal.core.errors import ProcessEndedError

if TYPE_CHECKING:
    from torch import Tensor, nn

T = TypeVar("T")
GIVEN_UP = "FOVEAL_GIVEN_UP"
"""The variable with the name of a file that stands for: starting again would end in the same error."""
_alone = ContextVar("alone", default=False)


def world_size() -> int:
    """Return how many processes work together."""
    return int(os.environ.get("WORLD_SIZE", "1")) if _launched() and not _alone.get() else 1


def rank() -> int:
    """Return the number of this process, from 0."""
    return int(os.environ["RANK"]) if world_size() > 1 else 0


def is_first() -> bool:
    """Return whether this process prints and writes: one does."""
    return rank() == 0


def local_rank() -> tuple[int, int]:
    """Return the number of this process on its machine, from 0, and how many there are on it."""
    return (int(os.environ["LOCAL_RANK"]), int(os.environ["LOCAL_WORLD_SIZE"])) if world_size() > 1 else (0, 1)


def restarted() -> bool:
    """Return whether `torchrun` had to start these processes again."""
    return _launched() and int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0


def give_up() -> bool:
    """Note that starting again makes no sense; return whether this process is the one to say why."""
    if (file := os.environ.get(GIVEN_UP)) is None:
        return True
    try:
        Path(file).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def given_up() -> bool:
    """Return whether a process gave up."""
    return GIVEN_UP in os.environ and Path(os.environ[GIVEN_UP]).exists()


@contextlib.contextmanager
def single_process() -> Iterator[None]:
    """Work in the block as the only process; the others must not be waiting for it."""
    before = _alone.set(True)
    try:
        yield
    finally:
        _alone.reset(before)


def slice_for_rank(items: Sequence[T]) -> Sequence[T]:
    """Return this process's part of a batch: parts lie one behind the other and differ by one item at most."""
    n, at = world_size(), rank()
    return items[len(items) * at // n : len(items) * (at + 1) // n]


def shard(items: Sequence[T]) -> Sequence[T]:
    """Return what this process gets where items are dealt out in turn."""
    return items[rank() :: world_size()]


def all_gather_ordered(tensors: Sequence[Tensor], *, only_first: bool = False) -> list[Tensor]:
    """Gather, together, tensors on the CPU that were made of what was `dealt`; return all of them in order.

    With `only_first` the first process has them, the others have none.
    """
    if world_size() == 1:
        return list(tensors)
    import torch
    from safetensors.torch import load, save

    packed = save({str(at): tensor.contiguous() for at, tensor in enumerate(tensors)})
    own = torch.frombuffer(bytearray(packed), dtype=torch.uint8)
    lengths = [torch.zeros(1, dtype=torch.int64) for _ in range(world_size())]
    with _together() as group:
        group.all_gather(lengths, torch.tensor([len(own)]))
        longest = max(int(length) for length in lengths)
        found = [torch.empty(longest, dtype=torch.uint8) for _ in lengths]
        padded = torch.nn.functional.pad(own, (0, longest - len(own)))
        if only_first:
            group.gather(padded, found if is_first() else None)
        else:
            group.all_gather(found, padded)
    if only_first and not is_first():
        return []
    hands = [load(one[: int(length)].numpy().tobytes()) for one, length in zip(found, lengths, strict=True)]
    return [hands[at % world_size()][str(at // world_size())] for at in range(sum(map(len, hands)))]


def all_reduce_sum(values: Tensor) -> Tensor:
    """Return, together, the sum over all processes."""
    if world_size() == 1:
        return values
    summed = values.detach().clone()
    with _together() as group:
        group.all_reduce(summed)
    return summed


def all_reduce_max(*values: int) -> list[int]:
    """Return, together, the largest that any process gave of each."""
    if world_size() == 1:
        return list(values)
    import torch

    found = torch.tensor(values)
    with _together() as group:
        group.all_reduce(found, op=group.ReduceOp.MAX)
    return [int(value) for value in found]


def broadcast_value(value: float) -> float:
    """Return, together, what the first process gave."""
    if world_size() == 1:
        return value
    import torch

    found = torch.tensor([value], dtype=torch.float64)
    with _together() as group:
        group.broadcast(found, 0)
    return float(found)


def broadcast_buffers(model: nn.Module) -> None:
    """Give, together, all processes the buffers of the first: running statistics differ between them."""
    if world_size() > 1:
        with _together() as group:
            for buffer in model.buffers():
                group.broadcast(buffer, 0)


def data_parallel(model: nn.Module) -> nn.Module:
    """Return, together, a model whose gradients are averaged over all processes, and whose weights are the first's."""
    if world_size() == 1:
        return model
    from torch.nn.parallel import DistributedDataParallel

    device = next(model.parameters()).device
    with _together():
        return DistributedDataParallel(model, device_ids=[device] if device.type == "cuda" else None)


def sync_batchnorm(model: nn.Module) -> nn.Module:
    """Return the model with batch normalisation over the whole batch; its weights are the same ones. GPUs only."""
    from torch import nn

    convert: Any = nn.SyncBatchNorm.convert_sync_batchnorm
    converted: nn.Module = convert(model) if world_size() > 1 else model
    return converted


@contextlib.contextmanager
def peer_failure() -> Iterator[None]:
    """Say in a sentence that another process ended: torch says it in many, and each in its own words.

    Raises:
        ProcessEndedError: another process ended while this one worked with it.
    """
    try:
        yield
    except RuntimeError as error:
        if world_size() == 1 or not _is_of_connection(error):
            raise
        raise ProcessEndedError("Another process of this run ended; what it said tells why.") from error


def _launched() -> bool:
    return "TORCHELASTIC_RUN_ID" in os.environ


@contextlib.contextmanager
def _together() -> Iterator[Any]:
    """Yield torch.distributed, joined to the other processes."""
    import torch
    from torch import distributed

    with peer_failure():
        if not distributed.is_initialized():
            backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
            distributed.init_process_group(backend, store=_store(), rank=rank(), world_size=world_size())
            atexit.register(distributed.destroy_process_group)
        yield distributed


def _store() -> Any:
    """Return where the processes meet: a place of its own for each start, for the addresses of the last one lie there.

    Over several machines starts are counted by each for itself, so there it is the place that torchrun gives.
    """
    from torch.distributed.distributed_c10d import PrefixStore
    from torch.distributed.rendezvous import rendezvous

    store, _, _ = next(rendezvous("env://"))
    start = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") if os.environ.get("GROUP_WORLD_SIZE") == "1" else "0"
    return PrefixStore(f"start {start}", store)


def _is_of_connection(error: RuntimeError) -> bool:
    from torch import distributed

    said = str(error).lower()
    return isinstance(error, distributed.DistError) or any(word in said for word in ("gloo", "nccl", "connection"))
