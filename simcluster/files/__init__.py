"""Text to checked values: YAML with line numbers, problems with their places, units, quantities, atomic writing."""
