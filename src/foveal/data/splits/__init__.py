"""Splits: functions that put items on the training or the validation side."""
