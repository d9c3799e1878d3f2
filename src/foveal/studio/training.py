"""`foveal train` on the labels of a studio, in a process of its own."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from foveal.runs import folder as run

_LAST = 12  # lines of the log that are shown
_SECONDS_TO_END = 60


@dataclass(slots=True)
class TrainingRun:
    """A run, at work or at its end.

    Attributes:
        folder: of the run.
        command: as a person would type it.
        process: trains.
        log: what it prints.
    """

    folder: Path
    command: list[str]
    process: subprocess.Popen[bytes]
    log: Path

    @classmethod
    def start(cls, table: Path, images: Path, options: Mapping[str, str], folder: Path) -> TrainingRun:
        """Return a run that has begun to train, in a process of its own.

        Args:
            table: with the labels.
            images: the folder that it names them in.
            options: of `foveal train`, by name.
            folder: of the run; must not be there.
        """
        words = [word for option, value in options.items() for word in (option, value)]
        command = ["train", str(table), "--images", str(images), *words, "--out", str(folder)]
        folder.parent.mkdir(parents=True, exist_ok=True)
        log = folder.with_name(f"{folder.name}.log")
        with log.open("wb") as out:
            process = subprocess.Popen(  # noqa: S603 -- our own program
                [sys.executable, "-m", "foveal", *command], stdout=out, stderr=subprocess.STDOUT, start_new_session=True
            )
        return cls(folder, ["foveal", *command], process, log)

    @property
    def is_at_work(self) -> bool:
        """Whether it still trains."""
        return self.process.poll() is None

    def state(self) -> dict[str, object]:
        """Return what a page shows of it."""
        code = self.process.poll()
        lines = self.log.read_text(encoding="utf-8", errors="replace").replace("\r", "\n").splitlines()
        ended = "at work" if code is None else "done" if code == 0 else "failed"
        return {
            "state": ended,
            "folder": str(self.folder),
            "command": self.command,
            "lines": [line for line in lines if line.strip()][-_LAST:],
            "model": str(self.folder / run.MODEL) if code == 0 else "",
            "report": str(self.folder / run.REPORT) if code == 0 else "",
        }

    def stop(self) -> None:
        """Let it save its state and end, from which `foveal train --resume` continues."""
        if self.is_at_work:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(_SECONDS_TO_END)
            except subprocess.TimeoutExpired:
                self.process.kill()
