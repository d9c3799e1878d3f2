"""Scale: predictions for more images than one process can answer for, and training in several processes."""
