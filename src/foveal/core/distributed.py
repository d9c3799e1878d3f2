"""The processes of one run, started by `torchrun`: rank and world size, shards, and collective operations.

With one process everything here is the identity. A function that is called *collective* must be called by all ranks at
the same place, or they wait for each other forever. What differs between ranks (a clock, a signal) must be broadcast
from one of them before it decides anything.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, TypeVar

from foveal.core.errors import ProcessEndedError

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.distributed.distributed_c10d import PrefixStore

T = TypeVar("T")
GIVE_UP_FILE = "FOVEAL_GIVEN_UP"
"""The variable that names a file: where that exists, starting the processes again would end in the same error."""
_is_single = ContextVar("is_single", default=False)


def world_size() -> int:
    """Return the number of processes of the run."""
    return int(os.environ.get("WORLD_SIZE", "1")) if _launched() and not _is_single.get() else 1


def rank() -> int:
    """Return the rank of this process, from 0."""
    return int(os.environ["RANK"]) if world_size() > 1 else 0


def is_first() -> bool:
    """Return whether this process is rank 0, the only one that prints and writes."""
    return rank() == 0


def local_rank() -> tuple[int, int]:
    """Return the local rank of this process and the local world size: those among the processes of its machine."""
    return (int(os.environ["LOCAL_RANK"]), int(os.environ["LOCAL_WORLD_SIZE"])) if world_size() > 1 else (0, 1)


def was_restarted() -> bool:
    """Return whether `torchrun` had to start these processes again."""
    return _launched() and int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0


def give_up() -> bool:
    """Return whether this process is the first to record that a restart would fail again; the first one prints why."""
    if (file := os.environ.get(GIVE_UP_FILE)) is None:
        return True
    try:
        Path(file).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def has_given_up() -> bool:
    """Return whether a process gave up."""
    return GIVE_UP_FILE in os.environ and Path(os.environ[GIVE_UP_FILE]).exists()


@contextlib.contextmanager
def single_process() -> Iterator[None]:
    """Treat this process as the only one in the block, which must hold no collective operation of the others."""
    before = _is_single.set(True)
    try:
        yield
    finally:
        _is_single.reset(before)


def slice_for_rank(items: Sequence[T]) -> Sequence[T]:
    """Return this rank's slice of a batch: contiguous, in the order of ranks, all within one item of a length."""
    n, own = world_size(), rank()
    return items[len(items) * own // n : len(items) * (own + 1) // n]


def shard(items: Sequence[T]) -> Sequence[T]:
    """Return this rank's shard: every `world_size()`-th item, from the one at its rank on."""
    return items[rank() :: world_size()]


def all_gather_ordered(tensors: Sequence[Tensor], *, only_first: bool = False) -> list[Tensor]:
    """Return the tensors that all ranks have made of their `shard`, in the order of the items. Collective.

    Args:
        tensors: on the CPU, one per item of the shard, of any shapes and dtypes.
        only_first: gather on rank 0; the other ranks return nothing.
    """
    if world_size() == 1:
        return list(tensors)
    import torch
    from safetensors.torch import load, save

    packed = save({str(index): tensor.contiguous() for index, tensor in enumerate(tensors)})
    own = torch.frombuffer(bytearray(packed), dtype=torch.uint8)
    lengths = [torch.zeros(1, dtype=torch.int64) for _ in range(world_size())]
    with _process_group() as group:
        group.all_gather(lengths, torch.tensor([len(own)]))
        longest = max(int(length) for length in lengths)
        gathered = [torch.empty(longest, dtype=torch.uint8) for _ in lengths]
        padded = torch.nn.functional.pad(own, (0, longest - len(own)))
        if only_first:
            group.gather(padded, gathered if is_first() else None)
        else:
            group.all_gather(gathered, padded)
    if only_first and not is_first():
        return []
    shards = [load(packed[: int(length)].numpy().tobytes()) for packed, length in zip(gathered, lengths, strict=True)]
    return [shards[index % world_size()][str(index // world_size())] for index in range(sum(map(len, shards)))]


def all_reduce_sum(values: Tensor) -> Tensor:
    """Return the sum of a tensor over all ranks. Collective."""
    if world_size() == 1:
        return values
    summed = values.detach().clone()
    with _process_group() as group:
        group.all_reduce(summed)
    return summed


def all_reduce_max(*values: int) -> list[int]:
    """Return the maximum of each value over all ranks. Collective."""
    if world_size() == 1:
        return list(values)
    import torch

    maxima = torch.tensor(values)
    with _process_group() as group:
        group.all_reduce(maxima, op=group.ReduceOp.MAX)
    return [int(value) for value in maxima]


def broadcast_value(value: float) -> float:
    """Return the value of rank 0. Collective."""
    if world_size() == 1:
        return value
    import torch

    sent = torch.tensor([value], dtype=torch.float64)
    with _process_group() as group:
        group.broadcast(sent, 0)
    return float(sent)


def broadcast_buffers(model: nn.Module) -> None:
    """Broadcast the buffers of rank 0, such as running statistics, which differ between ranks. Collective."""
    if world_size() > 1:
        with _process_group() as group:
            for buffer in model.buffers():
                group.broadcast(buffer, 0)


def data_parallel(model: nn.Module) -> nn.Module:
    """Return a model with the weights of rank 0 whose gradients are averaged over all ranks. Collective."""
    if world_size() == 1:
        return model
    from torch.nn.parallel import DistributedDataParallel

    device = next(model.parameters()).device
    with _process_group():
        return DistributedDataParallel(model, device_ids=[device] if device.type == "cuda" else None)


def sync_batchnorm(model: nn.Module) -> nn.Module:
    """Return the model with batch normalisation over the batches of all ranks; it shares its weights. GPUs only."""
    if world_size() == 1:
        return model
    from torch import nn

    convert: Callable[[nn.Module], object] = nn.SyncBatchNorm.convert_sync_batchnorm  # untyped in torch
    converted = convert(model)
    assert isinstance(converted, nn.Module)
    return converted


@contextlib.contextmanager
def peer_failure() -> Iterator[None]:
    """Turn the many errors by which torch's backends report that a peer has ended into one.

    Raises:
        ProcessEndedError: another process of the run ended.
        RuntimeError: an error of another cause, passed on as it is.
    """
    try:
        yield
    except RuntimeError as error:
        if world_size() == 1 or not _is_of_connection(error):
            raise
        raise ProcessEndedError("Another process of this run ended; its own message says why.") from error


def _launched() -> bool:
    return "TORCHELASTIC_RUN_ID" in os.environ


@contextlib.contextmanager
def _process_group() -> Iterator[ModuleType]:
    """Yield `torch.distributed`, whose default process group holds all ranks."""
    import torch
    from torch import distributed

    with peer_failure():
        if not distributed.is_initialized():
            backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
            distributed.init_process_group(backend, store=_store(), rank=rank(), world_size=world_size())
            atexit.register(_leave)
        yield distributed


# Seconds that gloo's threads get to let go of the last collective's tensors, which takes them well under 1 ms.
_LETTING_GO = 0.05


def _leave() -> None:
    """Destroy the process group before Python ends.

    A thread of gloo may still hold a tensor of the last collective. If it released it after Python began to end, it
    would wait for the interpreter's lock in vain, and C++ would abort the process. Two processes that broadcast 3,000
    tensors and end aborted in 11 of 40 runs without the wait, in none with it (torch 2.11, two cores).
    """
    from torch import distributed

    distributed.destroy_process_group()
    time.sleep(_LETTING_GO)  # without the interpreter's lock


def _store() -> PrefixStore:
    """Return the store by which the ranks find each other, with a prefix per restart.

    The addresses of the processes before a restart are still in it. Over several machines each counts restarts for
    itself, so there the prefix stays the same.
    """
    from torch.distributed.distributed_c10d import PrefixStore
    from torch.distributed.rendezvous import rendezvous

    store, _, _ = next(rendezvous("env://"))
    start = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") if os.environ.get("GROUP_WORLD_SIZE") == "1" else "0"
    return PrefixStore(f"start {start}", store)


def _is_of_connection(error: RuntimeError) -> bool:
    from torch import distributed

    message = str(error).lower()
    return isinstance(error, distributed.DistError) or any(word in message for word in ("gloo", "nccl", "connection"))
