"""Probes: heads fitted to frozen features in place of epochs."""
