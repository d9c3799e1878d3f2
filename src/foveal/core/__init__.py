"""Foundations: errors, randomness, storage, threads, devices and processes; nothing here knows what is trained."""
