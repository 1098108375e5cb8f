"""Noise worlds: what a draw depends on, and what it is distributed like."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from small_runs import digests_by_replicas

from simcluster.noise.read import read_noise
from simcluster.noise.slices import Slices
from simcluster.noise.sources import ArrivalSkew, Noise, OpJitter, row
from simcluster.noise.tables import FACTOR_BITS, SLICES, exponential_ticks, lognormal_factors
from simcluster.numerics.streams import stream
from simcluster.results.run import simulate
from simcluster.scenario.load import load
from simcluster.stages.factors import Factors
from simcluster.stages.step_noise import Skew, StepNoise

per_steps = st.integers(1, 9)


@settings(max_examples=30, deadline=None)
@given(per_steps, st.lists(st.integers(0, 1500), min_size=1, max_size=12))
def test_a_step_is_the_same_whenever_it_is_asked_for(per_step: int, steps: list[int]) -> None:
    """Random access gives what reading all steps in order gives, across blocks and back."""
    in_order = Slices(per_step, 7, "op_jitter", "gpu0")
    expected = [in_order.at(step)[0].tolist() for step in range(1501)]
    at_random = Slices(per_step, 7, "op_jitter", "gpu0")

    assert [expected[step] for step in steps] == [at_random.at(step)[0].tolist() for step in steps]


@given(per_steps)
def test_steps_read_the_stream_without_a_gap(per_step: int) -> None:
    """Step after step, across blocks, uses as many of the stream's words as it needs and skips none."""
    n_words = -(-per_step // 4)
    words = stream(7, "op_jitter", "gpu0").random_raw(n_words * 600)
    expected = words.astype("<u8").view("<u2").reshape(600, -1)[:, :per_step]
    slices = Slices(per_step, 7, "op_jitter", "gpu0")

    assert expected.tolist() == [slices.at(step)[0].tolist() for step in range(600)]


@given(per_steps)
def test_steps_have_draws_of_their_own(per_step: int) -> None:
    """No two of a thousand steps, within a block or across, have the same long run of draws."""
    slices = Slices(per_step, 7, "op_jitter", "gpu0")
    drawn = np.concatenate([slices.at(step) for step in range(1000)])
    wide = Slices(40, 7, "op_jitter", "gpu0")

    assert (1000, per_step) == drawn.shape
    assert 1000 == len({wide.at(step).tobytes() for step in range(1000)})


def test_every_name_has_a_stream_of_its_own() -> None:
    """Another seed, source or entity gives other draws."""
    keys = [(1, "op_jitter", "gpu0"), (2, "op_jitter", "gpu0"), (1, "arrival_skew", "gpu0"), (1, "op_jitter", "gpu1")]
    drawn = {Slices(64, seed, *names).at(0).tobytes() for seed, *names in keys}

    assert len(keys) == len(drawn)


def test_draws_are_even() -> None:
    """65,536 draws fall evenly into 64 bins: chi-square between its quantiles of 1e-4 on either side."""
    slices = Slices(64, 3, "even")
    drawn = slices.at(0, 1024).ravel()
    counts = np.bincount(drawn // (SLICES // 64), minlength=64)
    chi2 = ((counts - 1024) ** 2 / 1024).sum()

    assert stats.chi2.ppf(1e-4, 63) < chi2 < stats.chi2.ppf(1 - 1e-4, 63)


def test_neighbouring_draws_are_unrelated() -> None:
    """Correlation between ranks, and between successive steps, is within 4 standard errors of none."""
    one, other = (
        s.at(0, 1000).ravel().astype(float)
        for s in (Slices(16, 3, "arrival_skew", "gpu0"), Slices(16, 3, "arrival_skew", "gpu1"))
    )

    assert abs(np.corrcoef(one, other)[0, 1]) < 4 / math.sqrt(len(one))
    assert abs(np.corrcoef(one[:-16], one[16:])[0, 1]) < 4 / math.sqrt(len(one))


@pytest.mark.parametrize("cv", [0.01, 0.1, 0.5])
def test_the_lognormal_table_has_its_mean_and_spread(cv: float) -> None:
    """Over all slices the factors have mean 1 within 1e-4 and the wanted coefficient of variation within 0.5 %."""
    table = lognormal_factors(cv) / 2**FACTOR_BITS

    assert table.mean() == pytest.approx(1, abs=1e-4)
    assert table.std() / table.mean() == pytest.approx(cv, rel=5e-3)
    assert (np.diff(table) >= 0).all()


@pytest.mark.parametrize("cv", [0.02, 0.3])
def test_the_lognormal_table_is_the_inverse_distribution(cv: float) -> None:
    """Factors are scipy's lognormal quantiles at the mid-points of the slices, within their rounding to 2^-16."""
    sigma = math.sqrt(math.log1p(cv**2))
    points = (np.arange(SLICES) + 0.5) / SLICES
    expected = stats.lognorm.ppf(points, s=sigma, scale=math.exp(-(sigma**2) / 2))

    assert np.abs(expected - lognormal_factors(cv) / 2**FACTOR_BITS).max() < 2**-16


def test_the_exponential_table_is_the_inverse_distribution() -> None:
    """Delays are the exponential's quantiles at the mid-points, right in the mean and up to 11.8 means."""
    table = exponential_ticks(4e-6)
    points = (np.arange(SLICES) + 0.5) / SLICES

    assert np.abs(stats.expon.ppf(points, scale=4e6) - table).max() <= 1
    assert table.mean() == pytest.approx(4e6, rel=1e-4)
    assert table.max() / 4e6 == pytest.approx(11.8, abs=0.05)


@pytest.mark.parametrize("n_ranks", [2, 8, 32])
def test_ranks_meet_when_the_last_exponential_has_passed(n_ranks: int) -> None:
    """Own delay and wait make the largest of N exponentials: mean m H_N, of it wait m (H_N - 1), in 4 std errors."""
    mean_s, n_steps, n_collectives = 4e-6, 400, 16
    ranks = tuple(Slices(n_collectives, 5, "arrival_skew", f"gpu{rank}") for rank in range(n_ranks))
    noise = StepNoise(range(n_collectives), range(n_collectives), None, Skew(exponential_ticks(mean_s), ranks))
    draws = [noise.ops(step) for step in range(n_steps)]
    own, wait = (np.concatenate([getattr(d, name) for d in draws]) for name in ("own", "waited"))
    mean = mean_s * 1e12
    harmonic = sum(1 / k for k in range(1, n_ranks + 1))
    deviation = mean * math.sqrt(sum(1 / k**2 for k in range(1, n_ranks + 1)))

    def errors(values: np.ndarray, expected: float) -> float:
        return abs(values.mean() - expected) / (values.std() / math.sqrt(len(values)))

    assert (wait >= 0).all()
    assert errors(own + wait, mean * harmonic) < 4
    assert errors(wait, mean * (harmonic - 1)) < 4
    assert (own + wait).std() == pytest.approx(deviation, rel=0.1)


def test_sources_are_of_kinds_of_devices() -> None:
    """A source acts only on the kinds of devices that its row names."""
    noise = Noise(
        name="x",
        rows=(
            row("op_jitter", OpJitter.model_construct(cv=0.02), ("gpu",), "here"),
            row("arrival_skew", ArrivalSkew.model_construct(mean=1e-6), ("gpu", "rdu"), "here"),
        ),
    )

    assert [{"cv": 0.02}, None, None] == [noise.values("op_jitter", kind) for kind in ("gpu", "rdu", "wafer")]
    skew = {"mean_s": 1e-6, "first_rank_s": 0.0}
    assert [skew, skew, None] == [noise.values("arrival_skew", kind) for kind in ("gpu", "rdu", "wafer")]


def test_changing_a_source_leaves_the_others() -> None:
    """A changed source keeps its devices, a new one is on all of them, and the rest stays as it was."""
    noise = read_noise("datacenter")
    changed = noise.changed({"op_jitter": OpJitter.model_construct(cv=0.07)}, ("drift",))
    new = read_noise("none").changed({"arrival_skew": ArrivalSkew.model_construct(mean=2e-6)})

    assert {"cv": 0.07} == changed.values("op_jitter", "gpu")
    assert changed.values("op_jitter", "wafer") is None
    assert changed.values("drift", "gpu") is None
    assert noise.values("arrival_skew", "gpu") == changed.values("arrival_skew", "gpu")
    assert {"mean_s": 2e-6, "first_rank_s": 0.0} == new.values("arrival_skew", "wafer")


def test_more_devices_do_not_shift_the_noise_of_others() -> None:
    """One request has the same trace, to the byte, alone in its replica or with seven idle replicas next to it."""
    settings = [
        "deployment.tensor_parallel_size=1", "deployment.weights=8 bit", "model=llama-3.1-8b", "noise=datacenter",
        "workload.output_tokens.value=20",
    ]  # fmt: skip
    one, eight = digests_by_replicas(settings, 1, 8)

    assert one == eight


def test_a_source_more_leaves_the_others_draws() -> None:
    """Adding skew to a world with jitter changes neither its arithmetic nor its fetches."""
    settings = ["workload.output_tokens.value=20"]
    jitter, both = (
        simulate(
            load("llama-3.1-70b-8xh100", [*settings, f"noise={{preset: none, op_jitter: {{cv: 3 %}}{more}}}"])
        ).tokens()
        for more in ("", ", arrival_skew: {mean: 4 us}")
    )
    for name in ("compute_ticks", "weight_fetch_ticks", "kv_fetch_ticks", "interconnect_ticks"):
        assert jitter[name].tolist() == both[name].tolist()
    assert both["wait_for_peers_ticks"].sum() > 0


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.integers(0, 4), min_size=1, max_size=12).map(lambda kinds: [*kinds, *range(5)]),
    st.integers(0, 600),
    st.integers(1, 300),
)
def test_sums_by_kind_are_sums_of_the_ops(kinds: list[int], step: int, n_steps: int) -> None:
    """The draw of all ops of a kind in a step is the sum of their own draws, from any step on, across blocks."""
    collectives = range(0, len(kinds), 2)
    jitter = Factors(0.2, kinds, 5, "op_jitter", "gpu0")
    ranks = tuple(Slices(len(collectives), 5, "arrival_skew", f"gpu{rank}") for rank in range(3))
    noise = StepNoise(kinds, collectives, jitter, Skew(exponential_ticks(1e-6), ranks))
    factors, greatest = noise.factors(step, n_steps)
    delays = noise.delays(step, n_steps, tuple(range(10)))  # a component each for both delays of five kinds
    for later in range(0, n_steps, 37):
        by_kind = [np.bincount(kinds, drawn, minlength=5).tolist() for drawn in noise.ops(step + later)]

        assert by_kind[0] == factors[later].tolist()
        assert by_kind[1] + by_kind[2] == delays[later].tolist()
    assert factors.max() <= greatest
