"""Where the spread of latencies comes from: exact shares of components, levels, entities, and what-if."""
