"""Where pixels and points go: homographies, resize steps, moves, and the one warp that resamples."""
