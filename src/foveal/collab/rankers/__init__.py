"""Models that rank items for users, by what they had."""
