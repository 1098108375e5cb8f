"""
Chrome's trace event format, gzipped, for ui.perfetto.dev and chrome://tracing.

Ticks are written as microseconds with three decimals, rounded down, so that nesting in ticks is kept in the file.
Slices are written as begin and end events: complete events have a duration, which readers add in floating point, so
that ends may cross. Equal events give equal bytes.

Source:
    Trace Event Format (Google, 2016): durations `B` and `E`, metadata `M`, counters `C`, flows `s`, `t`, `f`.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Mapping
from typing import IO, Any, Literal, NamedTuple

from simcluster.numerics.ticks import TICKS_PER_S

TICKS_PER_NS = TICKS_PER_S // 10**9
TICKS_PER_US = TICKS_PER_S // 10**6

_ORDER = {"M": 0, "E": 1, "B": 2, "C": 3, "s": 4, "t": 5, "f": 6}
"""Order of events at the same time."""


class Lane(NamedTuple):
    """A lane for slices: the number of its group and its number within the group."""

    group: int
    lane: int


class Events:
    """Events added in any order; they are written in order of time."""

    def __init__(self) -> None:
        self._events: list[tuple[int, int, int, int, dict[str, Any]]] = []

    def name_group(self, group: int, name: str) -> None:
        """Name a group of lanes; viewers show groups in the order of their numbers."""
        self._add("M", 0, {"pid": group, "name": "process_name", "args": {"name": name}})
        self._add("M", 0, {"pid": group, "name": "process_sort_index", "args": {"sort_index": group}})

    def name_lane(self, lane: Lane, name: str) -> None:
        """Name a lane; viewers show the lanes of a group in the order of their numbers."""
        place = {"pid": lane.group, "tid": lane.lane}
        self._add("M", 0, place | {"name": "thread_name", "args": {"name": name}})
        self._add("M", 0, place | {"name": "thread_sort_index", "args": {"sort_index": lane.lane}})

    def slice(self, lane: Lane, name: str, began: int, ended: int, args: Mapping[str, Any]) -> None:
        """
        Add a slice from one tick to another, if it lasts a nanosecond at least.

        Slices of a lane must be nested or disjoint; of two equal ones, the first contains the second.
        """
        start, end = began // TICKS_PER_NS, ended // TICKS_PER_NS
        if start < end:
            number, event = len(self._events), {"pid": lane.group, "tid": lane.lane, "name": name}
            self._add("B", start, event | ({"args": dict(args)} if args else {}), (-end, number))
            self._add("E", end, event, (-start, -number))

    def counter(self, group: int, name: str, tick: int, values: Mapping[str, int]) -> None:
        """Set the values of a counter from a tick on."""
        self._add("C", tick // TICKS_PER_NS, {"pid": group, "name": name, "args": dict(values)})

    def flow(self, part: Literal["s", "t", "f"], number: int, lane: Lane, tick: int) -> None:
        """Add the start, a step or the end of an arrow, in the slice of a lane at a tick."""
        event = {"pid": lane.group, "tid": lane.lane, "name": "request", "cat": "request", "id": number}
        self._add(part, tick // TICKS_PER_NS, event | ({"bp": "e"} if part == "f" else {}))

    def _add(self, kind: str, at_ns: int, event: dict[str, Any], rank: tuple[int, int] | None = None) -> None:
        first, second = rank or (0, len(self._events))
        self._events.append((at_ns, _ORDER[kind], first, second, {"ph": kind, "ts": at_ns / 1000} | event))

    def texts(self) -> Iterator[str]:
        """Each event as JSON, in order of time; at equal times, outer slices begin first and end last."""
        for *_, event in sorted(self._events, key=lambda event: event[:4]):
            yield json.dumps(event, separators=(",", ":"))


def write(events: Events, file: IO[bytes], about: Mapping[str, Any]) -> None:
    """
    Write events as a gzipped trace, without time or name in the gzip header.

    Args:
        events: all of them.
        file: open for writing bytes.
        about: metadata that viewers show.
    """
    with gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0) as zipped:
        zipped.write(f'{{"displayTimeUnit":"ns","otherData":{json.dumps(dict(about))},"traceEvents":[\n'.encode())
        for number, text in enumerate(events.texts()):
            zipped.write(f"{',' if number else ''}{text}\n".encode())
        zipped.write(b"]}\n")
