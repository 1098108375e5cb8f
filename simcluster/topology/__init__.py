"""Topologies: devices, the links that join them, and the routes between devices."""
