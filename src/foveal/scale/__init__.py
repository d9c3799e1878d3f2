"""Engines: answers for more images than one process should be asked for."""
