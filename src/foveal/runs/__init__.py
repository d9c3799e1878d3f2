"""Runs: from settings to a filled folder, and back."""
