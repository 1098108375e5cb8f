"""Reading untrusted YAML: plain data with lines, and nothing else."""

from pathlib import Path

import pytest

from simcluster.files import source
from simcluster.files.problems import InputError


def test_keeps_the_line_of_every_value() -> None:
    """Each key and list item knows its line."""
    document = source.parse("a: 1\nb:\n  - x: 2\n  - 3\n", "f.yaml")

    assert {"a": 1, "b": [{"x": 2}, 3]} == document.data
    assert (1, 3, 3, 4) == tuple(document.line(p) for p in [("a",), ("b", 0), ("b", 0, "x"), ("b", 1)])


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-6", 1e-6), ("5e9", 5e9), ("no", "no"), ("12:30", "12:30"), ("017", 17), ("true", True), ("~", None),
        ("0x10", "0x10"), (".inf", ".inf"), ("1_000", 1000), ("-3", -3), ("2026-11-23", "2026-11-23"),
        ("9" * 30, "9" * 30), ("'5'", "5"),
    ],
)  # fmt: skip
def test_scalars_follow_yaml_1_2(text: str, value: object) -> None:
    """Scalars follow YAML 1.2, not PyYAML's 1.1."""
    found = source.parse(f"a: {text}").data["a"]

    assert (value, type(value)) == (found, type(found))


def test_reports_every_repeated_key() -> None:
    """Repeated keys are faults, all reported together, instead of the last one winning."""
    with pytest.raises(InputError) as error:
        source.parse("a: 1\na: {b: 2}\nc: 3\nc: 4\n", "f.yaml")

    assert [
        "f.yaml:2: a: repeated key (first on line 1); expected it once",
        "f.yaml:4: c: repeated key (first on line 3); expected it once",
    ] == str(error.value).splitlines()


@pytest.mark.parametrize(
    "text",
    [
        "a: &x [1, 1]\nb: [*x, *x]",
        "a: !!python/object/apply:os.system ['true']",
        "a: !include other.yaml",
        "a: 1\n---\nb: 2",
        "[" * 200,
        "a: " + "x" * 20_000,
        "? [1, 2]\n: 3",
        "a: [1, 2",
        "\t- a",
        "- " + "[1]," * 10,
    ],
)
def test_refuses_what_is_not_plain_data(text: str) -> None:
    """Aliases, tags, second documents, deep nesting and broken text are reported with a line."""
    with pytest.raises(InputError) as error:
        source.parse(text, "f.yaml")

    assert error.value.problems[0].line >= 1


def test_an_alias_bomb_is_refused_at_once() -> None:
    """Nine levels of nine aliases each never expand."""
    levels = ["a0: &a0 [x]"] + [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 10)]
    with pytest.raises(InputError, match="anchors are not read"):
        source.parse("\n".join(levels), "bomb.yaml")


def test_a_file_with_too_many_values_is_refused() -> None:
    """The number of values is bounded."""
    with pytest.raises(InputError, match="more than"):
        source.parse("[" + "1," * (source.MAX_VALUES + 1) + "]")


def test_a_file_too_large_is_refused_unread(tmp_path: Path) -> None:
    """A file past the limit is refused by its size."""
    file = tmp_path / "big.yaml"
    with file.open("wb") as handle:
        handle.truncate(source.MAX_FILE_BYTES + 1)
    with pytest.raises(InputError, match="at most"):
        source.read(file)


@pytest.mark.parametrize(("content", "says"), [(None, "no such file"), (b"a: \xff", "not UTF-8")])
def test_an_unreadable_file_is_reported_by_name(tmp_path: Path, content: bytes | None, says: str) -> None:
    """A missing or non-text file is an input error that names it."""
    file = tmp_path / "f.yaml"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(InputError, match=says) as error:
        source.read(file)

    assert str(file) == error.value.problems[0].file
