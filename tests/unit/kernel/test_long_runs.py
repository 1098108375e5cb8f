"""Times past what a trace can hold are errors and do not wrap around."""

from __future__ import annotations

import pytest
from support import GivenService, linear_stage, load, plan, play

from simcluster.kernel.clock import MAX_TICK


@pytest.mark.parametrize("fidelity", ["auto", "op"])
def test_time_past_what_an_int64_holds_is_an_error(fidelity: str) -> None:
    """A run of more than 106 days raises OverflowError in either fidelity, run by run and step by step."""
    long = MAX_TICK // 3
    for stage in (linear_stage([{"compute": (long, 0, 0)}]), GivenService(lambda step, batch: long)):
        with pytest.raises(OverflowError, match="106 days"):
            play([plan([stage])], load([0], [1], [5]), fidelity=fidelity)
