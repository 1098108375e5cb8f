"""The settings of a serving engine: what a pool says, else what the named engine or the device is fitted to."""

from __future__ import annotations

from simcluster.catalog.calibration import engines
from simcluster.catalog.calibration.gpu import GpuCalibration
from simcluster.catalog.calibration.wafer import WaferCalibration
from simcluster.scenario.resolved import EngineSettings
from simcluster.scenario.spec import Layout


def engine_settings(
    spec: Layout, context: int, utilization: float, gpu: GpuCalibration | None, wafer: WaferCalibration | None
) -> EngineSettings:
    """
    The settings of a pool.

    Args:
        spec: as written.
        context: tokens that the model serves at most.
        utilization: share of the memory that may be used.
        gpu: constants of the device, or None of a wafer.
        wafer: constants of the device, or None of a GPU.
    """
    served_by = None if spec.engine is None else engines.shipped(spec.engine)
    given = spec.model_fields_set
    host_fixed_s, host_per_sequence_s = _host_s(spec, served_by, gpu, wafer)
    skew_s = served_by.collective_skew_s if served_by else 0.0
    return EngineSettings(
        scheduler=served_by.scheduler if served_by and "scheduler" not in given else spec.scheduler,
        max_num_seqs=spec.max_num_seqs,
        max_num_batched_tokens=spec.max_num_batched_tokens,
        max_model_len=min(spec.max_model_len or context, context),
        block_size=spec.block_size,
        gpu_memory_utilization=utilization,
        launch=spec.launch,
        all_reduce=spec.all_reduce,
        admission_lag=served_by.admission_lag if served_by and "admission_lag" not in given else spec.admission_lag,
        host_fixed_s=host_fixed_s,
        host_per_sequence_s=host_per_sequence_s,
        slowdown=spec.slowdown,
        collective_skew_s=engines.skew_s(skew_s, spec.tensor_parallel_size),
        calibration=served_by,
    )


def _host_s(
    spec: Layout, served_by: engines.EngineCalibration | None, gpu: GpuCalibration | None,
    wafer: WaferCalibration | None,
) -> tuple[float, float]:  # fmt: skip
    """Host time before a step: fixed, and per sequence."""
    if spec.host_time_per_step is not None:
        return spec.host_time_per_step, 0.0
    fitted = served_by or gpu
    if fitted is not None:
        return fitted.host_fixed_s, fitted.host_per_sequence_s
    assert wafer is not None
    return wafer.host_step_s, 0.0
