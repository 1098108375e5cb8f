"""What a step asks of a device: operations, bytes and exchanges. Knows no time."""
