"""Noise sources: random quantities as functions of names, steps and simulated time."""
