"""Metrics: equal to scikit-learn's on many drawn cases, with ties, missing classes and a single one."""

from __future__ import annotations

from promises import Report


def run(full: bool) -> Report:
    """Draw the cases of the tests anew, 10,000 a law; the tests themselves draw 200."""
    n = 10_000 if full else 20
    report = Report(f"metrics: equal to scikit-learn's to 1e-12, {n} drawn cases a law")
    report.require_tests("test_metrics", FOVEAL_EXAMPLES=n)
    return report
