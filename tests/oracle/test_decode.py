"""Decode of one request on shipped scenarios against the sum of its ops, recomputed op by op; exact to the tick."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from support import Played, played

from simcluster.catalog.calibration.gpu import GpuCalibration
from simcluster.catalog.shapes import head_parameters, kv_bytes_per_token_per_layer
from simcluster.costs.blocks import HostTime
from simcluster.costs.collectives import flat, hierarchical_all_reduce, phases_s
from simcluster.costs.gpu import Work, op_s, peak_flop_per_s
from simcluster.costs.memory_device import MemoryDevice, op_class
from simcluster.costs.wafer_device import WaferDevice
from simcluster.numerics.ticks import TICKS_PER_S, to_ticks
from simcluster.results.run import simulate
from simcluster.scenario.load import load
from simcluster.scenario.resolved import Scenario, Stage
from simcluster.stages.nominal import KNOTS, BlockStage, TimedBlocks
from simcluster.stages.timed import OpTicks, TimedStage
from simcluster.work.batch import Batch
from simcluster.work.op import Linear, Op, Precision
from simcluster.work.programs import PROGRAMS, RankWork

PROMPT, OUTPUT = 100, 4
ONE_REQUEST = (
    "noise=none",
    f"workload.prompt_tokens.value={PROMPT}",
    f"workload.output_tokens.value={OUTPUT}",
)


def run(name: str, *settings: str, seed: int | None = None) -> tuple[Scenario, Played]:
    scenario = load(name, [*ONE_REQUEST, *settings], seed)
    return scenario, played(simulate(scenario))


def decode(context: int) -> Batch:
    """A step of one decode token that attends to `context` entries."""
    return Batch(1, context, outputs=1, sequences=1)


def gaps(run: Played) -> list[int]:
    """Inter-token latencies."""
    return np.diff(run.tokens["emitted_at_ticks"]).tolist()


def work(form: Linear, context: int) -> float:
    """Value of a linear form for a decode step of one request."""
    values = {
        "step": 1, "tokens": 1, "decode_tokens": 1, "decode_context": context, "prefill_tokens": 0,
        "prefill_pairs": 0, "prefill_context": 0, "outputs": 1, "sequences": 1, "output_step": 1,
    }  # fmt: skip
    return form.coefficient * values[form.feature]


def stage_ops(scenario: Scenario, stage: Stage) -> Iterator[Op]:
    """All ops of a stage but the host's, layer by layer."""
    pool = scenario.pools[0]
    work = RankWork(pool.model, Precision(pool.weight_bits, pool.kv_bits), len(stage.devices))
    blocks = work.blocks()
    for block in work.program.blocks_of(stage.layers):
        if block != "host":
            yield from blocks[block]


def op_seconds(scenario: Scenario, op: Op, context: int) -> tuple[float, float, float]:
    """Launch, compute and fetch of one op on a memory device."""
    pool = scenario.pools[0]
    calibration = pool.gpu
    fit = calibration.ops[op_class(op, pool.model, calibration, False)][16]
    flop, weights, kv, activations = (
        work(form, context) for form in (op.flop, op.weight_bytes, op.kv_bytes, op.activation_bytes)
    )
    peak = peak_flop_per_s(pool.device, fit.compute_bits)
    rows = float(op.kind == "gemm")
    inputs = 2.0 * op.in_features if rows else activations
    done = Work(flop, weights + kv, inputs, activations - inputs, rows, op.in_features, 0.0)
    fixed, compute, fetch = op_s(done, fit, peak, pool.device.memory_bytes_per_s)
    launch_s = float(fixed) + (calibration.launch_s[pool.engine.launch] if fixed > 0 else 0.0)
    return launch_s, float(compute), float(fetch)


def op_ticks(scenario: Scenario, op: Op, context: int) -> int:
    """Launch, the longer of compute and fetch, each rounded once; attention on the chord between its knots."""
    launch_s, *parts_s = op_seconds(scenario, op, context)
    if op.kind == "attention_decode":
        high = next(knot for knot in KNOTS if knot > context)
        low = KNOTS[KNOTS.index(high) - 1]
        ends = zip(op_seconds(scenario, op, low)[1:], op_seconds(scenario, op, high)[1:], strict=True)
        slopes = [(a, (b - a) / (high - low)) for a, b in ends]
        parts_s = [a - slope * low + slope * context for a, slope in slopes]
    return to_ticks(launch_s) + max(map(to_ticks, parts_s))


@pytest.mark.parametrize("name", ["llama-3.1-70b-8xh100", "gpt3-175b-8xh100", "llama-3.1-70b-16xsn40l"])
def test_chords_are_as_good_as_the_curve(name: str) -> None:
    """Between two knots attention is nowhere more than a thousandth off its formula."""
    scenario = load(name)
    op = next(op for op in stage_ops(scenario, scenario.replicas[0].stages[0]) if op.kind == "attention_decode")
    for context in [*range(1, 300), *range(300, 100_000, 997)]:
        exact = sum((launch := op_seconds(scenario, op, context))[:1]) + max(launch[1:])

        assert op_ticks(scenario, op, context) == pytest.approx(exact * TICKS_PER_S, rel=1e-3)


def exchange_ticks(scenario: Scenario, op: Op) -> int:
    """The collective after an op of one decode token, by its closed form."""
    pool = scenario.pools[0]
    if not op.exchange:
        return 0
    group = pool.group
    n_bytes = work(op.exchange_bytes, 0)
    launch = pool.engine.launch
    if op.exchange == "all_gather":
        fits = (group.across or group.inside).all_gather
        phases = flat("all_gather", fits, group.ranks_per_node * group.n_nodes, launch)
    elif group.across is None:
        phases = flat("all_reduce", group.inside.all_reduce, group.ranks_per_node, launch)
    else:
        phases = hierarchical_all_reduce(group.inside, group.across, group.ranks_per_node, group.n_nodes, launch)
    return to_ticks(float(phases_s(phases, n_bytes)))


def hops_ticks(scenario: Scenario) -> int:
    """A token's vector from stage to stage, and the chosen token back."""
    replica = scenario.replicas[0]
    n_bytes = scenario.pools[0].model.hidden * 2
    hops = [stage.next_hop for stage in replica.stages if stage.next_hop]
    back = replica.return_hop
    ticks = sum(to_ticks(hop.latency_s) + to_ticks(n_bytes / hop.bytes_per_s) for hop in hops)
    return ticks + (to_ticks(back.latency_s + 4 / back.bytes_per_s) if back else 0)


@pytest.mark.parametrize("fidelity", ["auto", "op"])
@pytest.mark.parametrize("name", ["llama-3.1-70b-8xh100", "gpt3-175b-8xh100", "llama-3.1-70b-16xsn40l"])
def test_a_token_on_a_group_is_the_sum_of_its_ops(name: str, fidelity: str) -> None:
    """Without noise a token at batch 1 lasts host + sum of ops + closed forms of the collectives, tick for tick."""
    scenario, tokens = run(name, f"fidelity={fidelity}")
    engine, replica = scenario.pools[0].engine, scenario.replicas[0]
    host = to_ticks(engine.host_fixed_s + engine.host_per_sequence_s)

    def gap(context: int) -> int:
        ops = [op for stage in replica.stages for op in stage_ops(scenario, stage)]
        own = sum(op_ticks(scenario, op, context) + exchange_ticks(scenario, op) for op in ops)
        return host + own + hops_ticks(scenario)

    assert [gap(PROMPT + token) for token in range(1, OUTPUT)] == gaps(tokens)
    assert [sum(exchange_ticks(scenario, op) for stage in replica.stages for op in stage_ops(scenario, stage))
            + hops_ticks(scenario)] * (OUTPUT - 1) == tokens.tokens["interconnect_ticks"][1:].tolist()  # fmt: skip


@pytest.mark.parametrize("name", ["llama-3.1-8b-1xwse3", "gpt3-175b-9xwse3", "gpt4-1.8t-60xwse3-w8"])
def test_a_token_on_wafers_is_the_sum_of_its_ops_and_hops(name: str) -> None:
    """Without noise a token at batch 1 lasts host + ops of every layer + hops between wafers, tick for tick."""
    scenario, tokens = run(name)
    pool = scenario.pools[0]
    engine, grid = pool.engine, pool.device.grid
    host = HostTime(engine.host_fixed_s, engine.host_per_sequence_s)
    precision = Precision(pool.weight_bits, pool.kv_bits)
    region = (grid.rows, grid.columns)
    strips = max(len(stage.layers.kinds) for stage in scenario.replicas[0].stages)
    device = WaferDevice(
        RankWork(pool.model, precision), pool.device, pool.wafer, host, region, strips=strips
    )  # fmt: skip

    def gap(context: int) -> int:
        total = hops_ticks(scenario)
        for stage in scenario.replicas[0].stages:
            for block in PROGRAMS["token"].blocks_of(stage.layers):
                batch = decode(context)
                for op, idle in zip(device.ops(block), device.seconds(block, batch), strict=True):
                    seconds = device.attention(op, batch) if op.is_attention else idle
                    launch, compute, fetch, exchange = map(to_ticks, seconds)
                    total += launch + max(compute, fetch) + exchange
        return total

    assert [gap(PROMPT + token) for token in range(1, OUTPUT)] == gaps(tokens)


def ideal(calibration: GpuCalibration) -> GpuCalibration:
    """A device without fixed costs that attains what its data sheet says."""
    perfect = {
        "fixed_s": 0.0, "memory_efficiency": 1.0, "compute_efficiency": 1.0, "activation_efficiency": None,
        "output_efficiency": None, "ramp_bytes": 0.0, "ramp_slowdown": 0.0, "passage": 0.0,
        "wave_columns": 0.0, "key_s": 0.0,
    }  # fmt: skip
    ops = {
        kind: {bits: fit.model_copy(update=perfect) for bits, fit in fits.items()}
        for kind, fits in calibration.ops.items()
    }
    return calibration.model_copy(
        update={"ops": ops, "launch_s": {"graph": 0.0, "eager": 0.0}, "sustained_slowdown": 0.0}
    )


def ideal_stage(scenario: Scenario) -> BlockStage:
    """The first stage of a scenario on an ideal device, its exchanges and its host free."""
    pool = scenario.pools[0]
    precision = Precision(pool.weight_bits, pool.kv_bits)
    stage = scenario.replicas[0].stages[0]
    work = RankWork(pool.model, precision, len(stage.devices))
    device = MemoryDevice(work, pool.device, ideal(pool.gpu), "graph", HostTime(0.0, 0.0), lambda kind, n_bytes: 0.0)
    return BlockStage(TimedBlocks(device), work.program.blocks_of(stage.layers))


def rounding_ticks(ops: OpTicks) -> int:
    """Bound of the difference between a sum of rounded durations and the rounded sum: half a tick an op."""
    return len(ops.compute) // 2 + 1


def test_an_ideal_device_reads_its_weights_and_its_cache_at_full_bandwidth() -> None:
    """Without fixed costs, at full efficiency, a decode step lasts bytes / bandwidth: weights, cache, activations."""
    scenario = load("llama-3.1-70b-8xh100", ONE_REQUEST)
    pool = scenario.pools[0]
    shape, context, n_ranks = pool.model, 1000, 8
    ops = TimedStage(ideal_stage(scenario)).service(0, decode(context), 0).ops()

    # By hand: grouped-query attention, gated feed-forward, 16 bit everywhere, one eighth of it on each rank.
    hidden, width, kv_width, ff = (
        shape.hidden,
        shape.heads * shape.head_dim,
        shape.kv_heads * shape.head_dim,
        shape.ff,
    )
    layer = hidden * (width + 2 * kv_width) + width * hidden + 3 * hidden * ff
    weights = 2 * (shape.layers * layer + head_parameters(shape)) / n_ranks + 2 * hidden / 1
    cache = kv_bytes_per_token_per_layer(shape, 16) * context * shape.layers / n_ranks
    whole = 2 * hidden + hidden + hidden + 2 * hidden + hidden + hidden  # norms, and ins and outs that are not cut
    cut = (width + 2 * kv_width) + 2 * width + width + 2 * ff + 3 * ff + ff
    activations = 2 * (
        shape.layers * (whole + cut / n_ranks) + 3 * hidden + shape.vocab / n_ranks + 3 * shape.vocab + hidden
    )
    expected = (weights + cache + activations) / pool.device.memory_bytes_per_s * TICKS_PER_S

    assert abs(expected - ops.total()) <= rounding_ticks(ops)


def test_an_ideal_device_computes_a_long_prompt_at_its_peak() -> None:
    """Without fixed costs, at full efficiency, the ops of a long prompt that compute last their FLOP / peak."""
    scenario = load("llama-3.1-70b-8xh100", ONE_REQUEST)
    pool = scenario.pools[0]
    shape, n, n_ranks = pool.model, 8192, 8
    stage = ideal_stage(scenario)
    ops = TimedStage(stage).service(0, Batch(0, 0, n, n * (n + 1) // 2, n, 1, 1), 0).ops()

    hidden, width, kv_width, ff = (
        shape.hidden,
        shape.heads * shape.head_dim,
        shape.kv_heads * shape.head_dim,
        shape.ff,
    )
    layer = hidden * (width + 2 * kv_width) + width * hidden + 3 * hidden * ff
    flop = 2 * n * shape.layers * layer + 4 * width * shape.layers * n * (n + 1) // 2
    expected = flop / n_ranks / pool.device.peak_flop_per_s["bf16"] * TICKS_PER_S
    bound = np.array([op.kind in ("gemm", "attention_prefill") and op.name != "head" for op in stage.all_ops])

    assert (ops.compute[bound] >= ops.fetch[bound]).all()
    assert abs(expected - int(ops.compute[bound].sum())) <= rounding_ticks(ops)


@pytest.mark.parametrize("name", ["llama-3.1-70b-8xh100", "llama-3.1-70b-4xwse3"])
def test_without_noise_the_seed_does_not_matter(name: str) -> None:
    """With noise off, two seeds give the same bytes."""
    (_, one), (_, other) = run(name, seed=1), run(name, seed=2)

    assert one.digest == other.digest


def test_without_noise_equal_requests_have_equal_latencies() -> None:
    """With noise off, requests that meet an empty system one after the other all take the same time, exactly."""
    _, alone = run(
        "llama-3.1-70b-8xh100", "workload.arrivals={kind: deterministic, rate: 1 req/s}", "workload.requests=5"
    )
    e2e = alone.requests["last_token_at_ticks"] - alone.requests["arrived_at_ticks"]

    assert 1 == len(set(e2e.tolist()))
    assert OUTPUT * 5 == len(alone.tokens["token"])


def test_with_noise_seeds_are_different_worlds() -> None:
    """With noise on, two seeds differ in every token, and the same seed is the same to the byte."""
    runs = [run("llama-3.1-70b-8xh100", "noise=datacenter", seed=seed)[1] for seed in (1, 2, 1)]

    assert runs[0].digest == runs[2].digest
    assert (runs[0].tokens["emitted_at_ticks"] != runs[1].tokens["emitted_at_ticks"]).all()


def test_skew_never_shortens_a_step_and_jitter_leaves_exchanges_alone() -> None:
    """Noise at a barrier only adds; a noise of single ops does not touch what is exchanged."""
    _, quiet = run("llama-3.1-70b-8xh100")
    _, skewed = run("llama-3.1-70b-8xh100", "noise={preset: none, arrival_skew: {mean: 4 us}}")
    _, jittered = run("llama-3.1-70b-8xh100", "noise={preset: none, op_jitter: {cv: 5 %}}")

    assert (np.array(gaps(skewed)) > np.array(gaps(quiet))).all()
    assert quiet.tokens["interconnect_ticks"].tolist() == jittered.tokens["interconnect_ticks"].tolist()
    assert (skewed.tokens["wait_for_peers_ticks"] > 0).all()


@pytest.mark.parametrize("name", ["llama-3.1-70b-8xh100", "gpt3-175b-9xwse3"])
def test_twice_the_layers_take_twice_as_long(name: str) -> None:
    """The part of a decode step other than host, embedding, head and hops is proportional to the layers, exactly."""
    scenario = load(name, ONE_REQUEST)
    pool = scenario.pools[0]
    stage = scenario.replicas[0].stages[0]
    if pool.wafer is not None:
        grid = pool.device.grid
        device = WaferDevice(
            RankWork(pool.model, Precision()),
            pool.device,
            pool.wafer,
            HostTime(0, 0),
            (grid.rows, grid.columns),
        )
    else:
        device = MemoryDevice(
            RankWork(pool.model, Precision(), len(stage.devices)), pool.device, pool.gpu, "graph",
            HostTime(0, 0), lambda kind, n_bytes: n_bytes / 1e11,
        )  # fmt: skip
    timed = TimedBlocks(device)
    totals = [
        TimedStage(BlockStage(timed, ["dense"] * n)).service(0, decode(500), 0).ops().total() for n in (1, 2, 8)
    ]

    assert [totals[0], 2 * totals[0], 8 * totals[0]] == totals
