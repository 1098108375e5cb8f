"""Service times of pipeline stages: costs in ticks, with noise, slow devices and stalls."""
