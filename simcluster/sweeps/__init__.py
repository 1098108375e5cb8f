"""Sweeps: a scenario at many points of a design, with resumption, capacity search and Pareto front."""
