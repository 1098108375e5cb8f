"""Topologies: which devices there are, which links join them, and what lies on the way from one to another."""
