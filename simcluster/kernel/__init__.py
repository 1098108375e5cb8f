"""The discrete-event kernel: the only part that knows SimPy."""
