"""
Constants of serving engines: their scheduling, and the time of their host; one file for each.

A fit records its range, the deployments of the measured runs it was made from, and its errors on runs that were not
fitted. Both are part of every result that uses it.
"""

from __future__ import annotations

from functools import cache
from math import fsum
from typing import Annotated, Literal

from pydantic import Field, model_validator

from simcluster.catalog import entries
from simcluster.catalog.sources import require_sources
from simcluster.files.quantities import Count, Frozen, Ratio, Seconds, Source
from simcluster.files.source import Document
from simcluster.files.validation import validate

Status = Literal["fitted", "scaled", "assumed"]


class Time(Frozen):
    """One fitted or assumed time."""

    value: Seconds
    status: Status
    source: str
    note: str = ""


class Error(Frozen):
    """Sizes of the errors on measured runs that were not fitted."""

    points: Count
    median: float
    p90: float


class ErrorText(Frozen):
    """The errors as written in a file."""

    points: Count
    median: Ratio
    p90: Ratio

    def si(self) -> Error:
        """Convert to numbers."""
        return Error(points=self.points, median=self.median, p90=self.p90)


class LeftOut(Frozen):
    """Errors on the runs of one model of a fit to all others, computed with the slopes of the fit's last round."""

    points: Count
    median: Ratio


class Range(Frozen):
    """The range of the fitted runs."""

    devices: list[str]
    models: list[str]
    tensor_parallel: list[int]
    concurrency: Annotated[list[int], Field(min_length=2, max_length=2)]
    prompt_tokens: Annotated[list[int], Field(min_length=2, max_length=2)]
    output_tokens: Annotated[list[int], Field(min_length=2, max_length=2)]


class EngineFile(Frozen):
    """A calibration file of an engine."""

    title: str
    date: str
    method: str
    scheduler: str
    scheduler_note: str
    admission_lag: Annotated[int, Field(ge=0, le=10)]
    """Steps that begin between the end of a request of a closed loop and the first step that can serve the next."""
    host_fixed: Time
    host_per_sequence: Time
    collective_skew: Time
    """Mean delay of a rank at a collective; n ranks wait for this times 1 + 1/2 + ... + 1/n."""
    points: Count
    """Number of measured runs that were fitted."""
    tpot: ErrorText
    ttft: ErrorText
    left_out: dict[str, LeftOut]
    """Errors without each model, by model."""
    fitted_range: Range
    sources: dict[str, Source]

    @model_validator(mode="after")
    def _sources_are_those_named(self) -> EngineFile:
        times = (self.host_fixed, self.host_per_sequence, self.collective_skew)
        require_sources((time.source for time in times), self.sources)
        return self


class EngineCalibration(Frozen):
    """The constants of an engine in SI, as far as results depend on them."""

    name: str
    title: str
    scheduler: str
    admission_lag: int
    host_fixed_s: float
    host_per_sequence_s: float
    collective_skew_s: float
    tpot: Error
    ttft: Error
    fitted_range: Range


@cache
def shipped(name: str) -> EngineCalibration:
    """
    Read the shipped constants of an engine.

    Raises:
        UnknownName: the engine has none.
        InputError: the file is invalid.
    """
    return read(entries.entry("calibration", f"engine-{name}"), name)


def read(document: Document, name: str) -> EngineCalibration:
    """
    Read a calibration from its file.

    Raises:
        InputError: with every problem of the file.
    """
    file = validate(document, EngineFile)
    return EngineCalibration(
        name=name,
        title=file.title,
        scheduler=file.scheduler,
        admission_lag=file.admission_lag,
        host_fixed_s=file.host_fixed.value,
        host_per_sequence_s=file.host_per_sequence.value,
        collective_skew_s=file.collective_skew.value,
        tpot=file.tpot.si(),
        ttft=file.ttft.si(),
        fitted_range=file.fitted_range,
    )


def skew_s(mean_s: float, n_ranks: int) -> float:
    """Find the mean time for which n ranks wait for the last one, if each is late by an exponential of this mean."""
    return mean_s * fsum(1 / rank for rank in range(1, n_ranks + 1))
