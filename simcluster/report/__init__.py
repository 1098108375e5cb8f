"""Reports: one page about some runs, with their figures, pictures, assumptions and provenance."""
