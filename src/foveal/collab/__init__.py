"""Collaborative filtering: what people will like, from what others liked."""
