"""Quantities: what is read, what is refused, and what the refusal says."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simcluster.files import units


@pytest.mark.parametrize(
    ("text", "dimension", "value"),
    [
        ("80 GB", "bytes", 80e9),
        ("80GB", "bytes", 80e9),
        ("48 KiB", "bytes", 49152.0),
        ("400 Gb/s", "bandwidth", 50e9),
        ("1.2 Tbit/s", "bandwidth", 150e9),
        ("21 PB/s", "bandwidth", 21e15),
        ("3.79 us", "time", 3.79e-6),
        ("3.79 µs", "time", 3.79e-6),
        ("989 TFLOP/s", "speed", 989e12),
        ("1_000 req/s", "rate", 1000.0),
        ("60 req/min", "rate", 1.0),
        ("16 bit", "bits", 16.0),
        ("90 %", "ratio", 0.9),
        ("1e3 W", "power", 1000.0),
    ],
)
def test_reads_quantities_in_si(text: str, dimension: str, value: float) -> None:
    """A number and an allowed unit become the SI value, to the last bits."""
    assert math.isclose(value, units.parse(text, dimension), rel_tol=1e-15)


@pytest.mark.parametrize(
    ("text", "dimension", "found", "expected"),
    [
        ("5", "time", "'5' has no unit", "expected a time such as '250 ms'"),
        ("1 mB", "bytes", "'1 mB' has the unit 'mB'", "did you mean 'MB'?"),
        ("50 GBps", "bandwidth", "'50 GBps' has the unit 'GBps'", "a bandwidth: did you mean 'GB/s'?"),
        (
            "3 gb/s",
            "bandwidth",
            "'3 gb/s' has the unit 'gb/s'",
            "did you mean 'GB/s' or 'Gb/s'? (b is bit, B is byte)",
        ),
        ("fast", "time", "'fast' is not a time", "expected a time such as '250 ms'"),
        ("nan s", "time", "'nan s' is not a time", "expected a time such as '250 ms'"),
        ("1e999 s", "time", "'1e999 s' is too large", "expected a time such as '250 ms'"),
        ("80 GB/s", "bytes", "'80 GB/s' has the unit 'GB/s'", "a size: did you mean 'GB'?"),
    ],
)
def test_refuses_what_is_not_such_a_quantity(text: str, dimension: str, found: str, expected: str) -> None:
    """An error says what was found and what would be right."""
    with pytest.raises(units.UnitError) as error:
        units.parse(text, dimension)

    assert (found, expected) == (error.value.found, error.value.expected)


def test_a_huge_text_is_refused_without_being_echoed() -> None:
    """The error of a megabyte of digits is short."""
    with pytest.raises(units.UnitError) as error:
        units.parse("9" * 10**6, "bytes")

    assert len(str(error.value)) < 200


@given(st.floats(min_value=1e-9, max_value=1e15), st.sampled_from(["bytes", "bandwidth", "speed"]))
def test_what_is_shown_reads_back(value: float, dimension: str) -> None:
    """A shown quantity parses to the value within the digits shown."""
    assert math.isclose(
        value, units.parse(units.show(value, dimension, digits=6).replace(",", ""), dimension), rel_tol=1e-5
    )
