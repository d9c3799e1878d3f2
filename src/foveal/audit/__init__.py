"""The audit: labels, split and every image judged before anything is trained."""
