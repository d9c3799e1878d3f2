"""Data: splits, blocks, samples, batches, loaders."""
