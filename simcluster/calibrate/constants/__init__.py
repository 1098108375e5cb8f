"""From measured tables to calibration files: which points, which form, which constants, which error remains."""
