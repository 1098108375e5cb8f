"""The work of a step: arithmetic, bytes and exchanges of each op, independent of devices and durations."""
