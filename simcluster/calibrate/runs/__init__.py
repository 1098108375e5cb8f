"""Published serving runs: which can be simulated, how, and how far the simulation is from the measurement."""
