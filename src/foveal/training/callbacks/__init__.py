"""Hooks that a run may have besides those that it always has."""
