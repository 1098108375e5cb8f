"""Two scenarios with one seed meet the same noise world."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).resolve().parents[2] / "docs" / "examples" / "pairing.py"


@pytest.mark.slow
def test_pairs_are_sharper_than_strangers() -> None:
    """For a 2 % slower decode pairs are worth 100 times as many runs on the mean ITL, 10 times on the p99 TTFT."""
    mean_itl, p99_ttft = runpy.run_path(str(EXAMPLE))["gains"](20)

    assert mean_itl > 100
    assert p99_ttft > 10
