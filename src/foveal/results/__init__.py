"""Results: predictions, their scores, and the pictures that show them."""
