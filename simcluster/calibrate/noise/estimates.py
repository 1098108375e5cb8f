"""
Estimate parameters of noise sources from measurements.

Estimates use medians and quantiles, which are robust against outliers. A source that a table does not distinguish
from zero is left out of the preset.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import optimize, stats

from simcluster.calibrate.noise.measurements import require
from simcluster.files.problems import InputError, Problem
from simcluster.noise.tables import pareto_s
from simcluster.numerics.arrays import Floats

QUANTILES = (0.5, 0.9, 0.95, 0.99, 0.999)
MIN_ROWS = 100
"""Fewest rows of a table from which noise can be estimated."""
FAR = 3.0
"""Longer durations than this times the median belong to the tail."""
END = 12.0
"""Means of an exponential delay, of which one in 160,000 is longer."""
PAUSE = 10.0
"""Gaps between tokens longer than this times the median are pauses."""
_QUARTILE_RANGE = 1.349
"""Distance between the quartiles of a normal distribution, in standard deviations."""


class Fit(NamedTuple):
    """Noise estimated from a table."""

    sources: dict[str, dict[str, float]]
    """Parameters by source, durations in seconds, as `noise.sources` names them."""
    n_rows: int
    distance: float
    """Greatest difference between the distribution functions measured and fitted (Kolmogorov-Smirnov)."""
    quantiles: dict[float, tuple[float, float]]
    """Measured and fitted quantiles by probability, in the unit of `of`."""
    of: str
    """Unit and quantity of the quantiles."""


def fit(kind: str, table: pd.DataFrame, file: Path) -> Fit:
    """
    Estimate the noise sources that a kind of table shows.

    Args:
        kind: one of `KINDS`.
        table: see `measurements.read_measured`.
        file: its file, for messages.

    Raises:
        InputError: columns are missing, or rows are too few.
    """
    columns, estimate = KINDS[kind]
    require(table, columns, file)
    if len(table) < MIN_ROWS:
        found = f"{len(table)} rows"
        raise InputError([Problem(str(file), 0, "", found, f"expected at least {MIN_ROWS}")])
    try:
        return estimate(table)
    except _Insufficient as error:
        raise InputError([Problem(str(file), 0, "", str(error), "expected more, or another --kind")]) from None


class _Insufficient(ValueError):
    """The table is not sufficient for an estimate."""


def _ops(table: pd.DataFrame) -> Fit:
    """Estimate jitter, spread among devices and drift from the durations of repeated ops."""
    if (table["duration_s"] <= 0).any():
        raise _Insufficient("durations that are not positive")
    log = np.log(table["duration_s"])
    op = table["op"] if "op" in table else pd.Series(0, table.index)
    device = table["device"] if "device" in table else pd.Series(0, table.index)
    level = log.groupby([op, device]).transform("median")
    rest = (log - level).to_numpy()
    sources: dict[str, dict[str, float]] = {}
    if "time_s" in table and (drift := _drift(rest, table["time_s"].to_numpy(), device.to_numpy())) is not None:
        slow, sources["drift"] = drift
        rest = rest - slow
    sigma = _robust_sd(rest)
    sources = {"op_jitter": {"cv": math.sqrt(math.expm1(sigma**2))}, **sources}
    levels = log.groupby([op, device]).median().unstack()
    if levels.shape[1] >= 3:
        own = (levels - levels.median(axis=1).to_numpy()[:, None]).mean(axis=0)
        sources["device_spread"] = {
            "compute": float(own.std(ddof=1)), "memory": 0.0, "outliers": 0.0, "outlier_least": 1.0,
            "outlier_most": 1.0,
        }  # fmt: skip
    distance = stats.kstest(rest, stats.norm(scale=max(sigma, 1e-12)).cdf).statistic
    quantiles = {q: (math.exp(float(np.quantile(rest, q))), math.exp(sigma * stats.norm.ppf(q))) for q in QUANTILES}
    return Fit(sources, len(table), float(distance), quantiles, "factor of an op")


def _drift(rest: Floats, time_s: Floats, device: npt.NDArray[np.generic]) -> tuple[Floats, dict[str, float]] | None:
    """Estimate drift: the mean of each device over bins of time, if successive bins are correlated."""
    n_bins = max(len(rest) // (30 * len(np.unique(device))), 1)
    if n_bins < 30 or np.ptp(time_s) <= 0:
        return None
    width = np.ptp(time_s) / n_bins * (1 + 1e-12)
    bins = pd.Series(np.floor((time_s - time_s.min()) / width).astype(int))
    grouped = pd.Series(rest).groupby([pd.Series(device), bins])
    means = grouped.mean().unstack(0)
    pairs = [column.dropna().to_numpy() for _, column in means.items()]
    ahead, behind = np.concatenate([p[1:] for p in pairs]), np.concatenate([p[:-1] for p in pairs])
    correlation = float(np.corrcoef(ahead, behind)[0, 1])
    variance = float(np.mean(ahead * behind))  # covariance of neighbouring bins, to which jitter does not contribute
    if not correlation > 4 / math.sqrt(len(ahead)) or variance <= 0:
        return None
    later = np.mean(np.concatenate([p[2:] * p[:-2] for p in pairs if len(p) > 2]))
    fall = min(max(later / variance, 1e-3), 0.999)
    sd = math.sqrt(variance / fall)
    slow = grouped.transform("mean").to_numpy()
    return slow, {"compute": sd, "memory": 0.0, "time_s": width / -math.log(fall)}


def _collectives(table: pd.DataFrame) -> Fit:
    """Estimate noise of short exchanges: a lognormal, a shoulder, and a truncated Pareto tail."""
    lasts = np.sort(table["duration_s"].to_numpy())
    if lasts[0] <= 0:
        raise _Insufficient("durations that are not positive")
    far = FAR * np.median(lasts)
    for _ in range(2):  # the tail begins where the shoulder ends, which is known after the first round
        tail = lasts[lasts > far]
        median, sigma, shoulder, shoulder_mean_s = _lognormal_and_shoulder(lasts[: len(lasts) - len(tail)])
        far = max(far, median + END * shoulder_mean_s)
    share = len(tail) / len(lasts)
    values = {"up_to_s": 4 * median, "sigma": sigma, "shoulder": (1 - share) * shoulder,
              "shoulder_mean_s": shoulder_mean_s, "tail": 0.0, "tail_exponent": 1.0, "tail_shortest_s": 0.0,
              "tail_longest_s": 0.0}  # fmt: skip
    if share > 1e-4 and len(tail) >= 10 and tail[0] < tail[-1]:
        late = tail - median
        late = late[late >= np.quantile(late, 0.01)]  # drops the few values of the shoulder at the lower end
        values |= {"tail": share, "tail_shortest_s": float(late[0]), "tail_longest_s": float(late[-1]),
                   "tail_exponent": _pareto_exponent(late)}  # fmt: skip
    fitted = _exchange_sample(median, values)
    distance = stats.ks_2samp(lasts, fitted).statistic
    quantiles = {q: (float(np.quantile(lasts, q)) * 1e6, float(np.quantile(fitted, q)) * 1e6) for q in QUANTILES}
    return Fit({"small_messages": values}, len(table), float(distance), quantiles, "us of an exchange")


def _pareto_exponent(tail: Floats) -> float:
    """Find the most likely exponent of a Pareto distribution cut at the greatest value."""
    shortest, longest = tail[0], tail[-1]
    logs = np.log(tail / shortest).sum()

    def unlikely(exponent: float) -> float:
        cut = -math.expm1(-exponent * math.log(longest / shortest))
        return float(exponent * logs - len(tail) * math.log(exponent / cut))

    return float(optimize.minimize_scalar(unlikely, bounds=(0.01, 20), method="bounded").x)


def _lognormal_and_shoulder(near: Floats) -> tuple[float, float, float, float]:
    """
    Find median and sigma of a lognormal, and share and mean of an exponential delay that some values have on top.

    Delays only add, so low quantiles are those of the lognormal, at probabilities among the values without delay. The
    mean exceeds the lognormal's by share x mean of the delay, and the mean square by 2 x share x mean^2 plus twice
    the lognormal's mean times that. Both are found in turns, until they agree.
    """
    low = np.linspace(0.02, 0.4, 20)
    logs = np.log(np.quantile(near, low))
    share = delay_s = median = sigma = 0.0
    for _ in range(50):
        sigma, centre = np.polyfit(stats.norm.ppf(low / (1 - share)), logs, 1).tolist()
        median = math.exp(centre)
        mean = median * math.exp(sigma**2 / 2)
        more = float(near.mean()) - mean
        square = float((near**2).mean()) - mean**2 * math.exp(sigma**2) - 2 * mean * more
        if more <= 0 or square <= 0:
            return median, sigma, 0.0, 0.0
        delay_s = square / (2 * more)
        before, share = share, min(more / delay_s, 0.5)
        if abs(share - before) < 1e-6:
            break
    return median, sigma, share, delay_s


def _exchange_sample(median: float, values: dict[str, float]) -> Floats:
    """Sample exchanges with this noise: all pairs of 100 quantiles of the factor and 20,000 of the delay."""
    factors = median * np.exp(values["sigma"] * stats.norm.ppf((np.arange(100) + 0.5) / 100))
    u = (np.arange(20_000) + 0.5) / 20_000
    none = 1 - values["shoulder"] - values["tail"]
    delays = np.zeros_like(u)
    in_shoulder = (u >= none) & (u < none + values["shoulder"])
    if in_shoulder.any():
        delays[in_shoulder] = -values["shoulder_mean_s"] * np.log1p(-(u[in_shoulder] - none) / values["shoulder"])
    in_tail = u >= none + values["shoulder"]
    if values["tail"] and in_tail.any():
        rank = np.minimum((u[in_tail] - none - values["shoulder"]) / values["tail"], 1.0)
        bounds = values["tail_exponent"], values["tail_shortest_s"], values["tail_longest_s"]
        delays[in_tail] = [pareto_s(r, *bounds) for r in rank.tolist()]
    sample: Floats = np.add.outer(factors, delays).ravel()
    return sample


def _arrivals(table: pd.DataFrame) -> Fit:
    """Estimate delays of ranks at collectives: exponential, and an additional delay of rank 0."""
    arrived = table.pivot_table(index="collective", columns="rank", values="arrived_s")
    arrived = arrived.dropna()
    if arrived.shape[1] < 2 or 0 not in arrived.columns or len(arrived) < 30:
        raise _Insufficient("fewer than 30 collectives with all ranks, rank 0 among them")
    others = arrived.drop(columns=0)
    n = others.shape[1]
    # The first of n exponentials, mean / n on average, is subtracted from all.
    mean_s = float(others.sub(others.min(axis=1), axis=0).to_numpy().mean()) / (1 - 1 / n) if n > 1 else 0.0
    if n == 1:
        mean_s = float((arrived[0] - others.iloc[:, 0]).abs().median() / math.log(2))
    first_rank_s = max(0.0, float((arrived[0] - others.mean(axis=1)).mean()))
    skew = arrived.max(axis=1) - arrived.min(axis=1)
    drawn = np.random.Generator(np.random.Philox(key=1)).exponential(mean_s, (20_000, n + 1))
    drawn[:, 0] += first_rank_s
    fitted = np.ptp(drawn, axis=1)
    distance = stats.ks_2samp(skew, fitted).statistic
    quantiles = {q: (float(np.quantile(skew, q)) * 1e6, float(np.quantile(fitted, q)) * 1e6) for q in QUANTILES}
    sources = {"arrival_skew": {"mean_s": mean_s, "first_rank_s": first_rank_s}}
    return Fit(sources, len(table), float(distance), quantiles, "us from the first rank to the last")


def _tokens(table: pd.DataFrame) -> Fit:
    """Estimate pauses of a host from delivery times: gaps that all requests have at the same time."""
    ordered = table.sort_values(["request", "time_s"], kind="stable")
    gaps = ordered.groupby("request")["time_s"].diff()
    known = gaps.notna()
    gap, end = gaps[known].to_numpy(), ordered["time_s"][known].to_numpy()
    middle = float(np.median(gap))
    is_long = gap > PAUSE * middle
    if is_long.sum() < 3:
        raise _Insufficient(f"fewer than three gaps of more than {PAUSE:g} times the median")
    ends = np.sort(end[is_long])
    lengths = gap[is_long][np.argsort(end[is_long], kind="stable")]
    number = np.concatenate([[0], np.cumsum(np.diff(ends) > PAUSE * middle)])
    pauses = pd.Series(lengths).groupby(number).max().to_numpy() - middle
    when = pd.Series(ends).groupby(number).median().to_numpy()
    if len(pauses) < 3:
        raise _Insufficient(f"{len(pauses)} pauses")
    every_s = float(np.median(np.diff(when)))
    shortest, longest = float(pauses.min()), float(min(pauses.max(), 0.999 * every_s))
    values = {"every_s": every_s, "mean_s": float(np.clip(pauses.mean(), shortest, longest)),
              "sd_s": float(pauses.std(ddof=1)), "shortest_s": shortest, "longest_s": longest}  # fmt: skip
    cut = stats.truncnorm(
        (shortest - values["mean_s"]) / max(values["sd_s"], 1e-9),
        (longest - values["mean_s"]) / max(values["sd_s"], 1e-9), values["mean_s"], max(values["sd_s"], 1e-9),
    )  # fmt: skip
    quantiles = {q: (float(np.quantile(pauses, q)) * 1e3, float(cut.ppf(q)) * 1e3) for q in (0.1, 0.5, 0.9)}
    return Fit({"host_pauses": values}, len(table), float(stats.kstest(pauses, cut.cdf).statistic), quantiles,
               "ms of a pause")  # fmt: skip


def _robust_sd(values: Floats) -> float:
    low, high = np.quantile(values, [0.25, 0.75])
    return float(high - low) / _QUARTILE_RANGE


KINDS: dict[str, tuple[tuple[str, ...], Callable[[pd.DataFrame], Fit]]] = {
    "ops": (("duration_s",), _ops),
    "collectives": (("duration_s",), _collectives),
    "arrivals": (("collective", "rank", "arrived_s"), _arrivals),
    "tokens": (("request", "time_s"), _tokens),
}
"""Kinds of table: required columns and estimator. Tables of ops may also have `op`, `device` and `time_s`."""
