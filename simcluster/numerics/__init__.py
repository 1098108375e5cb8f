"""Numbers that every part counts with: integer time, named random streams, max-min fair rates."""
