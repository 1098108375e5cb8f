"""A stage of a scenario with the noise of its devices."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from simcluster.catalog.device import DeviceKind
from simcluster.noise.pace import PACE_SOURCES, Pace
from simcluster.noise.slices import Slices
from simcluster.noise.sources import Noise, Source
from simcluster.noise.tables import delay_ticks, exponential_ticks
from simcluster.numerics.ticks import to_ticks
from simcluster.stages.factors import Factors
from simcluster.stages.nominal import BlockStage
from simcluster.stages.paced import PacedStage
from simcluster.stages.routing import ExpertFactors, Routing
from simcluster.stages.slow import SlowStage, StretchedStage
from simcluster.stages.step_noise import Skew, Small, StepNoise
from simcluster.stages.timed import NominalStage, RunModel, TimedStage

STEP_SOURCES: tuple[Source, ...] = ("op_jitter", "arrival_skew", "small_messages", "moe_routing")


class Stretch(NamedTuple):
    """Factor on the time of every op of a deployment, and whether its exchanges are within a device."""

    factor: float
    is_one_device: bool


def is_noisy(noise: Noise, kind: DeviceKind, is_routed: bool) -> bool:
    """Whether stages on a kind of device have noise of their own; expert routing counts only where it varies."""
    sources = {row.source for row in noise.rows if kind in row.device_kinds}
    return bool(sources & {*STEP_SOURCES, *PACE_SOURCES} - ({"moe_routing"} if not is_routed else set()))


def stage_model(
    blocks: BlockStage,
    devices: tuple[str, ...],
    slow: tuple[float, ...],
    stretch: Stretch,
    noise: Noise,
    kind: DeviceKind,
    seed: int,
    experts: ExpertFactors | None = None,
) -> RunModel:
    """
    A stage with the noise of its devices: skew and pace are drawn for every rank, all else for the first.

    Args:
        blocks: the stage without noise.
        devices: its ranks; empty for a stage without noise.
        slow: factor on the time of each rank under the events of now; empty if none is slow.
        stretch: on every op.
        noise: the sources.
        kind: of the devices.
        seed: of the scenario.
        experts: factors on what its experts take, or None where routing does not vary.
    """
    nominal: NominalStage = blocks if stretch.factor == 1 else StretchedStage(blocks, *stretch)
    if slow:
        nominal = SlowStage(nominal, slow[0], max(slow))
    if not devices:
        return TimedStage(nominal)
    meetings = collectives(blocks)
    jitter = late = small = None
    if (values := noise.values("op_jitter", kind)) is not None and values["cv"]:
        jitter = Factors(values["cv"], blocks.kind_of_op, seed, "op_jitter", devices[0])
    if len(devices) > 1 and meetings:
        late = skew(noise, kind, devices, len(meetings), seed)
        small = _small_messages(noise, kind, blocks.kind_of_op, len(meetings), seed, devices[0])
    routing = _routing(experts, blocks, devices, seed)
    has_step_noise = jitter or late or small or routing
    found = StepNoise(blocks.kind_of_op, meetings, jitter, late, small, routing) if has_step_noise else None
    stage = TimedStage(nominal, found)
    if any(noise.values(source, kind) is not None for source in PACE_SOURCES):
        return PacedStage(stage, Pace(seed, devices, noise, kind))
    return stage


def collectives(blocks: BlockStage) -> tuple[int, ...]:
    """The ops of a stage after which its ranks exchange."""
    return tuple(index for index, op in enumerate(blocks.all_ops) if op.exchange)


def skew(noise: Noise, kind: DeviceKind, devices: tuple[str, ...], n_collectives: int, seed: int) -> Skew | None:
    """How late each rank of a group enters each of its collectives; None without the source."""
    values = noise.values("arrival_skew", kind)
    if values is None or not (values["mean_s"] or values["first_rank_s"]):
        return None
    ranks = tuple(Slices(n_collectives, seed, "arrival_skew", name) for name in devices)
    return Skew(exponential_ticks(values["mean_s"]), ranks, to_ticks(values["first_rank_s"]))


def _small_messages(
    noise: Noise, kind: DeviceKind, kind_of_op: Sequence[int], n_collectives: int, seed: int, device: str
) -> Small | None:  # fmt: skip
    values = noise.values("small_messages", kind)
    if values is None:
        return None
    cv = math.sqrt(math.expm1(values["sigma"] ** 2))
    delays = delay_ticks(
        values["shoulder"], values["shoulder_mean_s"], values["tail"], values["tail_exponent"],
        values["tail_shortest_s"], values["tail_longest_s"],
    )  # fmt: skip
    factors = Factors(cv, kind_of_op, seed, "small_messages", device, "factor")
    which_delay = Slices(n_collectives, seed, "small_messages", device, "delay")
    return Small(factors, delays, which_delay, to_ticks(values["up_to_s"]))


def _routing(
    experts: ExpertFactors | None, blocks: BlockStage, devices: tuple[str, ...], seed: int
) -> Routing | None:  # fmt: skip
    if experts is None:
        return None
    ops = tuple(index for index, op in enumerate(blocks.all_ops) if op.kind == "moe")
    slices = Slices(len(ops), seed, "moe_routing", devices[0])
    return Routing(ops, blocks.kind_of_op[ops[0]], experts, slices)
