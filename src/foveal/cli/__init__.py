"""The command line: one file per verb; heavy packages are imported inside the verb."""
