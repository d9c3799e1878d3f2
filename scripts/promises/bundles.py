"""Bundles: 10,000 mutated ones, none loaded with changed weights; the tests themselves draw 2,000."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from promises import Report

ROOT = Path(__file__).parents[2]


def run(full: bool) -> Report:
    """Run the tests on hostile bundles with more mutated ones."""
    n = 10_000 if full else 200
    report = Report(f"bundles: {n} mutated, hostile ones refused")
    command = [sys.executable, "-m", "pytest", "-q", "tests/test_hostile_bundles.py"]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, env=os.environ | {"FOVEAL_MUTATED": str(n)}, check=False
    )
    report.require(done.returncode == 0, done.stdout[-2000:])
    report.table += [("tests of bundles", "result"), (done.stdout.strip().splitlines()[-1], "")]
    return report
