"""Reports: one page that holds all there is to say about some runs."""
