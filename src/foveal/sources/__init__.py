"""Sources: items, and a small reader for each format."""
