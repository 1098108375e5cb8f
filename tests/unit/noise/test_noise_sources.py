"""Samplers of the noise worlds against theory and against measured figures."""

from __future__ import annotations

import math
from itertools import islice

import numpy as np
import pytest
from scipy import integrate, optimize, stats
from small_runs import digests_by_replicas

from simcluster.kernel.delivery import Delivery
from simcluster.noise.pace import ONE, DevicePace, Pace
from simcluster.noise.read import read_noise
from simcluster.noise.renewals import Renewals, clock_excursions, host_pauses, rare_stalls
from simcluster.noise.slices import Slices
from simcluster.noise.sources import Noise, NoiseRow, Source
from simcluster.noise.tables import SLICES, delay_ticks, exponential_ticks, lognormal_factors, pareto_s
from simcluster.numerics.streams import stream, uniforms
from simcluster.numerics.ticks import TICKS_PER_S
from simcluster.results.run import simulate
from simcluster.scenario.load import load
from simcluster.stages.step_noise import Skew, StepNoise
from simcluster.trace.columns import COMPONENT, N_KEYS, TOKEN_COLUMNS

US = 10**6


def world(source: Source, **values: float) -> Noise:
    """A world of one source on GPUs."""
    return Noise(name="made", rows=(NoiseRow(source=source, device_kinds=("gpu",), values=values, basis="made"),))


def passes(values: np.ndarray, distribution: stats.rv_continuous) -> bool:
    """Kolmogorov-Smirnov at one in ten thousand."""
    return bool(stats.kstest(values, distribution.cdf).pvalue > 1e-4)


def test_the_pareto_quantiles_are_those_of_its_distribution() -> None:
    """Quantile and distribution function undo each other, and both ends are met."""
    for u in (0.0, 0.1, 0.5, 0.9, 1.0):
        x = pareto_s(u, 0.6, 120e-6, 10e-3)

        assert u == pytest.approx((1 - (120e-6 / x) ** 0.6) / (1 - (120e-6 / 10e-3) ** 0.6), abs=1e-12)
    assert (120e-6, 10e-3) == pytest.approx((pareto_s(0, 0.6, 120e-6, 10e-3), pareto_s(1, 0.6, 120e-6, 10e-3)))


def test_devices_differ_as_a_lognormal_says() -> None:
    """Factors of 2,000 devices are lognormal with the stated deviation, and none is an outlier."""
    noise = world("device_spread", compute=0.02, memory=0.01, outliers=0.0, outlier_least=1.0, outlier_most=1.0)
    factors = np.log([DevicePace(5, f"gpu{n}", noise, "gpu").at(0)[:2] for n in range(2000)])

    assert passes(factors[:, 0], stats.norm(scale=0.02))
    assert passes(factors[:, 1], stats.norm(scale=0.01))
    assert abs(np.corrcoef(factors.T)[0, 1]) < 4 / math.sqrt(2000)


def test_a_share_of_the_devices_is_slow() -> None:
    """A tenth of 4,000 devices, within 4 standard errors, is slower by a uniform factor, in arithmetic only."""
    noise = world("device_spread", compute=0.0, memory=0.0, outliers=0.1, outlier_least=1.1, outlier_most=1.5)
    compute, fetch, _ = zip(*(DevicePace(5, f"gpu{n}", noise, "gpu").at(0) for n in range(4000)), strict=True)
    slow = np.array([factor for factor in compute if factor > 1])

    assert abs(len(slow) - 400) < 4 * math.sqrt(4000 * 0.1 * 0.9)
    assert passes(slow, stats.uniform(1.1, 0.4))
    assert {1.0} == set(fetch)


def test_drift_has_its_spread_and_its_memory() -> None:
    """Over 40,000 steps the log of the pace is normal with the stated deviation and correlation time."""
    noise = world("drift", compute=0.03, memory=0.0, time_s=2.0)
    pace = DevicePace(7, "gpu0", noise, "gpu")
    step = TICKS_PER_S // 5
    log = np.log([pace.at(n * step)[0] for n in range(40_000)])
    # One in 46 steps is as good as independent: exp(-4.6) is a hundredth.
    assert passes(log[::46], stats.norm(scale=0.03))
    for lag in (1, 10, 20):
        correlation = np.corrcoef(log[:-lag], log[lag:])[0, 1]
        # Bartlett: the standard error of an AR(1)'s autocorrelation is below sqrt((1+a^2)/(1-a^2)/n).
        a2 = math.exp(-0.2)

        assert correlation == pytest.approx(math.exp(-lag / 10), abs=4 * math.sqrt((1 + a2) / (1 - a2) / len(log)))
    assert pace.at(17 * step + 5) == pace.at(17 * step)
    assert (18 * step,) == pace.at(17 * step)[2:]


def test_clocks_fall_as_often_and_as_long_as_stated() -> None:
    """Gaps and durations of 3,000 excursions are exponential."""
    found = clock_excursions(3, "gpu0", 40.0, 0.5)
    while len(found.begins) < 3000:
        found.reach(found.begins[-1] if found.begins else 0)
    begins, ends = np.array(found.begins) / TICKS_PER_S, np.array(found.ends) / TICKS_PER_S

    assert passes(begins[1:] - ends[:-1], stats.expon(scale=40))
    assert passes(ends - begins, stats.expon(scale=0.5))
    down, until = found.at(found.begins[9])
    assert (True, found.ends[9]) == (down, until)
    assert (False, found.begins[10]) == found.at(found.ends[9])


def test_stalls_are_truncated_pareto() -> None:
    """Durations of 3,000 stalls have the truncated Pareto distribution, gaps the exponential."""
    found = rare_stalls(3, "gpu0", 5.0, 0.6, 120e-6, 10e-3)
    while len(found.begins) < 3000:
        found.reach(found.begins[-1] if found.begins else 0)
    begins, ends = np.array(found.begins) / TICKS_PER_S, np.array(found.ends) / TICKS_PER_S
    cut = 1 - (120e-6 / 10e-3) ** 0.6

    assert stats.kstest(ends - begins, lambda x: (1 - (120e-6 / x) ** 0.6) / cut).pvalue > 1e-4
    assert passes(begins[1:] - ends[:-1], stats.expon(scale=5.0))


def test_pauses_are_periodic_and_last_a_truncated_normal_time() -> None:
    """Pauses of a host begin at equal intervals and last a normal time, truncated at both ends."""
    found = host_pauses(3, "gpu0", 11.5, 0.38, 0.03, 0.34, 0.45)
    while len(found.begins) < 2000:
        found.reach(found.begins[-1] if found.begins else 0)
    begins, ends = np.array(found.begins) / TICKS_PER_S, np.array(found.ends) / TICKS_PER_S
    low, high = (0.34 - 0.38) / 0.03, (0.45 - 0.38) / 0.03

    assert np.diff(begins) == pytest.approx(11.5, abs=1e-9)
    assert 0 <= begins[0] < 11.5
    assert passes(ends - begins, stats.truncnorm(low, high, loc=0.38, scale=0.03))


def test_the_day_is_a_sine() -> None:
    """The diurnal temperature swings arithmetic by half the swing either way, and its mean is 0."""
    noise = world("diurnal", swing=0.02, period_s=240.0)
    pace = DevicePace(1, "gpu0", noise, "gpu")
    factors = np.array([pace.at(n * TICKS_PER_S)[0] for n in range(240)])

    assert factors.mean() == pytest.approx(1, abs=1e-12)
    assert (factors.min(), factors.max()) == pytest.approx((0.99, 1.01))
    assert [factors[60], factors[180]] == pytest.approx([1.01, 0.99])


def test_a_group_waits_for_its_slowest_rank() -> None:
    """Rank 0 goes by its own pace; own and wait together are the pace of the slowest."""
    noise = world("device_spread", compute=0.1, memory=0.05, outliers=0.0, outlier_least=1.0, outlier_most=1.0)
    names = [f"gpu{n}" for n in range(8)]
    interval = Pace(2, names, noise, "gpu").at(0)
    each = [DevicePace(2, name, noise, "gpu").at(0) for name in names]

    assert interval.compute == round(each[0][0] * ONE)
    assert interval.compute + interval.compute_more == max(round(compute * ONE) for compute, *_ in each)
    assert interval.fetch + interval.fetch_more == max(round(fetch * ONE) for _, fetch, _ in each)


@pytest.mark.parametrize("n", [2, 8, 72])
def test_the_greatest_of_some_lognormals_is_as_by_quadrature(n: int) -> None:
    """The mean pace of the slowest of N is the integral of the quantile of v^(1/N), within 4 standard errors."""
    sigma, n_groups = 0.05, 4000 // n
    noise = world("device_spread", compute=sigma, memory=0.0, outliers=0.0, outlier_least=1.0, outlier_most=1.0)
    slowest = [
        max(DevicePace(11, f"{group}.{rank}", noise, "gpu").at(0)[0] for rank in range(n))
        for group in range(n_groups)
    ]
    expected, _ = integrate.quad(lambda v: math.exp(sigma * stats.norm.ppf(v ** (1 / n))), 0, 1)

    assert abs(np.mean(slowest) - expected) < 4 * np.std(slowest) / math.sqrt(n_groups)


def test_arrival_skew_is_as_measured() -> None:
    """
    Eight ranks wait 7.2 us on average, skew is 9.2 us, and rank 0 is last in 24 %, all within a tenth.

    Measured in 114,171 collectives of tensor-parallel decode on eight B200. The wait is that of all ranks, the skew
    the time from the first to the last.
    """
    values = read_noise("datacenter").values("arrival_skew", "gpu")
    assert values is not None
    table = exponential_ticks(values["mean_s"])
    n_collectives, n_steps = 160, 200
    ranks = [
        np.concatenate(
            [table[Slices(n_collectives, 1, "arrival_skew", f"gpu{n}").at(step)[0]] for step in range(n_steps)]
        )
        for n in range(8)
    ]
    late = np.stack(ranks) / US
    late[0] += values["first_rank_s"] * 1e6
    last = late.max(axis=0)

    assert (last - late.min(axis=0)).mean() == pytest.approx(9.2, rel=0.1)
    assert (last - late).mean() == pytest.approx(7.2, rel=0.1)
    assert (late.argmax(axis=0) == 0).mean() == pytest.approx(0.24, rel=0.1)


def test_the_wait_of_rank_0_is_that_of_the_ranks() -> None:
    """The own delay and wait that a stage gets is what its ranks drew, rank 0 coming later by its extra."""
    table, more = exponential_ticks(4e-6), 2 * US
    slices = tuple(Slices(5, 4, "arrival_skew", f"gpu{n}") for n in range(4))
    noise = StepNoise(range(5), range(5), None, Skew(table, slices, more))
    drawn = np.stack([table[s.at(7)[0]] for s in slices])
    drawn[0] += more
    draws = noise.ops(7)

    assert drawn[0].tolist() == draws.own.tolist()
    assert (drawn.max(axis=0) - drawn[0]).tolist() == draws.waited.tolist()
    delays = noise.delays(7, 1, tuple(range(10)))  # a component each for both delays of five kinds
    assert drawn[0].tolist() + (drawn.max(axis=0) - drawn[0]).tolist() == delays[0].tolist()


def test_small_messages_are_as_measured() -> None:
    """
    An 8 KB all-reduce over PCIe lasts 16.1, 18.1, 22 and 127 us at p50, p95, p99 and p99.9, within a tenth.

    Without noise it lasts 16.1 us; factor and delay are the sums over all pairs of slices, drawn at random.
    """
    values = read_noise("workstation").values("small_messages", "gpu")
    assert values is not None
    factors = lognormal_factors(math.sqrt(math.expm1(values["sigma"] ** 2))) / ONE
    delays = delay_ticks(
        values["shoulder"], values["shoulder_mean_s"], values["tail"], values["tail_exponent"],
        values["tail_shortest_s"], values["tail_longest_s"],
    ) / US  # fmt: skip
    one, other = (Slices(1000, 6, "small_messages", "gpu0", what).at(0, 1000).ravel() for what in ("factor", "delay"))
    lasts = 16.1 * factors[one] + delays[other]

    assert np.quantile(lasts, [0.5, 0.95, 0.99, 0.999]) == pytest.approx([16.1, 18.1, 22, 127], rel=0.1)


def test_delays_have_their_shares() -> None:
    """A delay table has none, shoulder and tail in the stated shares, each with its own mean."""
    table = delay_ticks(0.03, 6e-6, 0.001, 0.6, 120e-6, 10e-3)
    n_shoulder, n_tail = round(0.03 * SLICES), round(0.001 * SLICES)

    assert SLICES - n_shoulder - n_tail == (table == 0).sum()
    assert table[-n_tail:].min() >= 120 * US
    assert table[-n_tail - n_shoulder : -n_tail].mean() == pytest.approx(6 * US, rel=2e-3)


def test_tokens_of_a_pause_come_at_its_end() -> None:
    """By hand: tokens made at 5, 12 and 19 with a pause from 10 to 18 come at 5, 18 and 19."""
    rows = np.zeros((len(TOKEN_COLUMNS), 3), np.int64)
    rows[1] = [0, 1, 2]
    rows[5] = [5, 12, 19]
    rows[N_KEYS + COMPONENT["compute"]] = [5, 7, 7]
    delivery = Delivery([Renewals(iter([(10, 18), (100, 110)]))], 1)
    delivery.deliver(rows)

    assert [5, 18, 19] == rows[5].tolist()
    assert [0, 6, -6] == rows[N_KEYS + COMPONENT["stall"]].tolist()
    assert [5, 13, 1] == rows[N_KEYS:].sum(axis=0).tolist()
    assert ([5], [19]) == (delivery.first_at.tolist(), delivery.last_at.tolist())


def test_a_paused_host_makes_the_tail_and_leaves_the_middle() -> None:
    """
    Pauses leave ITL at p50 and p99 as they are within 5 %, and make it 0.34 to 0.47 s at p99.9.

    Measured with garbage collection not frozen: 13.1, 20.7 and 499 ms; pauses of 0.34 to 0.45 s are stated for the
    same engine, with which 499 ms are not to be had: p99.9 is met within 40 %.
    """
    changes = ["workload.requests=40", "workload.output_tokens={kind: fixed, value: 600}"]
    made, delivered = (
        simulate(load("chat-70b-8xh100", [*changes, f"noise={preset}"])).tokens()
        for preset in ("{preset: noisy, without: [host_pauses]}", "noisy")
    )
    itl = [
        np.concatenate([np.diff(np.sort(t["emitted_at_ticks"][t["request"] == n])) for n in range(40)])
        for t in (made, delivered)
    ]
    quiet, paused = (np.quantile(values / TICKS_PER_S, [0.5, 0.99, 0.999]) for values in itl)

    assert paused[:2] == pytest.approx(quiet[:2], rel=0.05)
    assert quiet[2] < 0.2
    assert paused[2] == pytest.approx(0.499, rel=0.4)


def test_what_the_stated_pauses_make_of_the_stated_gaps() -> None:
    """
    Gaps that are 13.1, 18.6 and 20.7 ms at p50, p90 and p99 stay so within 2 %; p99.9 is its closed form, 0.371 s.

    Measured were 499 ms. A gap holds one pause, of 0.45 s at most, and what has passed of the gap as it begins, so of
    gaps up to p99 none comes to more than 0.471 s, whatever the distribution of the pauses: as stated, they do not
    make that percentile. With one gap in 774 so long, p99.9 is where the longest 77 % of them begin. Of the shorter
    half it is stated only that they are no longer than 13.1 ms; all as long, the mean, and so p99.9, is greatest.
    """
    values = read_noise("noisy").values("host_pauses", "gpu")
    assert values is not None
    levels, stated_s = [0.0, 0.5, 0.9, 0.99, 1.0], np.array([13.1, 13.1, 18.6, 20.7, 20.7]) / 1000
    made_s = np.interp(uniforms(stream(3, "gaps"), 400_000), levels, stated_s)
    rows = np.zeros((len(TOKEN_COLUMNS), len(made_s)), np.int64)
    rows[1] = np.arange(len(made_s))
    rows[5] = np.rint(made_s.cumsum() * TICKS_PER_S)
    Delivery([host_pauses(3, "gpu0", **values)], 1).deliver(rows)
    delivered_s = np.diff(rows[5]) / TICKS_PER_S
    ages_s = np.linspace(0, stated_s[-1], 2001)[:-1] + stated_s[-1] / 4000
    weights = 1 - np.interp(ages_s, stated_s[1:4], levels[1:4], left=0, right=1)  # an age is of a longer gap
    lasts = stats.truncnorm(
        (values["shortest_s"] - values["mean_s"]) / values["sd_s"],
        (values["longest_s"] - values["mean_s"]) / values["sd_s"], values["mean_s"], values["sd_s"],
    )  # fmt: skip
    share_of_long = made_s.mean() / values["every_s"]
    expected_s = optimize.brentq(
        lambda x: share_of_long * np.average(lasts.sf(x - ages_s), weights=weights) - 0.001, 0.3, 0.5
    )

    assert np.quantile(delivered_s, [0.5, 0.9, 0.99]) == pytest.approx(stated_s[1:4], rel=0.02)
    assert np.quantile(delivered_s, 0.999) == pytest.approx(expected_s, rel=0.02)
    assert 0.45 < delivered_s.max() < values["longest_s"] + stated_s[-1] < 0.499


PACED = ("device_spread", "drift", "clock_excursions")


def test_a_replica_more_leaves_the_others_noise() -> None:
    """With all sources, tokens of the first replica are the same with and without a second, idle one."""
    settings = [
        "deployment.tensor_parallel_size=2", "model=llama-3.1-8b", "workload.output_tokens.value=200",
        "noise={preset: noisy, rare_stalls: {every: 0.2 s, exponent: 0.6, shortest: 1 ms, longest: 9 ms}}",
    ]  # fmt: skip
    one, two = digests_by_replicas(settings, 1, 2)

    assert one == two


@pytest.mark.parametrize("source", [*PACED, "small_messages", "arrival_skew"])
def test_removing_a_source_leaves_the_draws_of_others(source: str) -> None:
    """A stream belongs to its source: the paces and slices of the others are as before."""
    full = read_noise("datacenter")
    less = full.changed({}, (source,))  # type: ignore[arg-type]
    others = [row.source for row in full.rows if row.source != source]

    assert others == [row.source for row in less.rows]
    for kept in PACED:
        if kept != source:
            alone = (
                full.changed({}, tuple(s for s in PACED if s != kept)),
                less.changed({}, tuple(s for s in PACED if s not in (kept, source))),
            )  # type: ignore[arg-type]
            paces = [[DevicePace(1, "gpu3", noise, "gpu").at(n * TICKS_PER_S) for n in range(60)] for noise in alone]

            assert paces[0] == paces[1]


def test_intervals_come_one_after_the_other() -> None:
    """Each interval begins after the one before has ended, and early and late queries give the same."""
    early, late = (rare_stalls(9, "gpu1", 0.01, 0.6, 1e-3, 1e-2) for _ in range(2))
    late.reach(TICKS_PER_S)
    reported = [early.next_begin(tick) for tick in range(0, TICKS_PER_S, TICKS_PER_S // 50)]

    assert reported == [late.next_begin(tick) for tick in range(0, TICKS_PER_S, TICKS_PER_S // 50)]
    assert all(end < begin for end, begin in islice(zip(late.ends, late.begins[1:], strict=False), 90))
