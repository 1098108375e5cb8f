"""No change moves the trace of a shipped scenario unseen."""

from __future__ import annotations

import digests
import pytest

ROWS = digests.recorded()


def test_the_table_has_every_shipped_scenario_at_every_fidelity():
    """A scenario that is added or renamed is recorded."""
    expected = [(name, fidelity) for name in digests.shipped() for fidelity in digests.FIDELITIES]

    recorded = [(row.scenario, row.fidelity) for row in ROWS]
    assert expected == recorded, "record a new scenario with `python tests/digests.py --write --only NAME`"


def test_op_by_op_and_in_closed_form_the_traces_are_the_same():
    """`auto` equals `op` to the byte on every shipped scenario."""
    by_key = {(row.scenario, row.fidelity): row.trace_digest for row in ROWS}

    for name in digests.shipped():
        assert by_key[name, "op"] == by_key[name, "auto"], name


@pytest.mark.parametrize(
    "row",
    [pytest.param(row, marks=() if row.fidelity == "auto" else pytest.mark.slow, id=f"{row.scenario}-{row.fidelity}")
     for row in ROWS],
)  # fmt: skip
def test_a_shipped_scenario_has_the_trace_that_was_recorded(row: digests.Row):
    """Its digest is that of the table; op by op and by message in the slow tests."""
    assert [row] == list(digests.rows_of(row.scenario, [row.fidelity]))
