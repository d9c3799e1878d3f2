"""foveal: from a folder or a table of pictures to a trained, explained and served model."""
