"""Durations of the parts of a step on an idle device and idle links, in seconds: pure functions of sizes."""
