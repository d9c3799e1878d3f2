"""Engines: answers for more pictures than one process should be asked for."""
