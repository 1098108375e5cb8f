"""
The constants of the wafer cost model that are not in data sheets, with the measurements they were fitted to.

Times are in cycles, because the clock is a fact of the device.
"""

from __future__ import annotations

from functools import cache
from typing import Annotated, Generic, Literal, TypeVar

from pydantic import Field, model_validator

from simcluster.catalog import entries
from simcluster.catalog.sources import require_sources
from simcluster.files.quantities import Frozen, PositiveInt, Ratio, Seconds, Source, fault
from simcluster.files.source import Document
from simcluster.files.validation import validate

T = TypeVar("T")
Status = Literal["measured", "fitted", "scaled", "assumed"]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Residual(Frozen):
    """Relative errors of a fitted model on its own data, which do not predict errors elsewhere."""

    points: PositiveInt
    median_error: Ratio
    p90_error: Ratio


class Constant(Frozen, Generic[T]):
    """
    One constant and its origin.

    `measured` was measured on hardware by the source, `fitted` was fitted here to the source's numbers (then it has
    the residual of that fit), `scaled` follows from another generation by the rule in the note, `assumed` is a
    choice.
    """

    value: T
    status: Status
    source: str
    """A key of the file's `sources`."""
    residual: Residual | None = None
    note: str = ""

    @model_validator(mode="after")
    def _fits_have_residuals(self) -> Constant[T]:
        if (self.status == "fitted") != (self.residual is not None):
            raise fault(f"status {self.status}", "a residual goes with status fitted and with no other")
        return self


class WaferCalibration(Frozen):
    """The fitted constants of one wafer generation, in SI and cycles, for `simcluster.costs.wafer`."""

    title: str
    matvec_flop_per_cycle: float
    """Rate of one core in a matrix-vector product; a multiply-add counts as two."""
    matmul_flop_per_cycle: float
    """Rate of one core in a matrix-matrix product."""
    matvec_overhead_cycles: float
    """Overhead of one op of a decode step, whatever its size."""
    matmul_step_overhead_cycles: float
    """Overhead of one shift of a matrix-matrix product."""
    host_step_s: float
    """Time between two steps in which the wafer waits for its host."""
    statuses: dict[str, Status]
    """Status of every constant above, by name."""


class WaferFile(Frozen):
    """A calibration file, every constant with its source."""

    title: str
    date: str
    """Date of the fit."""
    method: str
    matvec_flop_per_cycle: Constant[Positive]
    matmul_flop_per_cycle: Constant[Positive]
    matvec_overhead_cycles: Constant[NotNegative]
    matmul_step_overhead_cycles: Constant[NotNegative]
    host_step: Constant[Seconds]
    sources: dict[str, Source]

    @model_validator(mode="after")
    def _sources_are_listed(self) -> WaferFile:
        require_sources((constant.source for constant in self.constants().values()), self.sources)
        return self

    def constants(self) -> dict[str, Constant[float]]:
        """Collect all constants by name."""
        return {
            "matvec_flop_per_cycle": self.matvec_flop_per_cycle,
            "matmul_flop_per_cycle": self.matmul_flop_per_cycle,
            "matvec_overhead_cycles": self.matvec_overhead_cycles,
            "matmul_step_overhead_cycles": self.matmul_step_overhead_cycles,
            "host_step_s": self.host_step,
        }


@cache
def shipped(device: str) -> WaferCalibration:
    """
    Read the shipped constants of a device.

    Raises:
        UnknownName: the device has none.
        InputError: the file is invalid.
    """
    return read(entries.entry("calibration", device))


def read(document: Document) -> WaferCalibration:
    """
    Read a calibration from its file.

    Raises:
        InputError: with every problem of the file.
    """
    file = validate(document, WaferFile)
    constants = file.constants()
    return WaferCalibration(
        title=file.title,
        statuses={name: constant.status for name, constant in constants.items()},
        **{name: constant.value for name, constant in constants.items()},
    )
