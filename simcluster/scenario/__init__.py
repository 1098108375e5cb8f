"""Scenarios: as people write them, as they are simulated, and the way from one to the other."""
