"""Compare what two or more systems do in the same worlds: changes with their bounds, verdicts, causes, ranks."""
