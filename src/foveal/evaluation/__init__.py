"""Evaluation: predictions, their metrics, thresholds, label issues, and the images that show them."""
