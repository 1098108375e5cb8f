"""
Fit constants to measurements, and compare simulations with measured runs.

* `constants`: from measured tables to the calibration files of devices, links and engines (`simcluster fit`).
* `runs`: published serving runs, simulated and compared with what was measured (`simcluster validate`).
* `noise`: from measured durations to a noise preset (`simcluster fit-noise`).
"""
