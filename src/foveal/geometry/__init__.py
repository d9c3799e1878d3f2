"""Where pixels and points go: homographies, fits, moves, and the one warp that resamples."""
