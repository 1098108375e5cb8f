"""What a simulation leaves: metrics, tables, run folders, replications, and the invariants they meet."""
