"""What the parts of a step cost: pure functions of sizes and constants, in seconds."""
