"""
A pytest fixture that compares scenarios with committed baselines. Its imports happen at first use.

    def test_chat(simcluster_gate):
        simcluster_gate("baselines/chat.yaml", "scenarios/chat.yaml")
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest

if TYPE_CHECKING:
    from simcluster.comparison.comparison import Comparison

UPDATE = "--simcluster-update-baselines"


class SimclusterGate:
    """The value of the fixture `simcluster_gate`; with `update` it writes baselines instead of comparing."""

    def __init__(self, update: bool) -> None:
        self._update = update

    def __call__(
        self,
        base: str | Path,
        candidate: str | Path,
        *,
        settings: Sequence[str] = (),
        fail_if: Sequence[str] = (),
        worlds: int | None = None,
        inconclusive: Literal["pass", "fail", "skip"] = "fail",
    ) -> Comparison | None:
        """
        Compare a candidate with a base; the test fails if a gate does.

        Args:
            base: a baseline file, a scenario or a folder of runs.
            candidate: a scenario, or a folder of runs.
            settings: changes of every scenario, `a.b=c`.
            fail_if: gates instead of the base's, such as `p99_ttft_ms > +5%`.
            worlds: number of worlds; by default that of the base, or twenty.
            inconclusive: outcome of a test with inconclusive gates.

        Returns:
            The comparison; None if the baseline was written instead.
        """
        from simcluster.comparison.compare import compare, update_baseline
        from simcluster.comparison.read import parse_gates, read
        from simcluster.comparison.words import verdict_text
        from simcluster.comparison.worlds import simulate_worlds
        from simcluster.files.problems import InputError

        looks = () if worlds is None else (worlds,)
        wrong = ""
        found: Comparison | None = None
        try:
            if self._update:
                stated = parse_gates(fail_if, "fail_if") if fail_if else None
                update_baseline(Path(base), read(str(candidate), (), settings), stated, looks, simulate_worlds)
            else:
                found = compare(base, candidate, settings=settings, fail_if=fail_if, looks=looks)
        except InputError as error:
            wrong = str(error)
        if wrong:
            pytest.fail(wrong, pytrace=False)
        if found is None:
            return None
        lines = [verdict_text(row) for c in found.candidates for row in c.rows if row.verdict not in (None, "PASS")]
        text = "\n".join([f"{found.verdict}: {base} → {candidate}", *lines])
        if found.verdict == "FAIL" or (found.verdict == "INCONCLUSIVE" and inconclusive == "fail"):
            pytest.fail(text, pytrace=False)
        if found.verdict == "INCONCLUSIVE" and inconclusive == "skip":
            pytest.skip(text)
        return found


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that renews baselines."""
    parser.getgroup("simcluster").addoption(
        UPDATE, action="store_true", help="Write results of candidates to their baselines instead of comparing."
    )


@pytest.fixture
def simcluster_gate(request: pytest.FixtureRequest) -> SimclusterGate:
    """A function that compares a scenario with a baseline and fails the test if a gate fails."""
    return SimclusterGate(bool(request.config.getoption(UPDATE)))
