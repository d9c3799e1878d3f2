"""Results: predictions, their scores, and the images that show them."""
