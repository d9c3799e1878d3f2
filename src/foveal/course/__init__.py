"""The names of the fast.ai course, each a thin layer over foveal's own."""
