"""The scenario file as people write it: short, with units and defaults; `scenario` resolves it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from simcluster.quantities import Bits, Frozen, PositiveInt, Ratio, Seconds, fault
from simcluster.topology.model import MAX_NODES
from simcluster.workload import WorkloadSpec


def _printable(text: str) -> str:
    """A text that is safe to print as it is."""
    if not text.isprintable():
        raise fault("a text with line breaks or control characters", "expected one printable line")
    return text


Title = Annotated[str, Field(max_length=200), AfterValidator(_printable)]
FileName = Annotated[str, Field(min_length=1, max_length=4096), AfterValidator(_printable)]
Width = Annotated[Bits, Field(ge=1, le=64)]
Moment = Annotated[Seconds, Field(le=3600)]
Limit = Annotated[Seconds, Field(le=100 * 86_400)]


class ModelFile(Frozen):
    """A model shape from a Hugging Face `config.json`."""

    config: FileName
    """Path of the file, relative to the scenario's folder."""


class Deployment(Frozen):
    """How the model is laid out on the devices and how the engine runs it; vLLM's names where it has them."""

    replicas: PositiveInt = 1
    """Copies of the model, each on its own devices."""
    tensor_parallel_size: PositiveInt = 1
    """Ranks among which every layer is cut."""
    pipeline_parallel_size: PositiveInt = 1
    """Stages in a row, each with a contiguous run of layers."""
    devices: Annotated[list[str], Field(max_length=MAX_NODES)] | None = None
    """Device names in order of use: replicas, then stages, then ranks. Default: the topology's, from the first."""
    weights: Width = 16.0
    """Bits of a weight."""
    dense_weights: Width | None = None
    """Bits of all weights but routed experts. Default: as `weights`."""
    weight_scales: Literal["tensor", "block"] = "tensor"
    """Whether 8-bit weights have one scale a matrix, or one for each block of values."""
    kv_cache: Width = 16.0
    """Bits of a cached key or value."""
    weight_residency: Literal["resident", "streamed"] = "resident"
    """Weights stay in the devices, or come over the links from the topology's memory node in every step."""
    launch: Literal["graph", "eager"] = "graph"
    """Whether ops are launched together (CUDA graphs) or one by one."""
    all_reduce: str = "auto"
    """Algorithm of the tensor-parallel all-reduce: the fastest for each size, or one by name."""
    engine: Literal["vllm", "trtllm", "sglang"] | None = None
    """Serving engine whose scheduler, admission lag, host times and rank skew hold where they are not given here.
    Default: `fcfs`, no lag, and the host times of the device's calibration."""
    scheduler: str = "fcfs"
    """Which requests take part in a step, and with how many tokens."""
    router: str = "round_robin"
    """Which replica serves a request."""
    max_num_seqs: PositiveInt = 256
    """Requests that may run at once in a replica."""
    max_num_batched_tokens: PositiveInt = 8192
    """Tokens that a step may process; longer prompts are prefilled in chunks."""
    max_model_len: PositiveInt | None = None
    """Prompt and output tokens a request may have together. Default: the model's context."""
    block_size: Annotated[int, Field(gt=0, le=65_536)] = 16
    """Tokens of a KV block."""
    gpu_memory_utilization: Annotated[Ratio, Field(gt=0, le=1)] | None = None
    """Share of each device's memory for weights and KV cache. Default: 90 %, on wafers and LPUs 95 %."""
    num_gpu_blocks_override: PositiveInt | None = None
    """KV blocks of a replica, instead of what the memory allows."""
    admission_lag: Annotated[int, Field(ge=0, le=10)] = 0
    """Steps that begin before a request that came can take part, while others run: 1 where the engine decides a step
    ahead (async scheduling, overlap)."""
    host_time_per_step: Moment | None = None
    """Host time before every step, instead of the calibration's."""


class OpJitter(Frozen):
    """Lognormal factor on every op's time, mean 1, drawn for each op and step, common to the ranks of a group."""

    cv: Annotated[Ratio, Field(le=10)]


class ArrivalSkew(Frozen):
    """Exponential delay of every rank at every collective."""

    mean: Moment


class NoiseOverride(Frozen):
    """A preset with some of its sources changed."""

    preset: str = "none"
    """The preset that the rest comes from."""
    op_jitter: OpJitter | None = None
    """Instead of the preset's."""
    arrival_skew: ArrivalSkew | None = None
    """Instead of the preset's."""


class Slo(Frozen):
    """Latency limits that a good request meets, all of those given."""

    ttft: Limit | None = None
    """Time to first token, queueing included."""
    tpot: Limit | None = None
    """Mean time per output token after the first."""
    e2el: Limit | None = None
    """From arrival to the last token."""


class ScenarioFile(Frozen):
    """One scenario: a model, on a topology, deployed in some way, under a workload, in a noise world."""

    title: Title = ""
    """What it is, for people."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Of the drawn workload and of the noise world."""
    model: str | ModelFile
    """A model of the catalogue, or a file."""
    topology: FileName | dict[str, object]
    """A topology by name, a file, or one written in place."""
    deployment: Deployment = Deployment()
    """How the model is laid out and run."""
    workload: WorkloadSpec
    """Which requests come when."""
    noise: str | NoiseOverride = "none"
    """A preset by name, or a preset with changes."""
    fidelity: Literal["auto", "op"] = "auto"
    """`op` plays an event for every compute, fetch and exchange, `auto` one per stage and step; results are equal."""
    slo: Slo = Slo()
    """Latency limits, for goodput."""
