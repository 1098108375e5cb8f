"""How often comparisons are wrong, as docs/compare.md promises; some minutes each."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def rates() -> dict[str, Any]:
    """The functions of the command that measures them."""

    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        import verdicts  # by its name, so that workers find it
    finally:
        sys.path.pop(0)
    return vars(verdicts)


@pytest.mark.slow
def test_unchanged_code_fails_as_seldom_as_stated(rates: dict[str, Any]) -> None:
    """Of 400 in worlds of their own: at most 11 rejections at 1 % a metric, uniform p-values, 5 % a family."""
    assert rates["report_unchanged"](400, 1)


@pytest.mark.slow
def test_a_straggler_is_found_and_named(rates: dict[str, Any]) -> None:
    """Of 100, 5 % on one device fails in 95 and its cause is named in all; 0.1 % passes in 90."""
    assert rates["report_straggler"](100, 1)
