"""Runs: from settings to a filled folder, and back. `train`, `check`, `evaluate` and `compare` are the door."""

from foveal.runs.door import check, compare, evaluate, train, write_clean

__all__ = ["check", "compare", "evaluate", "train", "write_clean"]
