"""What `scripts/reliability` shows, a file a promise. Each has `run(full) -> Report`."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]


@dataclass
class Report:
    """The outcome of one promise.

    Attributes:
        promise: in words.
        table: a header and rows, for the results page.
        broken: what did not hold; empty if all did.
    """

    promise: str
    table: list[Sequence[object]] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)

    def require(self, holds: bool, what: str) -> None:
        """Note what does not hold."""
        if not holds:
            self.broken.append(what)

    def require_tests(self, name: str, **environment: object) -> None:
        """Run a file of tests in an environment that asks more of them."""
        command = [sys.executable, "-m", "pytest", "-q", f"tests/{name}.py"]
        asked = {key: str(value) for key, value in environment.items()}
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=os.environ | asked, check=False)
        self.require(done.returncode == 0, done.stdout[-2000:])
        self.table += [(f"tests/{name}.py", "result"), (done.stdout.strip().splitlines()[-1], "")]
