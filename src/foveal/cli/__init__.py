"""The command line: one file a verb; what is heavy is imported inside the verb."""
