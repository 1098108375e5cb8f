"""Events of devices and links: several at once, and very many."""

from __future__ import annotations

from pathlib import Path

import pytest

from simcluster.cli import main
from simcluster.kernel import events
from simcluster.plans.conditions import MAX_TIMES_SLOWER, PlannedEvent, conditions
from simcluster.results.run import simulate
from simcluster.scenario.load import load

VALID = Path(__file__).resolve().parents[2] / "files" / "scenarios" / "valid"


def slow(kind: events.Kind, factor: float, *devices: str) -> PlannedEvent:
    """A device or link that is slow."""
    return PlannedEvent(kind, lambda: iter(()), devices, None if devices else ("a", "b"), factor)


class TestConditions:
    def test_overlapping_factors_multiply(self) -> None:
        """A device that is slow for two reasons, and a link, are slow by both."""
        found = conditions(
            [slow("device_slow", 2.0, "x", "y"), slow("device_slow", 3.0, "y"), slow("link_slow", 0.5),
             slow("link_slow", 0.1)]
        )  # fmt: skip

        assert {"x": 2.0, "y": 6.0} == found.slow
        assert {("a", "b"): 0.05} == found.share

    def test_end_somewhere(self) -> None:
        """However many reasons there are, a device or link is at most a million times slower."""
        found = conditions([slow("device_slow", 1000.0, "x"), slow("link_slow", 0.001)] * 500)

        assert {"x": MAX_TIMES_SLOWER} == found.slow
        assert {("a", "b"): 1 / MAX_TIMES_SLOWER} == found.share


class TestHowOften:
    def test_a_run_ends_after_too_many_events(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """A run with too many events stops, with a message about what to change."""
        monkeypatch.setattr(events, "MAX_EVENTS", 2)

        assert main(["replay", str(VALID / "events-transfer.yaml"), "-o", str(tmp_path)]) == 2
        assert (
            "events-transfer: events: more than 2 events; expected fewer random events, longer intervals between"
            " them, or a horizon\n"
        ) == capsys.readouterr().err

    def test_transfers_wait_for_themselves(self) -> None:
        """A transfer due again before it is over waits, and takes no more of a link than one that is not."""
        file, event = VALID / "events-transfer.yaml", "kind: transfer, from: gpu0, to: gpu1, size: 100 GB, at: 0 s"
        once, again = (
            simulate(load(file, [f"events=[{{{event}{every}}}]"])).summary for every in ("", ", every: 1 ms")
        )

        assert once["trace_digest"] == again["trace_digest"]
        assert 0 < once["completed"]
