"""The processors that this process may use, and how its threads wait for each other; all of it without torch.

The number comes from the affinity and from the CPU quota of the control groups, so that a container with one processor
of a machine of 64 gets one thread, not 64. OpenMP's threads wait for each other in a loop that does nothing; where
other work competes for the processor, that loop takes it from the very thread that is waited for. The wait is made
short here, in the environment, which OpenMP reads once, when torch is loaded.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from foveal.core import distributed

Waits = Literal["GOMP_SPINCOUNT", "KMP_BLOCKTIME"]
"""The variables of GNU's runtime, and of LLVM's and Intel's."""

POLICY = "OMP_WAIT_POLICY"
"""The variable that all runtimes read; where it is set, foveal sets nothing."""

BLOCKTIME = 1
"""Milliseconds that threads of LLVM's and Intel's OpenMP wait busily; unset it is 200.

An unfrozen epoch (EfficientNet-Lite0, 256 images of 128 px, two cores) takes 1.5 s with 0, 1 and 200 on a quiet
machine, and 2.8, 3.0 and 3.7 s beside one busy process. Not 0: threads that sleep at once must be woken each time,
which has cost 1.5 times on a machine that woke them on one core.
"""

_SHORT: dict[Waits, str] = {
    # Rounds of GNU's OpenMP; unset it is 300,000. Beside one busy process the epoch above takes 2.8 s with 0 to 1,000
    # rounds, 3.3 s with 3,000, 4.1 s with 10,000 and 5.0 s unset; on a quiet machine 1.6 s with any of them.
    "GOMP_SPINCOUNT": "1000",
    "KMP_BLOCKTIME": str(BLOCKTIME),
}
# Rounds and milliseconds up to which waits are short: see the times above.
_LONGEST: dict[Waits, float] = {"GOMP_SPINCOUNT": 3000, "KMP_BLOCKTIME": 10}
_UNITS = {"k": 1e3, "m": 1e6, "g": 1e9, "t": 1e12, "ms": 1, "us": 1e-3, "s": 1e3}
_TICK = 0.01 if not hasattr(os, "sysconf") else 1 / os.sysconf("SC_CLK_TCK")
_IDLE_FIELDS = (3, 4)  # of a line of /proc/stat: idle, and waiting for a disk


def usable() -> int:
    """Return how many processors this process may use, at least one.

    It is the least of its affinity, the quota of its control groups (rounded down) and `PYTHON_CPU_COUNT`. Where
    several processes work on one run on this machine, it is this process's share.
    """
    n = len(affinity())
    if (wanted := os.environ.get("PYTHON_CPU_COUNT", "")).isdigit():
        n = min(n, int(wanted))
    if (quota := cgroup_quota()) < n:
        n = int(quota)
    return max(1, n // distributed.local_rank()[1])


def affinity() -> set[int]:
    """Return the processors that the system lets this process run on, whatever its quota."""
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))


def shorten_waits() -> None:
    """Make OpenMP's threads wait briefly, unless torch is already loaded; what the user has set stays as it is."""
    if "torch" not in sys.modules and POLICY not in os.environ:
        for name, value in _SHORT.items():
            os.environ.setdefault(name, value)


def waits_are_chosen(runtime: Waits) -> bool:
    """Return whether the environment sets how the threads of an OpenMP runtime wait."""
    return runtime in os.environ or POLICY in os.environ


def chosen_waits_are_short(runtime: Waits) -> bool:
    """Return whether the waits that the environment asks for are so short that other work does little harm."""
    if chosen := os.environ.get(runtime, "").strip().lower():
        return _number(chosen) <= _LONGEST[runtime]
    return os.environ.get(POLICY, "").strip().lower() == "passive"


def seconds_of_others() -> float | None:
    """Return the processor seconds of other processes on the processors that this one may use; None if unknown.

    They are counted from the start of the machine, less all that this process used: only differences mean something.
    """
    names = {f"cpu{number}" for number in affinity()}
    try:
        lines = Path("/proc/stat").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    busy = 0.0
    for name, *fields in (line.split() for line in lines if line.startswith("cpu")):
        if name in names:  # the first eight fields are disjoint; guests, after them, are counted in the first two
            busy += _TICK * sum(int(value) for at, value in enumerate(fields[:8]) if at not in _IDLE_FIELDS)
    return busy - sum(os.times()[:4])


def cgroup_quota(root: Path = Path("/")) -> float:
    """Return how many processors the control groups of this process allow, infinity where they set no quota.

    Args:
        root: below which the files of the system lie.
    """
    try:
        groups = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
        mounts = (root / "proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return math.inf
    paths = {
        controllers: path for _, controllers, path in (line.split(":", 2) for line in groups if line.count(":") > 1)
    }
    quotas = [math.inf]
    for line in mounts:
        mount, _, kind = line.partition(" - ")
        _, _, _, origin, mounted, *_ = [*mount.split(), *[""] * 5]
        filesystem, _, options = [*kind.split(), *[""] * 3][:3]
        if filesystem == "cgroup2":
            path = paths.get("")
        elif filesystem == "cgroup" and "cpu" in options.split(","):
            path = next((path for controllers, path in paths.items() if "cpu" in controllers.split(",")), None)
        else:
            continue
        top = root / mounted.lstrip("/")
        quotas += map(_quota, _folders(top, origin, path or "/"))
    return min(quotas)


def _number(text: str) -> float:
    """Return a number of OpenMP's variables: digits, perhaps with a unit, or a word for infinity."""
    digits = text.rstrip("kmgtsu")
    return float(digits) * _UNITS.get(text[len(digits) :], 1) if digits.isdigit() else math.inf


def _folders(top: Path, origin: str, path: str) -> Iterator[Path]:
    """Yield the folder of a control group and those above it, up to where the hierarchy is mounted.

    Inside a container the hierarchy may be mounted from `origin` on, while the path is told from the machine's root;
    a path that is not to be seen from here leaves the mounted folder itself.
    """
    inside = path.removeprefix(origin) if origin != "/" and path.startswith(origin) else path
    folder = top / inside.lstrip("/")
    yield from (one for one in (folder, *folder.parents) if one.is_relative_to(top) and one.is_dir())


def _quota(folder: Path) -> float:
    """Return the quota that a folder sets, in processors, by the file of version 2 or the two of version 1."""
    try:
        if (file := folder / "cpu.max").is_file():
            quota, period = file.read_text(encoding="ascii").split()
        else:
            quota, period = (
                (folder / f"cpu.cfs_{name}_us").read_text(encoding="ascii").strip() for name in ("quota", "period")
            )
        return int(quota) / int(period) if quota not in {"max", "-1"} else math.inf
    except (OSError, ValueError, ZeroDivisionError):
        return math.inf
