"""From measured durations to a noise preset, with how well it fits."""

from __future__ import annotations

from simcluster.calibrate.noise.estimates import KINDS, Fit, fit
from simcluster.calibrate.noise.measurements import read_measured
from simcluster.calibrate.noise.preset import as_preset

__all__ = ["KINDS", "Fit", "as_preset", "fit", "read_measured"]
