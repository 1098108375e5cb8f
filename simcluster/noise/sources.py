"""
The noise sources and their parameters: as in files, and resolved to rows in SI units.

A source is a class here: its fields are stated by presets and may be overridden by scenarios.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self, get_args

from annotated_types import Ge, Gt, Le
from pydantic import Field, model_validator

from simcluster.catalog.device import DeviceKind
from simcluster.files.quantities import Frozen, Ratio, Seconds, dimension, fault

MAX_NAMED = 3
"""Most changed sources that a changed preset's name lists one by one."""
DEVICE_KINDS: tuple[DeviceKind, ...] = get_args(DeviceKind)

Spread = Annotated[Ratio, Field(le=10)]
Chance = Annotated[Ratio, Field(le=1)]
Brief = Annotated[Seconds, Field(le=3600)]
Often = Annotated[Seconds, Field(ge=1e-3, le=1e11)]
"""Mean time between recurrent events."""
Times = Annotated[float, Field(ge=1, le=1000)]
"""Factor by which a duration grows."""


class Parameters(Frozen):
    """Base of the parameters of a source."""

    def require_consistency(self) -> None:
        """Raise a fault if parameters contradict each other."""

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
    """Mean delay of a rank."""
    first_rank: Brief = 0.0
    """Additional delay of rank 0, which makes the token."""


class SmallMessages(Parameters):
    """Short exchanges take a lognormal factor; some have an exponential delay on top, and a few a very long one."""

    up_to: Brief
    """Exchanges that take longer than this without noise are not changed."""
    sigma: Annotated[Spread, Field(le=2)]
    """Standard deviation of the factor's logarithm; the mean factor is 1."""
    shoulder: Chance = 0.0
    """Share of the exchanges with an exponential delay on top."""
    shoulder_mean: Brief = 0.0
    """Mean of that delay."""
    tail: Chance = 0.0
    """Share with a truncated Pareto delay instead; counted in 65,536ths."""
    tail_exponent: Annotated[float, Field(gt=0, le=20)] = 1.0
    """Exponent of the Pareto distribution."""
    tail_shortest: Brief = 0.0
    """Shortest delay of the tail."""
    tail_longest: Brief = 0.0
    """Longest delay of the tail."""

    def require_consistency(self) -> None:
        """Raise a fault if the range of durations is empty or shares exceed 100 %."""
        if self.shoulder + self.tail > 1:
            raise fault("shoulder and tail of more than 100 % of the messages", "expected at most 100 % together")
        if self.tail and not 0 < self.tail_shortest < self.tail_longest:
            raise fault("a tail without a range", "expected 0 < tail_shortest < tail_longest")


class MoeRouting(Parameters):
    """
    Expert routing: the number of distinct experts that a step's tokens touch varies, and with it the weights to
    fetch.

    Every token chooses the top k of its layer's experts by Gumbel noise on the logarithm of their popularity.
    """

    sigma: Annotated[Spread, Field(le=2)]
    """Standard deviation of the logarithm of an expert's popularity, which is constant; 0 % for equal popularity."""


class DeviceSpread(Parameters):
    """Permanent differences between devices of a kind: lognormal factors on arithmetic and memory, and outliers."""

    compute: Spread
    """Standard deviation of the logarithm of the time that arithmetic takes."""
    memory: Spread
    """The same for fetching."""
    outliers: Chance = 0.0
    """Share of the devices whose arithmetic also takes longer by a uniform factor."""
    outlier_least: Times = 1.0
    """Least factor of an outlier's arithmetic time."""
    outlier_most: Times = 1.0
    """Greatest factor of an outlier's arithmetic time."""


class Drift(Parameters):
    """Slow drift of a device: an Ornstein-Uhlenbeck process on the log of times, in steps of a tenth of `time`."""

    compute: Spread
    """Standard deviation of the logarithm of the time that arithmetic takes."""
    memory: Spread
    """The same for fetching."""
    time: Annotated[Seconds, Field(ge=0.01, le=1e6)]
    """Time after which the correlation has fallen to 1/e."""


class ClockExcursions(Parameters):
    """A device throttles its clock from time to time: its arithmetic takes longer, its fetches do not."""

    every: Often
    """Mean time between two of them on one device, exponential."""
    lasts: Often
    """Mean duration, exponential."""
    times_slower: Times
    """Factor of arithmetic time during an excursion."""


class Diurnal(Parameters):
    """Diurnal temperature: arithmetic of all devices slows down and speeds up, as a sine that starts at its mean."""

    swing: Annotated[Ratio, Field(le=1)]
    """From the shortest to the longest time, relative to the mean."""
    period: Annotated[Seconds, Field(ge=1)] = 86_400.0
    """Period of the sine, such as a day."""


class RareStalls(Parameters):
    """A step of a group of ranks rarely stalls, for a truncated Pareto time."""

    every: Often
    """Mean time between two stalls of one group, exponential."""
    exponent: Annotated[float, Field(gt=0, le=20)]
    """Exponent of the Pareto distribution."""
    shortest: Brief
    """Shortest stall."""
    longest: Brief
    """Longest stall."""

    def require_consistency(self) -> None:
        """Raise a fault if the range of durations is empty."""
        if not 0 < self.shortest < self.longest:
            raise fault("stalls without a range", "expected 0 < shortest < longest")


class HostPauses(Parameters):
    """
    The process that delivers tokens pauses, as for garbage collection, while devices continue.

    Tokens made in a pause are delivered at its end, all at once.
    """

    every: Often
    """Time from the begin of one pause to the begin of the next; the first begins at random within it."""
    mean: Brief
    """Mean duration of a pause: normal, cut at both ends."""
    sd: Brief
    """Its standard deviation before it is cut."""
    shortest: Brief
    """Shortest pause."""
    longest: Brief
    """Longest pause."""

    def require_consistency(self) -> None:
        """Raise a fault if the range of durations is empty."""
        if not self.shortest <= self.mean <= self.longest < self.every:
            raise fault("pauses that do not fit", "expected shortest <= mean <= longest < every")


class BackgroundLoad(Parameters):
    """Other traffic on links between nodes: from time to time a link has only a part of its bandwidth."""

    bandwidth: Annotated[Ratio, Field(ge=0.001, le=1)]
    """Share of the bandwidth that is left."""
    every: Often
    """Mean time without other traffic, exponential."""
    lasts: Often
    """Mean time with other traffic, exponential."""


class Failures(Parameters):
    """Devices and links between nodes fail and recover, at exponential times."""

    device_every: Often
    """Mean time between failures of one device."""
    device_repair: Often
    """Mean time for which a failed device is down."""
    link_every: Often
    """Mean time between failures of one link."""
    link_repair: Often
    """Mean time for which a failed link is down."""


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
    """Map the SI names of a source's parameters, in which durations end in `_s`, to those in files."""
    fields = SOURCES[source].model_fields
    return {f"{name}_s" if dimension(field.metadata) == "time" else name: name for name, field in fields.items()}


class NoiseRow(Frozen):
    """One resolved noise source."""

    source: Source
    device_kinds: tuple[DeviceKind, ...]
    values: dict[str, Annotated[float, Field(ge=0)]]
    """Its parameters, see the class of the source; durations in seconds, with names that end in `_s`."""
    basis: str
    """Origin of the numbers, or that they are assumed."""

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
    """Resolve a source with its parameters."""
    values = {si_name: float(getattr(parameters, name)) for si_name, name in si_names(source).items()}
    return NoiseRow(source=source, device_kinds=device_kinds, values=values, basis=basis)


class Noise(Frozen):
    """All noise sources of a scenario."""

    name: str
    """Name of the preset, and in parentheses the changes by the scenario."""
    rows: tuple[NoiseRow, ...] = ()

    @property
    def preset(self) -> str:
        """Name without the changes."""
        return self.name.partition(" (")[0]

    def values(self, source: Source, kind: DeviceKind) -> dict[str, Any] | None:
        """Look up the parameters of a source as keywords; None if it is not applied to that kind of device."""
        return next((r.values for r in self.rows if r.source == source and kind in r.device_kinds), None)

    def changed(self, stated: dict[Source, Parameters], without: tuple[Source, ...] = ()) -> Noise:
        """
        Copy the noise with some sources as a scenario states them; a new source applies to all devices.

        The name lists the changes: `datacenter (changed: op_jitter; without drift)`.
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
    """List the sources, or count them if they are many."""
    return ", ".join(sources) if len(sources) <= MAX_NAMED else f"{len(sources)} sources"
