"""Sweeps: one scenario played at many points of a design, resumed when killed, with capacities and Pareto fronts."""
