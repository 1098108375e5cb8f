"""Find the constants with the least mean error of logarithms, deterministically."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from simcluster.numerics.arrays import Floats

Constants = dict[str, float]


def search(
    predicted_s: Callable[[Constants], Floats],
    measured_s: Floats,
    start: Mapping[str, float],
    upper_bounds: Mapping[str, float],
    n_starts: int = 3,
    weights: Floats | None = None,
) -> Constants:
    """
    Search with Nelder-Mead over the logarithms of positive constants, from several starts, and round the best.

    Args:
        predicted_s: durations for a set of constants.
        measured_s: measured durations.
        start: first guess of each constant.
        upper_bounds: of some of them.
        n_starts: the first guess, and others around it.
        weights: of the points; None: all equal.

    Returns:
        The constants, to three significant digits.
    """
    from scipy.optimize import minimize

    names = list(start)
    logarithm = np.log(measured_s)

    def constants(x: Floats) -> Constants:
        return {name: min(float(np.exp(v)), upper_bounds.get(name, np.inf)) for name, v in zip(names, x, strict=True)}

    def loss(x: Floats) -> float:
        with np.errstate(all="ignore"):
            off = np.abs(np.log(predicted_s(constants(x))) - logarithm)
        return float(np.average(off, weights=weights)) if np.isfinite(off).all() else 1e3

    best = None
    for index in range(n_starts):
        around = np.random.Generator(np.random.PCG64(index)).normal(0.0, 0.3, len(names)) if index else 0.0
        x0 = np.log([start[name] for name in names]) + around
        options = {"maxiter": 600 * len(names), "maxfev": 600 * len(names), "xatol": 1e-3, "fatol": 1e-6}
        found = minimize(loss, x0, method="Nelder-Mead", options=options)
        if best is None or found.fun < best.fun - 1e-9:
            best = found
    assert best is not None
    return {name: rounded(value) for name, value in constants(best.x).items()}


def rounded(value: float, digits: int = 3) -> float:
    """Round to `digits` significant digits."""
    return float(f"{value:.{digits}g}")
