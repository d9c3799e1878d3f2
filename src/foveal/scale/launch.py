"""Start a command in several processes on this machine, as `torchrun` does."""

from __future__ import annotations

import logging
import os
import signal
import sys
import tempfile
import uuid
from pathlib import Path

from foveal.core import distributed, processors

_RESTARTS = 3  # of all processes, after one was killed; chosen by hand


def launch(n: int, more: list[str]) -> None:
    """Run this command without `--processes`, and with `more`, in `n` processes that work together.

    When one is killed all are started again, three times.

    Args:
        n: processes.
        more: options that are added to the command.

    Raises:
        SystemExit: one failed, with the code of the first that did.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    arguments = sys.argv[1:]
    index = next(index for index, word in enumerate(arguments) if word.startswith("--processes"))
    del arguments[index : index + (1 if "=" in arguments[index] else 2)]
    logging.disable()  # this process only waits; the messages of the others are enough
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, processors.usable() // n)))
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=n,
        run_id=str(uuid.uuid4()),
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=_RESTARTS,
        monitor_interval=0.2,
    )
    with tempfile.TemporaryDirectory() as folder:
        os.environ[distributed.GIVE_UP_FILE] = str(Path(folder) / "given-up")
        try:
            elastic_launch(config, sys.executable)("-P", "-m", "foveal", *arguments, *more)
        except ChildFailedError as error:
            code = error.get_first_failure()[1].exitcode
            sys.exit(code if code > 0 else 128 - code)
        except SignalException as stopped:
            sys.exit(128 + signal.Signals(stopped.sigval).value)
