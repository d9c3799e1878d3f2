"""The learner: data, model and loss in one hand."""
