"""
The sources of noise and their parameters: as people write them, and as rows of a resolved world in SI units.

A source is a class here: its fields are what a preset states and what a scenario may override.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self, get_args

from annotated_types import Ge, Gt, Le
from pydantic import Field, model_validator

from simcluster.catalog.device import DeviceKind
from simcluster.files.quantities import Frozen, Ratio, Seconds, dimension, fault

MOST_NAMED = 3
"""Changed sources that the name of a world tells one by one."""
DEVICE_KINDS: tuple[DeviceKind, ...] = get_args(DeviceKind)

Spread = Annotated[Ratio, Field(le=10)]
Chance = Annotated[Ratio, Field(le=1)]
Brief = Annotated[Seconds, Field(le=3600)]
Often = Annotated[Seconds, Field(ge=1e-3, le=1e11)]
"""Mean time between things that happen again and again."""
Times = Annotated[float, Field(ge=1, le=1000)]
"""How many times as long something takes."""


class Parameters(Frozen):
    """Base of the parameters of a source."""

    def require_consistency(self) -> None:
        """Raise what does not fit together."""

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        self.require_consistency()
        return self


class OpJitter(Parameters):
    """Lognormal factor on every op's time, mean 1, drawn for each op and step, common to the ranks of a group."""

    cv: Spread
    """Coefficient of variation."""


class ArrivalSkew(Parameters):
    """Exponential delay of every rank at every collective; the group waits for its last rank."""

    mean: Brief
    """Of a rank's delay."""
    first_rank: Brief = 0.0
    """What rank 0, which makes the token, comes later besides."""


class SmallMessages(Parameters):
    """Exchanges that are short take a lognormal factor; some of them much longer, and a few very long."""

    up_to: Brief
    """Exchanges that take longer than this on a quiet machine are left alone."""
    sigma: Annotated[Spread, Field(le=2)]
    """Of the logarithm; the mean factor is 1."""
    shoulder: Chance = 0.0
    """Share of the exchanges with an exponential delay on top."""
    shoulder_mean: Brief = 0.0
    """Of that delay."""
    tail: Chance = 0.0
    """Share with a truncated Pareto delay instead; counted in 65,536ths."""
    tail_exponent: Annotated[float, Field(gt=0, le=20)] = 1.0
    """Of the Pareto distribution."""
    tail_shortest: Brief = 0.0
    """Delay that it begins with."""
    tail_longest: Brief = 0.0
    """Delay that it is cut at."""

    def require_consistency(self) -> None:
        """The range of durations is one."""
        if self.shoulder + self.tail > 1:
            raise fault("shoulder and tail of more than all messages", "expected at most 100 % together")
        if self.tail and not 0 < self.tail_shortest < self.tail_longest:
            raise fault("a tail without a range", "expected 0 < tail_shortest < tail_longest")


class MoeRouting(Parameters):
    """
    Routers choose experts: how many distinct ones a step's tokens touch, and so the weights to fetch, varies.

    Every token chooses the top k of its layer's experts by Gumbel noise on the logarithm of their popularity.
    """

    sigma: Annotated[Spread, Field(le=2)]
    """Of the logarithm of an expert's popularity, which is for good; 0 % for experts that are equally popular."""


class DeviceSpread(Parameters):
    """Devices of a kind differ for good: lognormal factors on arithmetic and on memory, and a few that are slow."""

    compute: Spread
    """Standard deviation of the logarithm of the time that arithmetic takes."""
    memory: Spread
    """The same of fetching."""
    outliers: Chance = 0.0
    """Share of the devices whose arithmetic takes longer by a uniform factor, as well."""
    outlier_least: Times = 1.0
    """How many times as long an outlier's arithmetic takes, at least."""
    outlier_most: Times = 1.0
    """And at most."""


class Drift(Parameters):
    """Slow drift of a device: an Ornstein-Uhlenbeck process on the log of times, in steps of a tenth of `time`."""

    compute: Spread
    """Standard deviation of the logarithm of the time that arithmetic takes."""
    memory: Spread
    """The same of fetching."""
    time: Annotated[Seconds, Field(ge=0.01, le=1e6)]
    """After which the correlation has fallen to 1/e."""


class ClockExcursions(Parameters):
    """Now and then a device's clock falls for a while: its arithmetic takes longer, its fetches do not."""

    every: Often
    """Mean time between two on one device, exponential."""
    lasts: Often
    """Mean duration, exponential."""
    times_slower: Times
    """How many times as long arithmetic takes meanwhile."""


class Diurnal(Parameters):
    """The heat of the day: arithmetic of all devices takes longer and shorter, as a sine that starts at the mean."""

    swing: Annotated[Ratio, Field(le=1)]
    """From the shortest to the longest time, relative to the mean."""
    period: Annotated[Seconds, Field(ge=1)] = 86_400.0
    """Of the sine, a day."""


class RareStalls(Parameters):
    """Rarely, a step of a group of ranks stands still for a while: a truncated Pareto time."""

    every: Often
    """Mean time between two in one group, exponential."""
    exponent: Annotated[float, Field(gt=0, le=20)]
    """Of the Pareto distribution."""
    shortest: Brief
    """Stall that it begins with."""
    longest: Brief
    """Stall that it is cut at."""

    def require_consistency(self) -> None:
        """The range of durations is one."""
        if not 0 < self.shortest < self.longest:
            raise fault("stalls without a range", "expected 0 < shortest < longest")


class HostPauses(Parameters):
    """
    The process that delivers tokens pauses, as for garbage collection; devices go on meanwhile.

    Tokens made in a pause are delivered at its end, all at once.
    """

    every: Often
    """From the beginning of one pause to the beginning of the next; the first comes at random within it."""
    mean: Brief
    """Of a pause: normal, cut at both ends."""
    sd: Brief
    """Its standard deviation before it is cut."""
    shortest: Brief
    """Where it is cut below."""
    longest: Brief
    """Where it is cut above."""

    def require_consistency(self) -> None:
        """The range of durations is one."""
        if not self.shortest <= self.mean <= self.longest < self.every:
            raise fault("pauses that do not fit", "expected shortest <= mean <= longest < every")


class BackgroundLoad(Parameters):
    """Other traffic on links between nodes: now and then a link has a part of its bandwidth for a while."""

    bandwidth: Annotated[Ratio, Field(ge=0.001, le=1)]
    """What is left of it."""
    every: Often
    """Mean time without, exponential."""
    lasts: Often
    """Mean time with it, exponential."""


class Failures(Parameters):
    """Devices and links between nodes fail and come back, at exponential times."""

    device_every: Often
    """Mean time between failures of one device."""
    device_repair: Often
    """Mean time that it is down."""
    link_every: Often
    """Mean time between failures of one link."""
    link_repair: Often
    """Mean time that it is cut."""


Source = Literal[
    "op_jitter", "arrival_skew", "small_messages", "moe_routing", "device_spread", "drift", "clock_excursions",
    "diurnal", "rare_stalls", "host_pauses", "background_load", "failures",
]  # fmt: skip
SOURCES: dict[Source, type[Parameters]] = {
    "op_jitter": OpJitter,
    "arrival_skew": ArrivalSkew,
    "small_messages": SmallMessages,
    "moe_routing": MoeRouting,
    "device_spread": DeviceSpread,
    "drift": Drift,
    "clock_excursions": ClockExcursions,
    "diurnal": Diurnal,
    "rare_stalls": RareStalls,
    "host_pauses": HostPauses,
    "background_load": BackgroundLoad,
    "failures": Failures,
}


def si_names(source: Source) -> dict[str, str]:
    """The parameters of a source by their names in SI: durations end in `_s`."""
    fields = SOURCES[source].model_fields
    return {f"{name}_s" if dimension(field.metadata) == "time" else name: name for name, field in fields.items()}


class NoiseRow(Frozen):
    """One source of a world."""

    source: Source
    device_kinds: tuple[DeviceKind, ...]
    values: dict[str, Annotated[float, Field(ge=0)]]
    """Its parameters, see the class of the source; durations in seconds, as their names end."""
    basis: str
    """Where the numbers come from, or that they are assumed."""

    @model_validator(mode="after")
    def _is_complete(self) -> NoiseRow:
        expected = si_names(self.source)
        if self.values.keys() != expected.keys():
            raise fault(
                f"{self.source} with {', '.join(self.values) or 'nothing'}", f"expected {', '.join(expected)}"
            )
        parameters = {name: self.values[si_name] for si_name, name in expected.items()}
        for name, field in SOURCES[self.source].model_fields.items():
            for limit in field.metadata:
                if isinstance(limit, Gt | Ge | Le) and not _within(parameters[name], limit):
                    raise fault(f"{name} of {parameters[name]:g}", f"expected {_in_words(limit)}")
        SOURCES[self.source].model_construct(None, **parameters).require_consistency()
        return self


def _within(value: Any, limit: Gt | Ge | Le) -> bool:
    if isinstance(limit, Le):
        return bool(value <= limit.le)
    return bool(value > limit.gt) if isinstance(limit, Gt) else bool(value >= limit.ge)


def _in_words(limit: Gt | Ge | Le) -> str:
    if isinstance(limit, Le):
        return f"at most {limit.le}"
    return f"more than {limit.gt}" if isinstance(limit, Gt) else f"at least {limit.ge}"


def row(source: Source, parameters: Parameters, device_kinds: tuple[DeviceKind, ...], basis: str) -> NoiseRow:
    """A source with its parameters."""
    values = {si_name: float(getattr(parameters, name)) for si_name, name in si_names(source).items()}
    return NoiseRow(source=source, device_kinds=device_kinds, values=values, basis=basis)


class Noise(Frozen):
    """The sources of a world."""

    name: str
    """Its preset, and in parentheses what a scenario changed of it."""
    rows: tuple[NoiseRow, ...] = ()

    @property
    def preset(self) -> str:
        """The name without the changes."""
        return self.name.partition(" (")[0]

    def values(self, source: Source, kind: DeviceKind) -> dict[str, Any] | None:
        """The parameters of a source as keywords; None where it is not on that kind of device."""
        return next((r.values for r in self.rows if r.source == source and kind in r.device_kinds), None)

    def changed(self, stated: dict[Source, Parameters], without: tuple[Source, ...] = ()) -> Noise:
        """
        The same world with some sources as a scenario states them; one that is new here is on all devices.

        Its name tells the changes: `datacenter (changed: op_jitter; without drift)`.
        """
        rows = {r.source: r for r in self.rows if r.source not in without}
        added = [source for source in stated if source not in rows]
        changed = [source for source in stated if source in rows]
        for source, parameters in stated.items():
            kinds = rows[source].device_kinds if source in rows else DEVICE_KINDS
            rows[source] = row(source, parameters, kinds, "stated in the scenario")
        words = (("changed:", changed), ("with", added), ("without", without))
        said = "; ".join(f"{word} {_listed(sources)}" for word, sources in words if sources)
        return Noise(name=f"{self.name} ({said})" if said else self.name, rows=tuple(rows.values()))


def _listed(sources: Sequence[Source]) -> str:
    """These sources, or how many they are when they are many."""
    return ", ".join(sources) if len(sources) <= MOST_NAMED else f"{len(sources)} sources"
