"""The audit: labels, split and every picture judged before anything is trained."""
