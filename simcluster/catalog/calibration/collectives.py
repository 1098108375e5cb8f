"""Fitted constants of collectives, one file per link: the form of the files and the frozen SI form for the costs."""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from simcluster.catalog import entries
from simcluster.catalog.sources import require_sources
from simcluster.files import source, validation
from simcluster.files.problems import nearest
from simcluster.files.quantities import Bandwidth, Frozen, PositiveInt, Ratio, Seconds, Source, fault

Launch = Literal["graph", "eager"]
"""Start of kernels: replayed from a captured graph, or one by one by the host."""
Collective = Literal["all_reduce", "all_gather", "reduce_scatter", "all_to_all", "send"]
Status = Literal["fitted", "scaled", "assumed"]
"""Fitted to measurements of this link; scaled from another link or mode; assumed without a measurement."""
Library = Literal["custom", "nccl", "vendor"]
"""The serving engine's own kernels, NCCL or RCCL, or what a vendor's compiler emits."""

ALGORITHMS: dict[Collective, tuple[str, ...]] = {
    "all_reduce": ("ring", "tree", "halving_doubling", "one_shot", "two_shot", "nvls"),
    "all_gather": ("ring", "direct"),
    "reduce_scatter": ("ring", "direct"),
    "all_to_all": ("pairwise", "direct"),
    "send": ("direct",),
}
"""Names that a calibration file may use; `costs.collectives` has the form of each."""

_PREFIX = "collectives-"
"""Start of the names of shipped files, before that of the link."""


class CollectiveFit(Frozen):
    """A straight line: an algorithm of one library on one link lasts fixed + steps · step + traffic / bandwidth."""

    algorithm: str
    library: Library
    launch: tuple[Launch, ...]
    fixed_s: float
    step_s: float
    """0 where the number of steps does not depend on the ranks: a fit cannot separate it from `fixed_s` there."""
    bytes_per_s: float
    """Attained bandwidth of one rank in one direction, not the rated one."""
    min_ranks: int
    max_ranks: int | None
    """None: any number."""
    status: Status
    points: int
    """Measured points on which this line is the fastest of its group; 0 unless fitted."""
    median_error: float | None
    """Median of |predicted / measured - 1| on those points, which are the fitted ones: not a held-out error."""
    p90_error: float | None
    source: str
    date: str
    note: str


class Residual(Frozen):
    """Errors of the fastest of several lines on all the measurements they were fitted to."""

    collective: Collective
    algorithm: str
    """The requested algorithm: `auto`, or a library."""
    launch: Launch
    n_ranks: int | None
    """None: all numbers of ranks of the set."""
    points: int
    median_error: float
    p90_error: float
    source: str


class Fabric(Frozen):
    """All fits of collectives on one kind of link."""

    name: str
    title: str
    all_reduce: tuple[CollectiveFit, ...]
    all_gather: tuple[CollectiveFit, ...]
    reduce_scatter: tuple[CollectiveFit, ...]
    all_to_all: tuple[CollectiveFit, ...]
    send: tuple[CollectiveFit, ...]
    residuals: tuple[Residual, ...]


@cache
def fabric(link: str) -> Fabric:
    """
    Read the shipped calibration of a link.

    Args:
        link: name in the catalogue, such as `nvlink4`.

    Raises:
        LookupError: no calibration of the link exists.
        InputError: the file is invalid.
    """
    known = fabrics()
    if link not in known:
        raise LookupError(f"no calibration of collectives for the link '{link}'; {nearest(link, known)}")
    return read(entries.entry("calibration", f"{_PREFIX}{link}"))


@cache
def fabrics() -> tuple[str, ...]:
    """List the links with a shipped calibration, sorted."""
    names = entries.names("calibration")
    return tuple(name.removeprefix(_PREFIX) for name in names if name.startswith(_PREFIX))


def read(document: source.Document) -> Fabric:
    """
    Turn a calibration file into SI.

    Raises:
        InputError: with all its problems.
    """
    return _si(validation.validate(document, _File))


class _Row(Frozen):
    """One line of a file, with units."""

    algorithm: str
    library: Library
    launch: Annotated[list[Launch], Field(min_length=1)]
    fixed: Seconds
    step: Seconds
    bandwidth: Bandwidth
    min_ranks: PositiveInt = 2
    max_ranks: PositiveInt | None = None
    status: Status
    points: PositiveInt | None = None
    median_error: Ratio | None = None
    p90_error: Ratio | None = None
    source: str
    date: str
    note: str = ""

    @model_validator(mode="after")
    def _explained(self) -> _Row:
        errors = (self.points, self.median_error, self.p90_error)
        if self.status == "fitted" and None in errors:
            raise fault("a fit without its residual", "expected points, median_error and p90_error")
        if self.status != "fitted" and errors != (None, None, None):
            raise fault(f"a residual on a row that is {self.status}", "only a fitted row has one")
        if self.status != "fitted" and not self.note:
            raise fault(f"no note on a row that is {self.status}", "expected the reason")
        if self.max_ranks is not None and self.max_ranks < self.min_ranks:
            raise fault(f"max_ranks {self.max_ranks} below min_ranks {self.min_ranks}", "expected a range")
        return self


class _Residual(Frozen):
    """One residual of a file."""

    collective: Collective
    algorithm: str
    launch: Launch
    n_ranks: PositiveInt | None = None
    points: PositiveInt
    median_error: Ratio
    p90_error: Ratio
    source: str


class _File(Frozen):
    """A calibration file."""

    link: str
    title: str
    sources: dict[str, Source]
    all_reduce: list[_Row]
    all_gather: list[_Row]
    reduce_scatter: list[_Row]
    all_to_all: list[_Row]
    send: list[_Row]
    residuals: list[_Residual] = Field(default_factory=list)

    @model_validator(mode="after")
    def _names_known(self) -> _File:
        for collective, known in ALGORITHMS.items():
            for row in self._rows(collective):
                if row.algorithm not in known:
                    raise fault(f"{collective}: unknown algorithm '{row.algorithm}'", nearest(row.algorithm, known))
        cited = {row.source for collective in ALGORITHMS for row in self._rows(collective)}
        require_sources(cited | {residual.source for residual in self.residuals}, self.sources)
        return self

    def _rows(self, collective: Collective) -> list[_Row]:
        rows: list[_Row] = getattr(self, collective)
        return rows


def _si(file: _File) -> Fabric:
    """Convert a file to SI, with each source by its title."""

    def titled(item: Frozen) -> dict[str, Any]:
        fields = item.model_dump()
        return fields | {"source": file.sources[fields["source"]].title}

    def fit(row: _Row) -> CollectiveFit:
        fields = titled(row)
        return CollectiveFit(
            fixed_s=fields.pop("fixed"),
            step_s=fields.pop("step"),
            bytes_per_s=fields.pop("bandwidth"),
            **fields | {"launch": tuple(row.launch), "points": row.points or 0},
        )

    rows = {collective: tuple(map(fit, getattr(file, collective))) for collective in ALGORITHMS}
    residuals = tuple(Residual(**titled(residual)) for residual in file.residuals)
    return Fabric(name=file.link, title=file.title, residuals=residuals, **rows)
