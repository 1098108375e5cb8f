"""Field types of input files: text with a unit in, SI floats out; and values that carry their source."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from simcluster.files import units
from simcluster.files.problems import shown


class Frozen(BaseModel):
    """Base of all data read from files: immutable, no unknown keys, no coercion of text to numbers, no infinities."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False, defer_build=True)


def fault(found: str, expected: str) -> PydanticCustomError:
    """Make an error for validators that keeps what was found apart from what would be right."""
    return PydanticCustomError("fault", "{found}; {expected}", {"found": found, "expected": expected})


def _reader(dimension: str, minimum: float, exclusive: bool) -> Callable[[Any], float]:
    """Make a validator that turns `900 GB/s` into SI and checks the lower bound."""

    def read(value: Any) -> float:
        example = units.EXAMPLES[dimension]
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise fault(f"{shown(value)} is not {units.NAMES[dimension]}", f"expected text such as '{example}'")
        if not isinstance(value, str):
            raise fault(f"{value} has no unit", f"expected {units.NAMES[dimension]} such as '{example}'")
        try:
            number = units.parse(value, dimension)
        except units.UnitError as error:
            raise fault(error.found, error.expected) from None
        if number < minimum or (exclusive and number == minimum):
            raise fault(f"'{value}' is too small", f"expected {'more than' if exclusive else 'at least'} {minimum:g}")
        return number

    return read


def _schema(dimension: str) -> WithJsonSchema:
    choices = "|".join(sorted((u.replace("/", "\\/") for u in units.UNITS[dimension]), key=len, reverse=True))
    return WithJsonSchema(
        {
            "type": "string",
            "pattern": rf"^\s*{units.NUMBER}\s*({choices})\s*$",
            "examples": [units.EXAMPLES[dimension]],
        }
    )


class Dimension(str):
    """The dimension of a quantity, kept in the metadata of its field."""


def dimension(metadata: Iterable[Any]) -> str | None:
    """Find the dimension of a field, a key of `units.UNITS`; None if it is not a quantity."""
    return next((str(item) for item in metadata if isinstance(item, Dimension)), None)


Seconds = Annotated[float, BeforeValidator(_reader("time", 0.0, False)), _schema("time"), Dimension("time")]
Bytes = Annotated[float, BeforeValidator(_reader("bytes", 0.0, True)), _schema("bytes")]
Bandwidth = Annotated[float, BeforeValidator(_reader("bandwidth", 0.0, True)), _schema("bandwidth")]
Speed = Annotated[float, BeforeValidator(_reader("speed", 0.0, True)), _schema("speed")]
Frequency = Annotated[float, BeforeValidator(_reader("frequency", 0.0, True)), _schema("frequency")]
Power = Annotated[float, BeforeValidator(_reader("power", 0.0, True)), _schema("power")]
Rate = Annotated[float, BeforeValidator(_reader("rate", 0.0, True)), _schema("rate")]
Bits = Annotated[float, BeforeValidator(_reader("bits", 0.0, True)), _schema("bits"), Dimension("bits")]
Ratio = Annotated[float, BeforeValidator(_reader("ratio", 0.0, False)), _schema("ratio"), Dimension("ratio")]
PositiveInt = Annotated[int, Field(gt=0, le=10**12)]
Count = Annotated[int, Field(ge=0, le=10**12)]

T = TypeVar("T")


class Fact(Frozen, Generic[T]):
    """One value of the catalogue with a key of the file's `sources`, and how sure it is."""

    value: T
    source: str
    confidence: Literal["high", "medium", "low"] = "high"
    note: str = ""


class Source(Frozen):
    """The origin of values: a title that can be found, and an address and a date of reading if known."""

    title: str
    url: str = ""
    read: str = ""
