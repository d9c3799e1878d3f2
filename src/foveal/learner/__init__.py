"""The learner: one object with data, model and loss, whose methods call the packages below."""
