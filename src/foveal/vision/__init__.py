"""Vision: the notebook face and `vision_learner`."""
