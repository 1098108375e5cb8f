"""Text into checked values: YAML with its lines, problems with their places, units, quantities, atomic writing."""
