"""From measured durations to a noise preset, with how well it fits."""

from __future__ import annotations

from simcluster.noise_fit.estimates import KINDS, Fit, fit
from simcluster.noise_fit.measured import read_measured
from simcluster.noise_fit.preset import as_preset

__all__ = ["KINDS", "Fit", "as_preset", "fit", "read_measured"]
