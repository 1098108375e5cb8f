"""
What is known of serving engines: how they schedule, and the time their host takes; one file for each.

A fit knows its range: the deployments whose measured runs it rests on, and what it leaves on runs that were not
fitted. Both travel with every result that uses it.
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
    """What a prediction leaves on measured runs that were not fitted, without sign."""

    points: Count
    median: float
    p90: float


class ErrorText(Frozen):
    """The same as people write it."""

    points: Count
    median: Ratio
    p90: Ratio

    def si(self) -> Error:
        """As numbers."""
        return Error(points=self.points, median=self.median, p90=self.p90)


class LeftOut(Frozen):
    """What a fit to all other models leaves on the runs of one; by the slopes of the last round of the fit."""

    points: Count
    median: Ratio


class Range(Frozen):
    """What the fitted runs span."""

    devices: list[str]
    models: list[str]
    tensor_parallel: list[int]
    concurrency: Annotated[list[int], Field(min_length=2, max_length=2)]
    prompt_tokens: Annotated[list[int], Field(min_length=2, max_length=2)]
    output_tokens: Annotated[list[int], Field(min_length=2, max_length=2)]


class EngineFile(Frozen):
    """A calibration of an engine as people write it, and as the fit writes it."""

    title: str
    date: str
    method: str
    scheduler: str
    scheduler_note: str
    admission_lag: Annotated[int, Field(ge=0, le=10)]
    """Steps that begin between the end of one request of a closed loop and the first that can serve the next."""
    host_fixed: Time
    host_per_sequence: Time
    collective_skew: Time
    """Mean delay of a rank at a collective: n ranks wait for their last one that times 1 + 1/2 + ... + 1/n."""
    points: Count
    """Measured runs that were fitted."""
    tpot: ErrorText
    ttft: ErrorText
    left_out: dict[str, LeftOut]
    """By model."""
    fitted_range: Range
    sources: dict[str, Source]

    @model_validator(mode="after")
    def _sources_are_those_named(self) -> EngineFile:
        times = (self.host_fixed, self.host_per_sequence, self.collective_skew)
        require_sources((time.source for time in times), self.sources)
        return self


class EngineCalibration(Frozen):
    """The same in SI, as far as results depend on it."""

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
    The constants of an engine that come with simcluster.

    Raises:
        UnknownName: there are none for it.
        InputError: the file is faulty.
    """
    return read(entries.entry("calibration", f"engine-{name}"), name)


def read(document: Document, name: str) -> EngineCalibration:
    """
    A calibration from its file.

    Raises:
        InputError: with every fault of the file.
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
    """How long n ranks wait for their last one, each late by an exponential time of this mean."""
    return mean_s * fsum(1 / rank for rank in range(1, n_ranks + 1))
