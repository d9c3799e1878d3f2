"""The audit: labels, split and every image are checked before anything is trained."""
