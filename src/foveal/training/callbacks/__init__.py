"""Callbacks that a run may have, besides those that every fit has."""
