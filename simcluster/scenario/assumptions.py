"""Assumptions of a result: what was not measured for the case."""

from __future__ import annotations

from collections.abc import Iterable

from simcluster.catalog.shapes import ModelShape
from simcluster.costs.memory_device import nearest_width
from simcluster.files.units import show
from simcluster.noise.sources import Noise
from simcluster.scenario.drawn import OF_COLLECTIVES
from simcluster.scenario.resolved import Pool
from simcluster.scenario.spec import Layout


def assumptions(pool: Pool, spec: Layout, noise: Noise, is_only: bool) -> Iterable[str]:
    """
    List what was not measured for a pool, for the reader of its results.

    Args:
        pool: as resolved.
        spec: the pool as written.
        noise: of the scenario.
        is_only: whether the scenario has no other pool, so that remarks need not say which devices they are of.
    """
    device, model, group = pool.device, pool.model, pool.group
    gpu_constants, wafer_constants = pool.gpu, pool.wafer
    if "estimate" in model.name:
        yield f"{model.title}: the shape is an estimate, its maker has published none of it"
    if gpu_constants is not None:
        used = _used_constants(spec, model)
        weak = [f"{row.name} ({row.status})" for row in gpu_constants.constants
                if row.name in used and row.status != "fitted"]  # fmt: skip
        if gpu_constants.status != "fitted":
            yield f"{device.name}: op costs are {gpu_constants.status}, not measured on this device"
        elif weak:
            yield f"{device.name}: not fitted to measurements: {', '.join(weak)}"
    if wafer_constants is not None:
        weak = [f"{name} ({status})" for name, status in wafer_constants.statuses.items() if status == "assumed"]
        scaled = [name for name, status in wafer_constants.statuses.items() if status == "scaled"]
        if scaled:
            yield f"{device.name}: scaled from another wafer generation: {', '.join(scaled)}"
        if weak:
            yield f"{device.name}: {', '.join(weak)}"
        yield f"{device.name}: no distribution of token times was ever published: zero spread is assumed"
    if group is not None:
        names = " and ".join(dict.fromkeys(f.name for f in (group.inside, group.across) if f is not None))
        yield f"tensor-parallel exchanges: fitted for {names} as such, whatever else a topology file says of it"
        for fabric in (group.inside, group.across):
            if fabric is not None and any(fit.status == "assumed" for fit in fabric.all_reduce):
                yield f"{fabric.name}: some costs of collectives are assumed"
    for row in noise.rows:
        is_idle = (group is None and row.source in OF_COLLECTIVES) or (
            model.moe is None and row.source == "moe_routing"
        )
        if device.kind in row.device_kinds and not is_idle:
            yield f"noise {row.source}: {row.basis}"
    power = "power" if is_only else f"power of {device.name}"
    yield f"{power}: {device.power_basis} ({show(device.power_w, 'power')} a device), drawn all the time"


def _used_constants(spec: Layout, model: ModelShape) -> set[str]:
    """Names of the calibrated constants that a pool depends on."""
    weights, kv = nearest_width(spec.weights), nearest_width(spec.kv_cache)
    used = {f"gemm {weights} bit", f"attention_prefill {kv} bit", f"attention_decode {kv} bit"}
    used |= {"elementwise 16 bit", "embedding 16 bit", f"launch {spec.launch}"}
    if spec.host_time_per_step is None:
        used |= {"host per step", "host per sequence"}
    return used | {f"moe {weights} bit"} if model.moe else used
