"""
The traces of every shipped scenario, by their digests: a change that moves no result moves none of these.

    python tests/digests.py                        prints scenario, fidelity, digest as recorded and digest now
    python tests/digests.py --write                records what is simulated now
    python tests/digests.py --write --only NAME    records it of one scenario, the others stay as they are

A scenario is simulated for its first 60 requests, message by message for its first 3.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import simcluster
from simcluster.files.problems import InputError
from simcluster.scenario.files import names as shipped

FILE = Path(__file__).with_name("digests.csv")
MAX_REQUESTS = {"auto": 60, "op": 60, "message": 3}
"""How many requests of a scenario are simulated, by fidelity."""
FIDELITIES = tuple(MAX_REQUESTS)


class Row(NamedTuple):
    """One scenario at one fidelity."""

    scenario: str
    fidelity: str
    n_requests: int
    trace_digest: str
    """`refused` where the scenario cannot be simulated so."""


def rows_of(name: str, fidelities: Sequence[str] = FIDELITIES) -> Iterator[Row]:
    """The digests of one scenario as it is simulated now."""
    for fidelity in fidelities:
        n_requests, settings = MAX_REQUESTS[fidelity], [f"fidelity={fidelity}"]
        try:
            n_given = simcluster.load(name).requests_spec().requests
            if n_given is not None and n_given > n_requests:
                settings.append(f"workload.requests={n_requests}")
            table = simcluster.simulate(simcluster.load(name, settings))
            n_requests, digest = len(table.requests()), table.summary["trace_digest"]
        except InputError:
            n_requests, digest = 0, "refused"
        yield Row(name, fidelity, n_requests, digest)


def recorded() -> list[Row]:
    """The table as it was written last."""
    with FILE.open(newline="", encoding="utf-8") as file:
        return [Row(**row | {"n_requests": int(row["n_requests"])}) for row in csv.DictReader(file)]


def _place(row: Row) -> tuple[str, int]:
    """Where a row stands in the table: scenarios by name, each with its fidelities."""
    return row.scenario, FIDELITIES.index(row.fidelity)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table, or record it; 1 when a digest differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="record the digests of today, with --only some of them")
    parser.add_argument("--only", action="append", help="a scenario by name; may be given several times")
    options = parser.parse_args(arguments)
    names = options.only or shipped()
    if options.write:
        new = {name: list(rows_of(name)) for name in names}
        kept = [row for row in recorded() if row.scenario not in new] if options.only else []
        rows = sorted([*kept, *(row for of_one in new.values() for row in of_one)], key=_place)
        with FILE.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerows([Row._fields, *rows])
        return 0
    before = {(row.scenario, row.fidelity): row for row in recorded()}
    n_moved = 0
    print(f"{'scenario':36}{'fidelity':10}{'recorded':14}{'now':14}", flush=True)
    for name in names:
        for row in rows_of(name):
            known = before[row.scenario, row.fidelity].trace_digest
            is_moved = known != row.trace_digest
            n_moved += is_moved
            print(
                f"{name:36}{row.fidelity:10}{known[:12]:14}{row.trace_digest[:12]:14}{'MOVED' * is_moved}", flush=True
            )
    print(f"{n_moved} moved")
    return int(n_moved > 0)


if __name__ == "__main__":
    sys.exit(main())
