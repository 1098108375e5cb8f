"""Resolve one pool of replicas."""

from __future__ import annotations

from collections.abc import Sequence

from simcluster.catalog.calibration import gpu, wafer
from simcluster.catalog.shapes import ModelShape
from simcluster.scenario.engine_settings import engine_settings
from simcluster.scenario.layout import (
    Written,
    device_of,
    group_of,
    kv_blocks_of,
    ranks_of,
    replicas_of,
    stages_of,
    weight_stream_of,
)
from simcluster.scenario.resolved import Pool

DEFAULT_UTILIZATION = {"gpu": 0.9, "lpu": 0.95, "rdu": 0.9, "wafer": 0.95}
"""Share of the memory for weights and KV cache: vLLM's default on GPUs; assumed elsewhere."""


def resolved_pool(written: Written, model: ModelShape, names: Sequence[str]) -> Pool:
    """
    Build a pool, whether or not all of it can be together: `contradictions` says that.

    Args:
        written: the pool as the file has it.
        model: that it serves.
        names: of its devices, all of one kind.

    Raises:
        InputError: what it names is not there: a path, a fabric, a memory node.
    """
    spec, device = written.spec, device_of(written, names)
    ranks, stages = ranks_of(written, names), stages_of(written, model)
    is_wafer = device.kind == "wafer"
    gpu_constants = None if is_wafer else gpu.shipped(device.name)
    wafer_constants = wafer.shipped(device.name) if is_wafer else None
    utilization = spec.gpu_memory_utilization or DEFAULT_UTILIZATION[device.kind]
    kv_blocks = kv_blocks_of(written, stages, device.memory_bytes * utilization)
    return Pool(
        name=written.name,
        model=model,
        weight_bits=spec.weights,
        kv_bits=spec.kv_cache,
        dense_bits=spec.dense_weights or spec.weights,
        block_scales=spec.weight_scales == "block",
        device=device,
        gpu=gpu_constants,
        wafer=wafer_constants,
        group=group_of(written, ranks),
        weight_stream=weight_stream_of(written, names[0]),
        replicas=replicas_of(written, stages, ranks, kv_blocks),
        engine=engine_settings(spec, model.context, utilization, gpu_constants, wafer_constants),
    )
