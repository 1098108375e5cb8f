"""From measured tables to calibration files: the points, the free constants, the fits and their errors."""
