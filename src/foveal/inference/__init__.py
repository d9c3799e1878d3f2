"""Inference: the bundle, a trained model as one safe file, and the predictor that answers from it."""
