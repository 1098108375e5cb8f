"""The schema of sweep files: a base scenario, a design over its keys, and what to compute for the points."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from simcluster.files.quantities import Frozen, Rate, Ratio, fault
from simcluster.files.source import MAX_DEPTH
from simcluster.scenario.spec import FileName, Seed, Title

MAX_POINTS = 10_000
MAX_SEEDS = 1_000
MAX_KEYS = 64
"""Keys of a design; a Sobol sequence has a dimension for each."""
RATE_KEY = "workload.arrivals.rate"


def _dotted(key: str) -> str:
    """Check a key as in `--set`."""
    parts = key.split(".")
    if not all(parts) or len(parts) > MAX_DEPTH or not key.isprintable():
        raise fault(f"'{key[:80]}'", "expected a dotted key such as 'workload.requests'")
    if parts[0] in ("seed", "format"):
        raise fault(f"the key '{key[:80]}'", "expected another one; 'seeds' of the sweep is the number of worlds")
    return key


def _not_null(value: Any) -> Any:
    if value is None:
        raise fault("nothing", "expected a value")
    return value


Key = Annotated[str, Field(max_length=300), AfterValidator(_dotted)]
Value = Annotated[Any, AfterValidator(_not_null)]
"""A value as in the scenario."""
Settings = Annotated[dict[Key, Value], Field(max_length=MAX_KEYS)]
Label = Annotated[str, Field(min_length=1, max_length=60, pattern=r"^[^\x00-\x1f\x7f]*$")]
ColumnName = Annotated[str, Field(min_length=1, max_length=100)]


class Range(Frozen):
    """Values of a key that samples are drawn from: from `low` to `high`, or `choices`."""

    low: int | float | str | None = None
    """Smallest value. Integers draw integers; quantities have a unit."""
    high: int | float | str | None = None
    """Largest value, in the same unit."""
    scale: Literal["linear", "log"] = "linear"
    """Whether equal distances or equal ratios are equally likely."""
    choices: Annotated[list[Value], Field(min_length=1, max_length=1000)] | None = None
    """Instead of low and high: values that are equally likely."""

    @model_validator(mode="after")
    def _one_form(self) -> Range:
        ends = [name for name in ("low", "high") if getattr(self, name) is not None]
        if self.choices is not None and (ends or "scale" in self.model_fields_set):
            raise fault("choices with low, high or scale", "expected one or the other")
        if self.choices is None and len(ends) < 2:
            raise fault(f"{'only ' + ends[0] if ends else 'neither low nor high'}", "expected both, or 'choices'")
        return self


class Samples(Frozen):
    """Points drawn at random within ranges."""

    points: Annotated[int, Field(ge=1, le=MAX_POINTS)]
    """Number of points."""
    seed: Seed = 0
    """Seed of the samples."""
    ranges: Annotated[dict[Key, Range], Field(min_length=1, max_length=MAX_KEYS)]
    """Range of each key."""


class SobolSamples(Samples):
    """Points that fill the ranges evenly: a Sobol sequence with a random digital shift."""

    @model_validator(mode="after")
    def _balanced(self) -> SobolSamples:
        if self.points & (self.points - 1):
            near = 2 ** (self.points.bit_length() - 1)
            expected = f"expected a power of two, which keeps the sequence balanced, such as {near} or {2 * near}"
            raise fault(f"{self.points} points", expected)
        return self


class Design(Frozen):
    """The points of a sweep: variants, grid and samples are crossed."""

    variants: Annotated[dict[Label, Settings], Field(min_length=1, max_length=MAX_POINTS)] | None = None
    """Named settings of several keys each."""
    grid: (
        Annotated[
            dict[Key, Annotated[list[Value], Field(min_length=1, max_length=MAX_POINTS)]],
            Field(min_length=1, max_length=MAX_KEYS),
        ]
        | None
    ) = None
    """A list of values for each key."""
    random: Samples | None = None
    """Points drawn independently, see [samples](#samples)."""
    sobol: SobolSamples | None = None
    """Points that fill the ranges evenly, see [samples](#samples)."""

    @model_validator(mode="after")
    def _something(self) -> Design:
        if self.random is not None and self.sobol is not None:
            raise fault("random and sobol", "expected one of them")
        if not self.model_fields_set:
            raise fault("an empty design", "expected 'variants', 'grid', 'random' or 'sobol'")
        return self

    @property
    def samples(self) -> Samples | None:
        """The samples, of either kind."""
        return self.random or self.sobol

    @property
    def keys(self) -> set[str]:
        """All keys that the design sets."""
        of_variants = {key for settings in (self.variants or {}).values() for key in settings}
        return of_variants | {*(self.grid or {}), *(self.samples.ranges if self.samples else {})}


class Capacity(Frozen):
    """Search of the largest arrival rate at which enough requests meet the scenario's `slo`, for each point."""

    low: Rate
    """Lowest rate; a point that misses its service level at this rate has no capacity."""
    high: Rate
    """Highest rate."""
    attainment: Annotated[Ratio, Field(gt=0, le=1)] = 0.95
    """Share of all requests, over all seeds, that must meet every limit."""
    precision: Annotated[Ratio, Field(ge=0.001, le=1)] = 0.05
    """Largest distance from the reported rate to the rate that fails, relative."""

    @model_validator(mode="after")
    def _ascending(self) -> Capacity:
        if self.high <= self.low:
            raise fault(f"from {self.low:g} to {self.high:g} req/s", "expected 'high' above 'low'")
        return self


class Cost(Frozen):
    """Prices of devices; there are no defaults."""

    currency: Annotated[str, Field(pattern=r"^[A-Za-z$€£¥]{1,8}$")]
    """Currency of the prices, such as `USD`."""
    per_device_hour: Annotated[
        dict[str, Annotated[int | float, Field(ge=0, le=1e9)]], Field(min_length=1, max_length=1000)
    ]
    """Price of a device for an hour, busy or idle, by its name in the catalogue."""


class SweepFile(Frozen):
    """A sweep file."""

    title: Title = ""
    """Title for the reader."""
    scenario: FileName
    """The base: a scenario by name, or a path relative to this file."""
    set: Settings = Field(default_factory=dict)
    """Changes of the base scenario for all points."""
    seeds: Annotated[int, Field(ge=1, le=MAX_SEEDS)] = 1
    """Number of worlds of every point: the scenario's seed and those that follow, the same for all points."""
    design: Design
    """Points, see [design](#design)."""
    capacity: Capacity | None = None
    """Search the largest rate for each point, see [capacity](#capacity)."""
    cost: Cost | None = None
    """Prices, see [cost](#cost)."""
    pareto: Annotated[list[ColumnName], Field(min_length=2, max_length=6)] | None = None
    """Columns of the Pareto front. Default: `mean_tpot_ms`, `output_throughput` (with a
    capacity search `capacity_req_per_s`), `power_w`, and with prices `cost_per_hour`."""

    @property
    def currency(self) -> str | None:
        """Currency of the prices, if the file has any."""
        return None if self.cost is None else self.cost.currency

    @model_validator(mode="after")
    def _rate_is_free(self) -> SweepFile:
        if self.capacity is not None and RATE_KEY in {*self.set, *self.design.keys}:
            raise fault(f"{RATE_KEY} with a capacity search", "remove one: the search sets the rate")
        return self
