"""Comparison of two or more systems in the same worlds: changes with bounds, verdicts, causes and ranks."""
