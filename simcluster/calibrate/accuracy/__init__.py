"""Measured runs beside simulated ones: which cases can be played, how, and how far off the answer is."""
