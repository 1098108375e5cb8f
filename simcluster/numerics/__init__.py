"""Numerical basics: integer time, named random streams, max-min fair rates, types of arrays."""
