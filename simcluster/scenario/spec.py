"""The scenario file as people write it: short, with units and defaults; `scenario` resolves it."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, Field, model_validator

from simcluster.catalog.calibration import collectives
from simcluster.files.problems import nearest
from simcluster.files.quantities import Bits, Bytes, Frozen, PositiveInt, Ratio, Seconds, fault
from simcluster.noise import sources as noise
from simcluster.numerics.streams import Seeds
from simcluster.policies.routers import ROUTERS
from simcluster.policies.schedulers import SCHEDULERS
from simcluster.scenario.gates import DEFAULTS, MAX_GATES, GateError, parse
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


def _not_too_often(period_s: float) -> float:
    """A period of at least 1 ms: with shorter ones a run would do little else."""
    if period_s < 1e-3:
        raise fault(f"{period_s:g} s", "expected at least 1 ms")
    return period_s


OF_WORKLOAD = ("arrivals", "prompt_tokens", "output_tokens", "spread")
OF_DEVICES: tuple[noise.Source, ...] = (
    "op_jitter", "arrival_skew", "small_messages", "moe_routing", "device_spread", "drift", "clock_excursions",
    "rare_stalls", "host_pauses",
)  # fmt: skip
"""Sources with streams for each device, or for a group under the name of its first."""
DRAWN = (*OF_WORKLOAD, "events", *OF_DEVICES, "background_load", "failures")
"""All sources of random numbers of a run."""


def _drawn(name: str) -> str:
    """The name of a source, or of a source and a device."""
    source, slash, device = name.partition("/")
    if source not in DRAWN:
        raise fault(f"unknown source '{source[:80]}'", nearest(source[:80], DRAWN))
    if slash and (source not in OF_DEVICES or not device):
        raise fault(f"'{name[:80]}'", f"expected a device's {', '.join(OF_DEVICES)}, such as 'drift/gpu0'")
    return name


def _gate(text: str) -> str:
    """A gate, or the word for those that hold by default."""
    if text.strip() != DEFAULTS:
        try:
            parse(text)
        except GateError as error:
            raise fault(error.found, error.expected) from None
    return text


def _one_of(what: str, known: Collection[str]) -> Callable[[str], str]:
    """A validator that lets known names pass."""

    def check(name: str) -> str:
        if name not in known:
            raise fault(f"unknown {what} '{name[:80]}'", nearest(name[:80], known))
        return name

    return check


_ALGORITHMS = ("auto", *collectives.ALGORITHMS["all_reduce"], *get_args(collectives.Library))
SchedulerName = Annotated[str, AfterValidator(_one_of("scheduler", SCHEDULERS))]
RouterName = Annotated[str, AfterValidator(_one_of("router", ROUTERS))]
AlgorithmName = Annotated[str, AfterValidator(_one_of("algorithm", _ALGORITHMS))]
GateText = Annotated[str, Field(max_length=200), AfterValidator(_printable), AfterValidator(_gate)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
SourceName = Annotated[str, Field(max_length=300), AfterValidator(_drawn)]
Period = Annotated[Limit, AfterValidator(_not_too_often)]

MAX_EVENTS = 1000


class ModelFile(Frozen):
    """A model shape from a Hugging Face `config.json`."""

    config: FileName
    """Path of the file, relative to the scenario's folder."""


def _pool_name(name: str) -> str:
    """A name that can stand in a path of keys, in tables and in views of routers."""
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]{0,63}", name):
        raise fault(f"pool '{name[:80]}'", "expected a letter, then at most 63 letters, digits, '_' and '-'")
    return name


PoolName = Annotated[str, AfterValidator(_pool_name)]
ONE_POOL = "default"
"""Name of the pool that a scenario with a `deployment` has."""
MAX_POOLS = 64


class Layout(Frozen):
    """How a model is laid out on devices and how the engine runs it; vLLM's names where it has them."""

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
    all_reduce: AlgorithmName = "auto"
    """Algorithm of the tensor-parallel all-reduce: the fastest for each size, or one by name."""
    engine: Literal["vllm", "trtllm", "sglang"] | None = None
    """Serving engine whose scheduler, admission lag, host times and rank skew are used where they are not given here.
    Default: `fcfs`, no lag, and the host times of the device's calibration."""
    scheduler: SchedulerName = "fcfs"
    """Which requests take part in a step, and with how many tokens."""
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
    slowdown: Annotated[float, Field(ge=0.01, le=100)] = 1.0
    """How many times as long every op takes, exchanges over links left out: a regression to try a gate with."""


class Deployment(Layout):
    """The layout of the only pool, and its router."""

    router: RouterName = "round_robin"
    """Which replica serves a request."""


class PoolSpec(Layout):
    """One of several pools: the same keys as of a deployment, but for the router that all pools share."""

    model: str | ModelFile | None = None
    """Instead of the scenario's model: a model of the catalogue, or a file."""
    device: str | None = None
    """Kind of device by its catalogue name, such as `wse-3`, of which the first unused ones are taken. Default: the
    kind of the first unused device, or of `devices`."""


class NoiseOverride(Frozen):
    """A preset with some of its sources changed, see [noise](noise.md) for their parameters."""

    preset: str = "none"
    """The preset that the rest comes from: a name, or a file ending in `.yaml`, relative to the scenario's folder."""
    without: list[noise.Source] = Field(default_factory=list)
    """Sources of the preset that are left out."""
    op_jitter: noise.OpJitter | None = None
    """Instead of the preset's, as all that follow."""
    arrival_skew: noise.ArrivalSkew | None = None
    """Ranks come late to a collective."""
    small_messages: noise.SmallMessages | None = None
    """Short exchanges vary, and some take long."""
    moe_routing: noise.MoeRouting | None = None
    """Tokens choose experts, and with them the weights that are fetched."""
    device_spread: noise.DeviceSpread | None = None
    """Devices of a kind differ permanently."""
    drift: noise.Drift | None = None
    """Devices become slower and faster, slowly."""
    clock_excursions: noise.ClockExcursions | None = None
    """A device throttles: its clock falls for a while."""
    diurnal: noise.Diurnal | None = None
    """Diurnal temperature: devices are slower at its peak."""
    rare_stalls: noise.RareStalls | None = None
    """A step stalls, rarely."""
    host_pauses: noise.HostPauses | None = None
    """Tokens are delivered late, many at once."""
    background_load: noise.BackgroundLoad | None = None
    """Other traffic on links between nodes."""
    failures: noise.Failures | None = None
    """Devices and links fail and come back."""

    def stated(self) -> dict[noise.Source, noise.Parameters]:
        """The sources that are stated here."""
        found = {name: getattr(self, name) for name in noise.SOURCES}
        return {name: parameters for name, parameters in found.items() if parameters is not None}


class Slo(Frozen):
    """Latency limits that a good request meets, all of those given."""

    ttft: Limit | None = None
    """Time to first token, queueing included."""
    tpot: Limit | None = None
    """Mean time per output token after the first."""
    e2el: Limit | None = None
    """From arrival to the last token."""


class EventSpec(Frozen):
    """A change of devices or of a link, or a transfer: at a stated time, or at random again and again."""

    kind: Literal["device_slow", "device_down", "link_slow", "link_down", "transfer"]
    """The kind of event."""
    device: str | None = None
    """The device that is slow or down."""
    node: str | None = None
    """Instead of a device: all devices of an enclosure of the topology."""
    link: Annotated[list[str], Field(min_length=2, max_length=2)] | None = None
    """The two nodes whose link is slow or down, in both directions."""
    times_slower: Annotated[float, Field(gt=1, le=1000)] | None = None
    """Of `device_slow`: how many times as long its compute and its fetches take."""
    bandwidth: Annotated[Ratio, Field(ge=0.001, le=1)] | None = None
    """Of `link_slow`: the share of its bandwidth that the link has, at least 0.1 %. Default: all of it."""
    extra_latency: Moment | None = None
    """Of `link_slow`: for every message over it, on top of its own. Default: none."""
    from_: str | None = Field(None, alias="from")
    """Of `transfer`: the node that sends."""
    to: str | None = None
    """Of `transfer`: the node that receives."""
    size: Annotated[Bytes, Field(le=1e15)] | None = None
    """Of `transfer`: what is sent."""
    at: Limit | None = None
    """When it begins."""
    lasts: Annotated[Limit, Field(gt=0)] | None = None
    """How long it lasts. Default: to the end."""
    every: Period | None = None
    """Of `transfer`: the period after which it is sent again, at least 1 ms, and not before the last one is over."""
    mtbf: Period | None = None
    """Instead of `at`: mean time until it happens, exponential, again and again; at least 1 ms."""
    mttr: Period | None = None
    """With `mtbf`: mean time that it lasts, exponential; at least 1 ms."""

    @model_validator(mode="after")
    def _complete(self) -> EventSpec:
        given = {name.rstrip("_") for name in self.model_fields_set if getattr(self, name) is not None}
        needed, others = _KEYS[self.kind]
        if not given.issuperset(needed):
            missing = [key for key in needed if key not in given]
            raise fault(f"{self.kind} without {_listed(missing)}", f"expected {_listed(needed)}")
        foreign = sorted(given.difference(needed, others, ("kind",)))
        if foreign:
            raise fault(f"{self.kind} with {_listed(foreign)}", f"expected {_listed((*needed, *others))}")
        if self.kind.startswith("device") and (self.device is None) == (self.node is None):
            found = "nothing" if self.device is None else "a device and a node"
            raise fault(f"{self.kind} of {found}", "expected one: 'device' or 'node'")
        if self.kind == "link_slow" and self.bandwidth is None and self.extra_latency is None:
            raise fault("link_slow that changes nothing", "expected 'bandwidth', 'extra_latency' or both")
        if self.from_ is not None and self.from_ == self.to:
            raise fault(f"a transfer from '{self.to[:80]}' to itself", "expected two different nodes")
        times = [key for key in _WHEN if key in given]
        if times not in (["at"], ["at", "lasts"], ["mtbf", "mttr"]):
            raise fault(
                f"{self.kind} with {_listed(times) or 'no time'}",
                "expected 'at', with or without 'lasts', or 'mtbf' with 'mttr'",
            )
        return self


_WHEN = ("at", "lasts", "mtbf", "mttr")
_KEYS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "device_slow": (("times_slower",), ("device", "node", *_WHEN)),
    "device_down": ((), ("device", "node", *_WHEN)),
    "link_slow": (("link",), ("bandwidth", "extra_latency", *_WHEN)),
    "link_down": (("link",), _WHEN),
    "transfer": (("from", "to", "size", "at"), ("every",)),
}
"""By kind: the keys that it needs, and others that it may have."""


def _listed(names: Iterable[str]) -> str:
    """Keys in words."""
    return ", ".join(f"'{name}'" for name in names)


def _some_pools(pools: dict[str, PoolSpec]) -> dict[str, PoolSpec]:
    """At least one pool, and no more than can be looked at."""
    if not 1 <= len(pools) <= MAX_POOLS:
        raise fault(f"{len(pools)} pools", f"expected 1 to {MAX_POOLS}")
    return pools


def _without_null(schema: dict[str, Any]) -> None:
    """Let editors report a key without a value: it may be left out, and not be empty."""
    schema["anyOf"] = [one for one in schema["anyOf"] if one != {"type": "null"}]
    schema.pop("default", None)


class ScenarioFile(Frozen):
    """One scenario: a model, on a topology, deployed in some way, under a workload, in a noise world."""

    title: Title = ""
    """What it is, for people."""
    seed: Seed = 0
    """Of the drawn workload and of the noise world."""
    source_seeds: Annotated[dict[SourceName, Seed], Field(max_length=MAX_NODES)] = Field(default_factory=dict)
    """Seeds of single sources instead, see [what-if](variance.md#what-if)."""
    model: Annotated[str | ModelFile | None, Field(json_schema_extra=_without_null)] = None
    """A model of the catalogue, or a file; required unless every pool names its own."""
    topology: FileName | dict[str, object]
    """A topology by name, a file, or one written in place."""
    deployment: Deployment = Deployment()
    """How the model is laid out and run."""
    pools: Annotated[dict[PoolName, PoolSpec], AfterValidator(_some_pools)] = Field(default_factory=dict)
    """Instead of `deployment`: pools of replicas by name, see [pools](#pools)."""
    router: RouterName = "round_robin"
    """With `pools`: which replica of all pools serves a request."""
    workload: WorkloadSpec
    """Which requests come when."""
    noise: str | NoiseOverride = "none"
    """A preset by name or file, or a preset with changes."""
    events: Annotated[list[EventSpec], Field(max_length=MAX_EVENTS)] = Field(default_factory=list)
    """Events of devices and links, see [events](#events)."""
    fidelity: Literal["auto", "op", "message"] = "auto"
    """`message` simulates every message of every collective, `op` an event for every compute, fetch and exchange,
    `auto` one for many steps where nothing interferes; `op` and `auto` give equal results."""
    slo: Slo = Slo()
    """Latency limits, for goodput."""
    gates: Annotated[list[GateText], Field(max_length=MAX_GATES)] = Field(default_factory=list)
    """What fails a [comparison](compare.md#gates) with it, such as `p99_ttft_ms > +5%`. Default: twelve gates."""
    steady_state: bool = False
    """Whether the summary also has latencies in the long run, without those of the empty start, see
    [steady state](variance.md#steady-state)."""

    @property
    def seeds(self) -> Seeds:
        """The seed of everything that is drawn, those of single sources included."""
        return Seeds(self.seed, self.source_seeds)
