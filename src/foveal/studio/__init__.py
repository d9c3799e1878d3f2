"""The studio: a local page on which images are labelled, the labels checked, and a model is trained."""
