"""The scripts beside this file are cells for a kernel, not modules to import."""

collect_ignore_glob = ["*.py"]
