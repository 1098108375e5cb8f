"""
Read untrusted YAML files: plain data, and the line of every value.

The schema is YAML 1.2's core schema with decimal numbers only: `no` and `12:30` stay text, `1e-6` is a number,
a repeated key is an error instead of the last one winning silently. Aliases, tags and documents beyond the limits
below are rejected, so that a hostile file costs a bounded amount of memory and time and nothing in it is executed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any

import yaml

from simcluster.files.problems import InputError, Problem
from simcluster.files.units import DIGITS, NUMBER

MAX_FILE_BYTES = 16 * 2**20
MAX_VALUES = 300_000
MAX_DEPTH = 40
MAX_SCALAR_CHARACTERS = 10_000
MAX_INTEGER_DIGITS = 19
MAX_PROBLEMS = 100
"""Problems that are reported for one file."""

Path = tuple[str | int, ...]

_INT = re.compile(rf"[+-]?{DIGITS}")
_FLOAT = re.compile(NUMBER)
_UNPRINTABLE = re.compile("[^\t\n\r -~\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_WORDS: dict[str, Any] = {"true": True, "false": False, "null": None, "~": None, "": None}
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class Document:
    """Plain data read from one file, and the line of each value, keyed by its path of keys and indices."""

    file: str
    data: Any
    lines: dict[Path, int]
    given: dict[Path, Given] = field(default_factory=dict)
    """Origins of values that are not in the file but were set from elsewhere, by path."""

    def line(self, path: Path) -> int:
        """Find the line of the value at `path`, or of the nearest enclosing value in the file; 0 if none."""
        for length in range(len(path), -1, -1):
            if path[:length] in self.lines:
                return self.lines[path[:length]]
        return 0

    def problem(self, path: Path, found: str, expected: str) -> Problem:
        """Make a problem at `path`, with file and line of the place that the value came from."""
        inside = [key for key in self.given if path[: len(key)] == key]
        around = [key for key in self.given if key[: len(path)] == path] if path not in self.lines else []
        if inside or around:
            key = (inside or around)[-1]
            origin = self.given[key]
            line = origin.document.line((*origin.at, *path[len(key) :]))
            return Problem(origin.document.file, line, show_path(path), found, expected)
        return Problem(self.file, self.line(path), show_path(path), found, expected)

    def folder(self, path: Path) -> FilePath:
        """Find the folder in which a file named at `path` is looked up: that of the file that names it."""
        origins = [self.given[path[:length]] for length in range(1, len(path) + 1) if path[:length] in self.given]
        return FilePath((origins[-1].document if origins else self).file).parent


@dataclass(frozen=True)
class Given:
    """The origin of a value that was set in a document: a path of another document."""

    document: Document
    at: Path = ()


COMMAND_LINE = Given(Document("--set", None, {}))
"""Values set on the command line; relative file names start from the current folder, as in the shell."""


def show_path(path: Path) -> str:
    """Write a path as `nodes[3].name`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else (f".{part}" if text else part)
    return text


def read(file: str | FilePath) -> Document:
    """
    Read one YAML (or JSON) file.

    Raises:
        InputError: the file cannot be read or parsed, is larger than the limits, repeats a key, or uses
            aliases or tags; all repeated keys are reported together.
    """
    name = str(file)
    return parse(read_text(file), name)


def read_text(file: str | FilePath, max_bytes: int = MAX_FILE_BYTES) -> str:
    """
    Read the text of a UTF-8 file of bounded size.

    Raises:
        InputError: no such file, not a regular file, too large, or not UTF-8.
    """
    name = str(file)
    path = FilePath(file)
    try:
        if not path.is_file():
            found = "is a folder" if path.is_dir() else ("is not a regular file" if path.exists() else "no such file")
            raise InputError([Problem(name, 0, "", found, "expected a readable file")])
        with path.open("rb") as handle:
            content = handle.read(max_bytes + 1)  # the size may be wrong: files grow, and devices have none
        if len(content) > max_bytes:
            raise InputError([Problem(name, 0, "", "a larger file", f"at most {max_bytes:,} bytes are read")])
        return content.decode("utf-8")
    except OSError as error:
        raise InputError([Problem(name, 0, "", str(error.strerror or error), "expected a readable file")]) from None
    except UnicodeDecodeError as error:
        raise InputError([Problem(name, 0, "", f"byte {error.start} is not UTF-8", "expected UTF-8 text")]) from None


def is_file(path: FilePath) -> bool:
    """Whether a regular file exists; a path that the system cannot look up, such as one too long, does not."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def is_folder(path: str | FilePath) -> bool:
    """Whether a folder exists; a path that the system cannot look up, such as one too long, does not."""
    try:
        return FilePath(path).is_dir()
    except (OSError, ValueError):
        return False


def shipped(kind: str) -> FilePath:
    """Find a folder of files that come with simcluster: in the installed package, or next to it in a checkout."""
    package = FilePath(__file__).parent.parent
    packaged = package / "data" / kind
    return packaged if packaged.is_dir() else package.parent / kind


def parse(text: str, name: str = "<text>") -> Document:
    """
    Read YAML text; `name` stands for the file in error messages.

    Raises:
        InputError: see `read`.
    """
    if unprintable := _UNPRINTABLE.search(text):
        line = text.count("\n", 0, unprintable.start()) + 1
        found = f"the character U+{ord(unprintable.group()):04X}"
        raise InputError([Problem(name, line, "", found, "expected text without control characters")])
    reader = _Reader(name)
    try:
        data = reader.read(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 0
        found = error.problem or error.context or "unreadable"
        raise InputError([Problem(name, line, "", f"not YAML: {found}", "expected a YAML mapping")]) from None
    except yaml.YAMLError as error:
        raise InputError([Problem(name, 0, "", f"not YAML: {error}", "expected YAML text")]) from None
    if reader.problems:
        raise InputError(reader.problems)
    return Document(name, data, reader.lines)


class _Reader:
    """Builds plain data from the parser's events, with lines and within the limits."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.lines: dict[Path, int] = {}
        self.problems: list[Problem] = []
        self.n_values = 0

    def read(self, text: str) -> Any:
        loader = _LOADER(text)
        try:
            loader.get_event()  # stream start
            if not loader.check_event(yaml.DocumentStartEvent):
                return None
            loader.get_event()
            data = self._value(loader, ())
            loader.get_event()  # document end
            if not loader.check_event(yaml.StreamEndEvent):
                self._refuse(loader.peek_event(), "a second document", "expected one YAML document a file")
            return data
        finally:
            loader.dispose()

    def _refuse(self, event: Any, found: str, expected: str, path: Path = ()) -> None:
        line = event.start_mark.line + 1
        raise InputError([*self.problems, Problem(self.name, line, show_path(path), found, expected)])

    def _value(self, loader: Any, path: Path) -> Any:
        event = loader.get_event()
        line = event.start_mark.line + 1
        self.lines.setdefault(path, line)
        self.n_values += 1
        if self.n_values > MAX_VALUES:
            self._refuse(event, f"more than {MAX_VALUES:,} values", "expected a smaller file", path)
        if len(path) > MAX_DEPTH:
            self._refuse(event, f"nested deeper than {MAX_DEPTH}", "expected a flatter file", path)
        self._require_plain(event, path)
        if isinstance(event, yaml.SequenceStartEvent):
            return self._sequence(loader, path)
        if isinstance(event, yaml.MappingStartEvent):
            return self._mapping(loader, path)
        return scalar(event.value) if event.implicit[0] else event.value

    def _require_plain(self, event: Any, path: Path) -> None:
        """Check that a value or a key is written out and of a bounded length."""
        if isinstance(event, yaml.AliasEvent):
            self._refuse(event, f"alias '*{event.anchor}'", "aliases are not read; write the value out", path)
        if event.anchor:
            self._refuse(event, f"anchor '&{event.anchor}'", "anchors are not read; remove it", path)
        if event.tag:
            self._refuse(event, f"tag '{event.tag}'", "tags are not read; remove it", path)
        if isinstance(event, yaml.ScalarEvent) and len(event.value) > MAX_SCALAR_CHARACTERS:
            self._refuse(event, f"a text of {len(event.value):,} characters", "expected a shorter one", path)

    def _sequence(self, loader: Any, path: Path) -> list[Any]:
        items: list[Any] = []
        while not loader.check_event(yaml.SequenceEndEvent):
            items.append(self._value(loader, (*path, len(items))))
        loader.get_event()
        return items

    def _mapping(self, loader: Any, path: Path) -> dict[str, Any]:
        items: dict[str, Any] = {}
        while not loader.check_event(yaml.MappingEndEvent):
            key_event = loader.get_event()
            self._require_plain(key_event, path)
            if not isinstance(key_event, yaml.ScalarEvent):
                self._refuse(key_event, "a key that is not a plain text", "expected text keys", path)
            key = key_event.value
            line = key_event.start_mark.line + 1
            at: Path = (*path, key)
            if key in items:
                first = self.lines[at]
                problem = Problem(
                    self.name,
                    line,
                    show_path(at),
                    f"repeated key (first on line {first})",
                    "expected it once",
                )
                self.problems.append(problem)
                if len(self.problems) == MAX_PROBLEMS:
                    raise InputError(self.problems)
                kept, self.lines = self.lines, {}
                self._value(loader, at)
                self.lines = kept
                continue
            self.lines[at] = line
            items[key] = self._value(loader, at)
        loader.get_event()
        return items


def scalar(text: str) -> str | int | float | bool | None:
    """
    Read a plain (unquoted) scalar as YAML 1.2 core does: null, true/false, decimal integer, float, else text.

    `1e-6` and `5e9` are numbers; `no`, `12:30`, `0x10` and `.inf` are text. Integers of more than 19 digits stay
    text, so that nothing huge is computed on the way in.
    """
    if text in _WORDS:
        return _WORDS[text]  # type: ignore[no-any-return]
    if _INT.fullmatch(text):
        number = text.replace("_", "")
        return int(number) if len(number.lstrip("+-")) <= MAX_INTEGER_DIGITS else text
    if len(text) <= 40 and _FLOAT.fullmatch(text):
        return float(text.replace("_", ""))
    return text
