"""Metrics: equal to scikit-learn's on many drawn cases, with ties, missing classes and a single one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from promises import Report

ROOT = Path(__file__).parents[2]


def run(full: bool) -> Report:
    """Draw the cases of the tests anew, 10,000 a law; the tests themselves draw 200."""
    n = 10_000 if full else 20
    report = Report(f"metrics: equal to scikit-learn's to 1e-12, {n} drawn cases a law")
    command = [sys.executable, "-m", "pytest", "-q", "tests/test_metrics.py"]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, env=os.environ | {"FOVEAL_EXAMPLES": str(n)}, check=False
    )
    report.require(done.returncode == 0, done.stdout[-2000:])
    report.table += [("tests of metrics", "result"), (done.stdout.strip().splitlines()[-1], "")]
    return report
