"""Read untrusted text files of any size line by line, in bounded memory."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, cast

from simcluster.files.problems import InputError, Problem

MAX_LINE_BYTES = 2**20
MAX_FILE_BYTES = 2**32
"""Most bytes read from one file, after decompression."""


class Line(NamedTuple):
    """One line without its end; `fault` says why the text is missing, and is empty otherwise."""

    number: int
    text: str
    fault: str


def filled(file: Path) -> Iterator[Line]:
    """
    Yield the lines of a UTF-8 file, or of one compressed with gzip and named `.gz`, that are not blank.

    Lines that are too long or not UTF-8 are yielded with a fault, so that one bad line does not make the file
    unusable.

    Raises:
        InputError: no such file, not a regular file, damaged, or larger than `MAX_FILE_BYTES` when decompressed.
    """
    try:
        if not file.is_file():
            missing = "is a folder" if file.is_dir() else "no such file"
            raise InputError([Problem(str(file), 0, "", missing, "expected a readable file")])
        with _open(file) as source:
            yield from _lines(file, source)
    except (OSError, EOFError, zlib.error) as error:
        found = getattr(error, "strerror", None) or str(error)
        raise InputError([Problem(str(file), 0, "", found, "expected a readable file")]) from None


def shown(text: str) -> str:
    """Shorten a text from a file to one printable line, for messages."""
    printable = "".join(character if character.isprintable() else "?" for character in text[:60])
    return printable + ("…" if len(text) > 60 else "")


def _open(file: Path) -> io.BufferedIOBase:
    if file.suffix == ".gz":
        return cast(io.BufferedIOBase, gzip.open(file, "rb"))
    return file.open("rb")


def _lines(file: Path, source: io.BufferedIOBase) -> Iterator[Line]:
    n_bytes = 0
    number = 0
    while raw := source.readline(MAX_LINE_BYTES):
        number += 1
        n_bytes += len(raw)
        fault = ""
        while len(raw) == MAX_LINE_BYTES and not raw.endswith(b"\n"):
            fault = f"line longer than {MAX_LINE_BYTES:,} bytes"
            raw = source.readline(MAX_LINE_BYTES)
            n_bytes += len(raw)
            if n_bytes > MAX_FILE_BYTES:
                break
        if n_bytes > MAX_FILE_BYTES:
            found = f"more than {MAX_FILE_BYTES:,} bytes of lines"
            raise InputError([Problem(str(file), number, "", found, "expected a smaller file, or fewer requests")])
        if fault:
            yield Line(number, "", fault)
            continue
        try:
            text = raw.decode("utf-8-sig" if number == 1 else "utf-8").strip()
        except UnicodeDecodeError:
            yield Line(number, "", "line that is not UTF-8")
            continue
        if text:
            yield Line(number, text, "")
