"""Pydantic errors as readable messages with lines."""

from typing import Annotated, Literal

import pytest
from pydantic import Field, field_validator

from simcluster.files import source
from simcluster.files.problems import InputError
from simcluster.files.quantities import Frozen, Ratio, Seconds, fault
from simcluster.files.validation import at, validate


class Ring(Frozen):
    kind: Literal["ring"]
    size: Annotated[int, Field(ge=2)]


class Star(Frozen):
    kind: Literal["star"]
    centre: str = ""

    @field_validator("centre")
    @classmethod
    def _named(cls, value: str) -> str:
        if value == "?":
            raise fault("an unknown centre", "expected a name")
        return value


class Noise(Frozen):
    mean: Seconds


class File(Frozen):
    shape: Annotated[Ring | Star, Field(discriminator="kind")] | None = None
    noise: str | Noise = ""
    share: Annotated[Ratio, Field(gt=0, le=1)] = 1.0
    numbers: tuple[float, ...] = ()
    count: Annotated[int, Field(gt=0)] | None = None
    names: Annotated[list[str], Field(max_length=2)] = Field(default_factory=list)


KEYS = "shape, noise, share, numbers, count, names"


def faults(text: str) -> list[str]:
    """List the faults of a file."""
    with pytest.raises(InputError) as caught:
        validate(source.parse(text, "f.yaml"), File)
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("count: 1.5", "f.yaml:1: count: 1.5; expected a whole number"),
        ("count: '1'", "f.yaml:1: count: '1'; expected a whole number"),
        ("count: true", "f.yaml:1: count: true; expected a whole number"),
        ("count: 0", "f.yaml:1: count: 0; expected more than 0"),
        ("share: 101 %", "f.yaml:1: share: '101 %'; expected at most 100 %"),
        ("share: 0 %", "f.yaml:1: share: '0 %'; expected more than 0 %"),
        ("numbers: 5", "f.yaml:1: numbers: 5; expected a list"),
        ("names: [a, b, c]", "f.yaml:1: names: 3 entries; expected at most 2"),
        ("names: [a, 1]", "f.yaml:1: names[1]: 1; expected text"),
        ("noise: 5", "f.yaml:1: noise: 5; expected text or a mapping"),
        ("noise: [a]", "f.yaml:1: noise: a list; expected text or a mapping"),
        ("noise: {mean: 1}", "f.yaml:1: noise.mean: 1 has no unit; expected a time such as '250 ms'"),
        ("shape: {size: 3}", "f.yaml:1: shape: no kind; it says which kind this is"),
        ("shape: {kind: rang}", "f.yaml:1: shape: kind 'rang'; did you mean 'ring'?"),
        ("shape:\n  kind: ring\n  size: 1", "f.yaml:3: shape.size: 1; expected at least 2"),
        ("shape:\n  kind: ring", "f.yaml:1: shape.size: missing; it must be given"),
        ("shape: {kind: star, centre: '?'}", "f.yaml:1: shape.centre: an unknown centre; expected a name"),
        ("shape: {kind: star, center: a}", "f.yaml:1: shape.center: unknown key 'center'; did you mean 'centre'?"),
        ("[1]", f"f.yaml:1: a list where a mapping belongs; expected the keys {KEYS}"),
        ("", f"f.yaml: an empty file; expected the keys {KEYS}"),
    ],
)  # fmt: skip
def test_words(text: str, expected: str) -> None:
    """Each fault is reported in plain words, with the value as it stood in the file."""
    assert [expected] == faults(text)


def test_of_a_union_only_the_fitting_member_is_reported() -> None:
    """A mapping that is nearly right is reported with what is wrong inside, not as text of the wrong type."""
    assert [
        "f.yaml:1: noise.mean: missing; it must be given",
        "f.yaml:2: noise.men: unknown key 'men'; did you mean 'mean'?",
    ] == faults("noise:\n  men: 1 s")


def test_infinite_numbers_are_refused() -> None:
    """A number beyond the largest float is rejected."""
    with pytest.raises(InputError) as caught:
        validate(source.parse("numbers: [1, 1e999]", "f.yaml"), File, from_json=True)

    assert ["numbers[1]"] == [problem.path for problem in caught.value.problems]


def test_what_a_program_wrote_is_read_as_json() -> None:
    """In a file that a program wrote lists stand for tuples."""
    assert (1.0, 2.5) == validate(source.parse("numbers: [1, 2.5]"), File, from_json=True).numbers


def test_a_flood_of_faults_is_cut() -> None:
    """Only the first of very many problems are reported, and their number."""
    reported = faults("\n".join(f"k{number}: 1" for number in range(1000)))

    assert source.MAX_PROBLEMS + 1 == len(reported)
    assert f"f.yaml:1: 1,000 problems; the first {source.MAX_PROBLEMS} are reported" == reported[0]


@pytest.mark.parametrize(
    ("path", "expected"), [((), {"a": [1]}), (("a", 0), 1), (("a", 1), None), (("b",), None), (("a", "x", 0), None)]
)
def test_values_are_found_by_path(path: tuple[str | int, ...], expected: object) -> None:
    """A path leads to its value, or to None."""
    assert expected == at({"a": [1]}, path)
