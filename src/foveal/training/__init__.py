"""Training: the loop, its schedule, optimizer and callbacks."""
