"""Fitted constants, each with its data, its residual, and whether it was measured, fitted, scaled or assumed."""
