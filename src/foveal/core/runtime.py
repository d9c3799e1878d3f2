"""The only module that knows about devices, precision, torch's threads and the process."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import gc
import math
import os
import platform
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Literal, Protocol, get_args

import torch
from torch import nn

from foveal.core import distributed, processors
from foveal.core.errors import InputError, UnknownNameError

Precision = Literal["fp32", "bf16", "fp16"]
PrecisionChoice = Literal["auto", "fp32", "bf16", "fp16"]
_CGROUP = Path("/sys/fs/cgroup")
_REPEAT_SECONDS = 2.0  # within which torchrun passes the same signal on once more; chosen by hand
_GRAIN = 32_768  # the fewest numbers that torch gives a thread (`at::internal::GRAIN_SIZE`)
_CPU_BF16 = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")


def default_device() -> torch.device:
    """Return the best device of this machine: CUDA, then Apple's MPS, then the CPU."""
    if torch.cuda.is_available():
        if distributed.world_size() > 1:
            torch.cuda.set_device(distributed.local_rank()[0] % torch.cuda.device_count())
        return torch.device("cuda", torch.cuda.current_device())
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def device_named(name: torch.device | str | None) -> torch.device:
    """Return a device by its name; the best of this machine for None.

    Raises:
        InputError: this machine has none of that name.
    """
    if name is None:
        return default_device()
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise InputError(f"There is no device `{name}` here; this machine has `{default_device()}`.") from error
    return device


def check_precision(name: str, device: torch.device) -> PrecisionChoice:
    """Return `name` if it is a precision that `device` can train in.

    Args:
        name: of a `PrecisionChoice`.
        device: what is trained on.

    Raises:
        UnknownNameError: it is no precision.
        InputError: this device cannot do it; the message says which it can.
    """
    choices: tuple[PrecisionChoice, ...] = get_args(PrecisionChoice)
    if name == "fp16" and device.type == "cpu":
        raise InputError("`fp16` trains on a GPU only and this machine has none. Use `bf16`, `fp32` or `auto`.")
    for choice in choices:
        if name == choice:
            return choice
    raise UnknownNameError.of("precision", name, choices)


def precisions(device: torch.device) -> tuple[Precision, ...]:
    """Return the precisions worth trying on a device: bf16 only where the hardware multiplies in it."""
    if device.type == "cuda":
        return ("bf16", "fp32") if torch.cuda.is_bf16_supported() else ("fp32",)
    if device.type == "cpu" and any(getattr(torch.cpu, name, lambda: False)() for name in _CPU_BF16):
        return ("fp32", "bf16")
    return ("fp32",)


def wait_for(device: torch.device) -> None:
    """Wait until a device has done what it was given, for the clock's sake."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def hardware(device: torch.device) -> str:
    """Return the name of the hardware behind a device."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        name = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
        return f"{os.cpu_count()} x {name}"
    return f"{os.cpu_count()} x {platform.processor() or platform.machine()}"


def free_memory(device: torch.device) -> float:
    """Return the bytes that new tensors on a device could take; without limit where that is not known."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return float(free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device))
    limits = [float("inf")]
    with contextlib.suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        limits.append(1024 * float(next(line.split()[1] for line in lines if line.startswith("MemAvailable"))))
    with contextlib.suppress(OSError, ValueError):
        most, used = (float((_CGROUP / name).read_text(encoding="ascii")) for name in ("memory.max", "memory.current"))
        limits.append(most - used)
    return min(limits)


def is_out_of_memory(error: RuntimeError) -> bool:
    """Return whether an error says that there is no memory left: a GPU's has a type, the CPU's only its words."""
    return isinstance(error, torch.OutOfMemoryError) or "not enough memory" in str(error)


@contextlib.contextmanager
def saved_for_backward(model: nn.Module, most: float = float("inf")) -> Iterator[dict[int, int]]:
    """Count the bytes that the block keeps for a backward pass, by storage; the model's own do not count.

    Args:
        model: whose parameters and buffers are not counted.
        most: bytes.

    Yields:
        {address of a storage: its bytes}, which grows while the block runs.

    Raises:
        torch.OutOfMemoryError: they are more than `most`.
    """
    own = {tensor.untyped_storage().data_ptr() for tensor in model.state_dict().values()}
    kept: dict[int, int] = {}

    def count(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        if sum(kept.values()) > most:
            raise torch.OutOfMemoryError
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        yield kept


@contextlib.contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put a model into evaluation mode in the block; every module is afterwards in the mode that it was in."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def autocast(precision: Precision, device: torch.device) -> AbstractContextManager[object]:
    """Return the context in which a forward pass runs in a precision.

    Args:
        precision: of matrix products and convolutions.
        device: what the model is on.
    """
    if precision == "fp32":
        return contextlib.nullcontext()
    dtype = torch.bfloat16 if precision == "bf16" else torch.float16
    return torch.autocast(device.type, dtype)


def gradient_scaler(precision: Precision, device: torch.device) -> torch.amp.GradScaler:
    """Return a loss scaler, which is active for fp16 only.

    Args:
        precision: of the forward pass.
        device: what the model is on.
    """
    return torch.amp.GradScaler(device.type, enabled=precision == "fp16")


def to_device(model: nn.Module, device: torch.device) -> nn.Module:
    """Return a model on a device with channels last, which convolutions run faster in (1.6 x on a two-core Xeon).

    Args:
        model: is changed in place.
        device: where it goes.
    """
    return model.to(device).to(memory_format=torch.channels_last)


@contextlib.contextmanager
def computing() -> Iterator[None]:
    """Run torch in the block as every fit and every pass needs it: `keeping_memory`, on threads that fit."""
    with on_threads(), keeping_memory():
        yield


@contextlib.contextmanager
def on_threads(n: int | None = None) -> Iterator[None]:
    """Compute in the block on at most `n` of torch's threads; by default on all that this process may use.

    The number counts for the calling thread, and for threads that compute for the first time meanwhile.

    Args:
        n: how many measurably help. What a user has set (`OMP_NUM_THREADS`, `torch.set_num_threads`) is not exceeded.
    """
    keep_to_threads(_usable())
    if torch.get_num_threads() > 1:
        _waits_are_short()
    before = torch.get_num_threads()
    if n is None or n >= before:
        yield
        return
    torch.set_num_threads(max(1, n))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def keep_to_threads(n: int) -> None:
    """Compute on at most `n` of torch's threads from now on."""
    if torch.get_num_threads() > n:
        torch.set_num_threads(n)


@functools.cache
def _usable() -> int:
    return processors.usable()


def has_long_waits() -> bool:
    """Return whether torch's threads wait for each other so long that other work slows them by a multiple."""
    return torch.get_num_threads() > 1 and not _waits_are_short()


@functools.cache
def _waits_are_short() -> bool:
    """Return whether threads wait briefly; once, the waits of an OpenMP that was loaded before foveal are shortened."""
    library = ctypes.CDLL(None) if platform.system() in {"Linux", "Darwin"} else None
    has_call = hasattr(library, "kmp_set_blocktime")
    waits: processors.Waits = "KMP_BLOCKTIME" if has_call else "GOMP_SPINCOUNT"
    if processors.waits_are_chosen(waits):
        return processors.chosen_waits_are_short(waits)
    if library is not None and has_call:
        library.kmp_set_blocktime(processors.BLOCKTIME)
    elif library is not None and hasattr(library, "GOMP_parallel"):
        _keep_a_sleeping_team(library)
    else:
        return False
    return True


def _keep_a_sleeping_team(library: ctypes.CDLL) -> None:
    """Keep a thread, asleep, that has so large a team that GNU's OpenMP counts more threads than processors.

    Then it waits 100 rounds instead of 300,000 (libgomp's manual, `GOMP_SPINCOUNT`), which nothing else can ask of it
    once it is loaded. An unfrozen epoch beside one busy process takes 2.8 s so, and 4.4 s otherwise (see `processors`).
    """
    asleep, n = threading.Event(), len(processors.affinity()) + 1

    def sleep() -> None:
        torch.get_num_threads()  # so that torch does not set this thread's number again
        library.omp_set_num_threads(n)
        torch.ones(n * _GRAIN).add_(1)
        asleep.set()
        threading.Event().wait()

    threading.Thread(target=sleep, name="foveal-openmp", daemon=True).start()
    asleep.wait()


class Interruptible(Protocol):
    """Something that can end early."""

    signal: str | None


@contextlib.contextmanager
def defer_signals(work: Interruptible) -> Iterator[None]:
    """Record SIGTERM and the first interrupt in `work.signal` instead of ending at once; a second one ends at once.

    After the block the process ends with the code that belongs to the signal. Outside the main thread the block does
    nothing.

    Raises:
        KeyboardInterrupt: at a second interrupt, or after the block where the first one was recorded.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    first = math.inf

    def note(number: int, _: object) -> None:
        nonlocal first
        # torchrun passes a signal on to its processes once more.
        is_repeated = distributed.world_size() > 1 and time.monotonic() - first < _REPEAT_SECONDS
        if work.signal is not None and not is_repeated:
            raise KeyboardInterrupt
        first = min(first, time.monotonic())
        work.signal = signal.Signals(number).name

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if work.signal == "SIGTERM":
        sys.exit(128 + signal.SIGTERM)
    if work.signal is not None:
        raise KeyboardInterrupt


@contextlib.contextmanager
def without_collecting() -> Iterator[None]:
    """Pause the collector of reference cycles while very many small objects are made, none of them in a cycle.

    It would go through all of them again and again: a third of the time of a data block over 500,000 rows.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


# glibc's mallopt parameters, and what they are unless changed.
_MMAP_MAX, _TRIM_THRESHOLD = -4, -1
_USUAL = {_MMAP_MAX: 65536, _TRIM_THRESHOLD: 128 * 1024}
_keepers = 0
_keepers_lock = threading.Lock()


@contextlib.contextmanager
def keeping_memory() -> Iterator[None]:
    """Keep memory that tensors free for the next tensors, instead of giving it back to the system each time.

    On Linux with glibc every large tensor on the CPU otherwise costs fresh pages from the kernel: an unfrozen step of
    EfficientNet-Lite0 (64 images of 128 px, two cores) takes 1.4 s without and 0.9 s with this, at the same peak.
    Everything is given back at the end of the block; elsewhere the block does nothing.
    """
    if platform.libc_ver()[0] != "glibc":
        yield
        return
    libc = ctypes.CDLL(None)
    _keep(libc, 1)
    try:
        yield
    finally:
        _keep(libc, -1)


def _keep(libc: ctypes.CDLL, change: int) -> None:
    global _keepers
    with _keepers_lock:
        before, _keepers = _keepers, _keepers + change
        if before == 0:
            libc.mallopt(_MMAP_MAX, 0)
            libc.mallopt(_TRIM_THRESHOLD, 2**31 - 1)
        elif _keepers == 0:
            for parameter, value in _USUAL.items():
                libc.mallopt(parameter, value)
            libc.malloc_trim(0)
