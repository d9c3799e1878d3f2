"""fastai notebooks as foveal's: read without being run, each cell with a verdict, and a copy with what must change."""
