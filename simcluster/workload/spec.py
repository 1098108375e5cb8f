"""The `workload:` section of a scenario file, and which of its keys may be combined."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator

from simcluster.files.quantities import Frozen, Ratio, Seconds, fault
from simcluster.workload.arrivals import Arrivals, Single
from simcluster.workload.formats import FormatName
from simcluster.workload.lengths import Lengths
from simcluster.workload.traces import MAX_REQUESTS


class WorkloadSpec(Frozen):
    """Arrivals and lengths of requests: either drawn from distributions or read from a trace."""

    trace: Annotated[str, Field(min_length=1)] | None = None
    """A file, relative to the scenario's folder; replaces arrivals and lengths."""
    trace_format: FormatName | Literal["auto"] = "auto"
    speed_up: Ratio = 1.0
    """Factor by which the trace is replayed faster: `2 x` halves all times."""
    spread_quantised: bool = False
    """Spread rows that share a timestamp over the clock's step."""
    arrivals: Arrivals | None = Field(default=None, validate_default=True)
    prompt_tokens: Lengths | None = Field(default=None, validate_default=True)
    output_tokens: Lengths | None = Field(default=None, validate_default=True)
    requests: Annotated[int, Field(ge=1, le=MAX_REQUESTS)] | None = Field(default=None, validate_default=True)
    """Number of requests; for a trace, of its first usable rows, and all if not given."""
    horizon_s: Seconds | None = Field(default=None, alias="horizon")
    """Time at which the run stops, finished or not; all requests are made nevertheless."""

    @field_validator("trace_format", "speed_up", "spread_quantised")
    @classmethod
    def _of_a_trace(cls, value: Any, info: ValidationInfo) -> Any:
        if info.data.get("trace", "") is None:
            raise fault(f"{info.field_name} without a trace", "remove it, or name a trace")
        return value

    @field_validator("speed_up", "horizon_s")
    @classmethod
    def _positive(cls, value: float | None) -> float | None:
        if value == 0:
            raise fault("0", "expected more than 0")
        return value

    @field_validator("arrivals", "prompt_tokens", "output_tokens")
    @classmethod
    def _drawn_or_read(cls, value: Any, info: ValidationInfo) -> Any:
        if "trace" in info.data:
            if value is None and info.data["trace"] is None:
                raise fault("missing", f"give {info.field_name}, or a trace")
            if value is not None and info.data["trace"] is not None:
                raise fault(f"{info.field_name} together with a trace", "remove one: a trace has its own")
        return value

    @field_validator("requests")
    @classmethod
    def _counted(cls, value: int | None, info: ValidationInfo) -> int | None:
        arrivals = info.data.get("arrivals")
        if isinstance(arrivals, Single) and value not in (None, 1):
            raise fault(f"{value} requests with arrivals of kind single", "expected 1, or arrivals of another kind")
        if arrivals is not None and not isinstance(arrivals, Single) and value is None:
            raise fault("missing", "give the number of requests")
        return value
