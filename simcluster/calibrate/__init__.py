"""Fit constants to measurements, and compare simulations with measured runs."""
