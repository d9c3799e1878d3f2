"""Tasks: one file answers every question about one kind of target."""
