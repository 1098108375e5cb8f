"""Noise worlds: sources of randomness as functions of names, steps and simulated time."""
