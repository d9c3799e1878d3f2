"""Metrics as plain functions of (output, target)."""
