"""Bundles: 10,000 mutated ones, none loaded with changed weights; the tests themselves draw 2,000."""

from __future__ import annotations

from promises import Report


def run(full: bool) -> Report:
    """Run the tests on hostile bundles with more mutated ones."""
    n = 10_000 if full else 200
    report = Report(f"bundles: {n} mutated, hostile ones refused")
    report.require_tests("test_hostile_bundles", FOVEAL_MUTATED=n)
    return report
