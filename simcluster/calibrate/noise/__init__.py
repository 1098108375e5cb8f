"""From measured durations to a noise preset, with the quality of the fit."""

from __future__ import annotations

from simcluster.calibrate.noise.estimates import KINDS, Fit, fit
from simcluster.calibrate.noise.measurements import read_measured
from simcluster.calibrate.noise.preset import as_preset

__all__ = ["KINDS", "Fit", "as_preset", "fit", "read_measured"]
