"""Timelines: the file keeps the rules of its format, and what it shows is what was recorded."""

from __future__ import annotations

import gzip
import json
from collections import Counter, defaultdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_runs import run

from simcluster.files.problems import InputError
from simcluster.numerics.ticks import TICKS_PER_S
from simcluster.results.read_run import RunFolder, read
from simcluster.timeline.write import write_timeline

EVENTS = "events: [{kind: device_slow, device: gpu1, times_slower: 2, at: 300 ms, lasts: 200 ms}]\n"
Event = dict[str, Any]
MANY = 10**6


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Runs of four wafers in a row, of two replicas, and of two GPUs one of which is slow for a while."""
    folder = tmp_path_factory.mktemp("runs")
    more = {"gpus": EVENTS}
    return {name: run(folder, name, more=more.get(name, "")) for name in ("wafers", "replicas", "gpus")}


def timeline(folder: Path, file: Path, from_s: float = 0.0, to_s: float | None = None) -> list[Event]:
    """The events of a timeline, all of them."""
    assert write_timeline(folder, file, from_s, to_s, MANY) is None
    return events(file)


def events(file: Path) -> list[Event]:
    return json.loads(gzip.decompress(file.read_bytes()))["traceEvents"]  # type: ignore[no-any-return]


def ns(us: float) -> int:
    assert abs(us * 1000 - round(us * 1000)) < 1e-2
    return round(us * 1000)


def slices(found: list[Event], group: str | None = None) -> list[Event]:
    """What begins and ends, with its length, of a group of lanes or of all; every end has its begin."""
    names = {e["pid"]: e["args"]["name"] for e in found if e.get("name") == "process_name"} if group else {}
    complete = []
    begun: dict[tuple[int, int], list[Event]] = defaultdict(list)
    for e in found:
        place = e["pid"], e.get("tid", 0)
        if e["ph"] == "B":
            begun[place].append(e)
        elif e["ph"] == "E":
            begin = begun[place].pop()
            complete.append(
                {"args": {}} | begin | {"end": ns(e["ts"]), "dur": (ns(e["ts"]) - ns(begin["ts"])) / 1000}
            )
    assert not any(begun.values())
    return [e for e in complete if group in (None, names.get(e["pid"]))]


def lane_names(found: list[Event]) -> dict[tuple[int, int], str]:
    return {(e["pid"], e["tid"]): e["args"]["name"] for e in found if e.get("name") == "thread_name"}


@pytest.mark.parametrize("name", ["wafers", "replicas", "gpus"])
def test_the_file_keeps_the_rules_of_its_format(folders: dict[str, Path], tmp_path: Path, name: str) -> None:
    """Known kinds of events, in order of time; slices of a lane nested or apart; every lane and group has a name."""
    found = timeline(folders[name], tmp_path / "t.json.gz")
    assert {"M", "B", "E", "C", "s", "t", "f"} == {e["ph"] for e in found}
    times = [ns(e["ts"]) for e in found]
    assert times == sorted(times) and times[0] == 0
    assert {e["pid"] for e in found} == {e["pid"] for e in found if e.get("name") == "process_name"}
    assert {(e["pid"], e["tid"]) for e in found if e["ph"] in "BEstf"} <= set(lane_names(found))
    lanes: dict[tuple[int, int], list[tuple[int, int]]] = defaultdict(list)
    for e in slices(found):
        assert ns(e["ts"]) < e["end"]
        lanes[e["pid"], e["tid"]].append((ns(e["ts"]), e["end"]))
    for spans in lanes.values():
        around: list[tuple[int, int]] = []
        for start, end in sorted(spans, key=lambda span: (span[0], -span[1])):
            while around and around[-1][1] <= start:
                around.pop()
            assert not around or end <= around[-1][1]
            around.append((start, end))


@pytest.mark.parametrize("name", ["wafers", "replicas", "gpus"])
def test_arrows_start_once_end_once_and_go_forward(folders: dict[str, Path], tmp_path: Path, name: str) -> None:
    """Each request has one arrow, from its own lane over all stages and ways to its first decode."""
    found = timeline(folders[name], tmp_path / "t.json.gz")
    arrows: dict[int, list[Event]] = defaultdict(list)
    for e in found:
        if e["ph"] in "stf":
            arrows[e["id"]].append(e)
    n_stages = 4 if name == "wafers" else 1
    assert {number + 1 for number in range(20)} == set(arrows)
    inside = {(e["pid"], e["tid"], ns(e["ts"])) for e in slices(found)}
    for number, parts in arrows.items():
        assert ["s", *["t"] * (2 * n_stages - 1), "f"] == [e["ph"] for e in parts]
        assert (1, number) == (parts[0]["pid"], parts[0]["tid"])
        assert all(earlier["ts"] <= later["ts"] for earlier, later in pairwise(parts))
        assert {(e["pid"], e["tid"], ns(e["ts"])) for e in parts} <= inside
        assert "e" == parts[-1]["bp"]


def test_the_same_run_gives_the_same_bytes(folders: dict[str, Path], tmp_path: Path) -> None:
    """Written twice under two names, the files are equal: no time, no name, no order by chance."""
    for name in ("one.gz", "two.gz"):
        timeline(folders["wafers"], tmp_path / name)
    assert (tmp_path / "one.gz").read_bytes() == (tmp_path / "two.gz").read_bytes()


def test_tokens_are_those_of_the_trace(folders: dict[str, Path], tmp_path: Path) -> None:
    """Each token but the first is a slice of its latency with its components; queue and prefill are the first's."""
    recorded = read(folders["gpus"])
    found = slices(timeline(folders["gpus"], tmp_path / "t.json.gz"), "requests")
    (columns,) = recorded.tokens()
    later = columns["token"] > 0
    shown = [e for e in found if e["name"].startswith("token ")]
    expected = Counter(
        zip(
            (columns["request"][later] + 1).tolist(),
            (columns["emitted_at_ticks"][later] // 1000).tolist(),
            strict=True,
        )
    )
    assert expected == Counter((e["tid"], ns(e["ts"]) + ns(e["dur"])) for e in shown)
    for e in shown:
        parts = {name: value for name, value in e["args"].items() if name.endswith(" (us)")}
        assert e["dur"] == pytest.approx(sum(parts.values()), abs=2e-3)
        assert e["args"]["cause"] == max(parts, key=parts.__getitem__).removesuffix(" (us)")
    requests = recorded.requests
    prefill = {e["tid"] - 1: e for e in found if e["name"] == "prefill"}
    assert {n: int(t) // 1000 for n, t in enumerate(requests["scheduled_at_ticks"])} == {
        n: ns(e["ts"]) for n, e in prefill.items()
    }


def _last_ends(found: list[Event], n_stages: int, n_ranks: int) -> set[tuple[int, int]]:
    """Step and end, in ns, of what the last stage's first device did."""
    lane = (n_stages - 1) * n_ranks + 1
    steps = [e for e in slices(found, "replica 0: devices") if e["tid"] == lane and "step" in e["args"]]
    return {(e["args"]["step"], ns(e["ts"]) + ns(e["dur"])) for e in steps}


@pytest.mark.parametrize(("name", "n_stages", "n_ranks"), [("wafers", 4, 1), ("gpus", 1, 2)])
def test_steps_end_when_their_tokens_come(
    folders: dict[str, Path], tmp_path: Path, name: str, n_stages: int, n_ranks: int
) -> None:
    """Every step that made a token is on the last stage's lane and ends at that token's tick."""
    found = timeline(folders[name], tmp_path / "t.json.gz")
    (columns,) = read(folders[name]).tokens()
    made = set(zip(columns["step"].tolist(), (columns["emitted_at_ticks"] // 1000).tolist(), strict=True))
    assert made <= _last_ends(found, n_stages, n_ranks)


def test_lanes_are_named_after_devices_and_links(folders: dict[str, Path], tmp_path: Path) -> None:
    """Devices by name, wires by their ends, exchanges by fabric, requests by number."""
    names = set(lane_names(timeline(folders["wafers"], tmp_path / "t.gz")).values())
    assert {"wafer0, stage 0", "wafer3, stage 3", "wafer0 → wafer1", "wafer2 → wafer3", "request 19"} <= names
    names = set(lane_names(timeline(folders["gpus"], tmp_path / "t.gz")).values())
    assert {"gpu0", "gpu1", "nvlink4 among gpu0 … gpu1", "device slow"} <= names


def test_parts_of_a_step_fill_it(folders: dict[str, Path], tmp_path: Path) -> None:
    """What a device's step consists of covers it; on wires a step is from leaving a stage until it is at the next."""
    found = timeline(folders["wafers"], tmp_path / "t.gz")
    for lane in range(1, 5):
        mine = [e for e in slices(found, "replica 0: devices") if e["tid"] == lane]
        whole = sum(ns(e["dur"]) for e in mine if "step" in e["args"])
        assert whole == sum(ns(e["dur"]) for e in mine if "step" not in e["args"])
    ends = {(e["tid"], e["args"]["step"]): ns(e["ts"]) + ns(e["dur"])
            for e in slices(found, "replica 0: devices") if "step" in e["args"]}  # fmt: skip
    for e in slices(found, "replica 0: links"):
        assert ns(e["ts"]) == ends[(e["tid"] - 2) // 1024 + 1, e["args"]["step"]]


def test_the_queue_is_counted(folders: dict[str, Path], tmp_path: Path) -> None:
    """Waiting and running are never negative, and no request is left at the end."""
    found = [e for e in timeline(folders["gpus"], tmp_path / "t.gz") if e["ph"] == "C"]
    assert {"requests waiting", "requests running"} == {e["name"] for e in found}
    assert min(e["args"]["requests"] for e in found) == 0
    assert max(e["args"]["requests"] for e in found if e["name"] == "requests running") > 1
    assert [0, 0] == [e["args"]["requests"] for e in found[-2:]]


def test_a_part_is_the_part(folders: dict[str, Path], tmp_path: Path) -> None:
    """Nothing of the window is missing, and nothing of requests and queue lies outside it."""
    whole, part = timeline(folders["gpus"], tmp_path / "t.gz"), timeline(folders["gpus"], tmp_path / "t.gz", 0.3, 0.5)
    lanes = slices(part, "requests")
    assert min(ns(e["ts"]) for e in lanes) >= 300_000_000
    assert max(ns(e["ts"]) + ns(e["dur"]) for e in lanes) <= 500_000_000

    def tokens(found: list[Event]) -> set[tuple[int, str]]:
        return {(e["tid"], e["name"]) for e in slices(found, "requests") if e["name"].startswith("token ")
                and 300_000_000 < ns(e["ts"]) and ns(e["ts"]) + ns(e["dur"]) < 500_000_000}  # fmt: skip

    def steps(found: list[Event]) -> set[tuple[int, int]]:
        return {(e["tid"], e["args"]["step"]) for e in slices(found, "replica 0: devices") if "step" in e["args"]
                and 300_000_000 <= ns(e["ts"]) and ns(e["ts"]) + ns(e["dur"]) <= 500_000_000}  # fmt: skip

    assert tokens(whole) == tokens(part) != set()
    assert steps(whole) == steps(part) != set()


def test_it_is_cut_where_it_says(folders: dict[str, Path], tmp_path: Path) -> None:
    """With a limit there are about as many slices, all before the time that the notice names."""
    notice = write_timeline(folders["wafers"], tmp_path / "t.gz", 0.0, None, 500)
    assert notice is not None and notice.startswith("cut at ")
    found = slices(events(tmp_path / "t.gz"))
    until_ns = float(notice.split()[2]) * 1e9
    assert 300 < len(found) < 700
    assert max(ns(e["ts"]) + ns(e["dur"]) for e in found) <= until_ns * (1 + 1e-5)


def test_other_tables_than_those_played_are_refused(
    folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run whose tokens come before their steps are over now was made by something else."""
    before = RunFolder.tokens

    def earlier(self: RunFolder, *args: Any) -> Any:
        for block in before(self, *args):
            yield block | {"emitted_at_ticks": np.maximum(block["emitted_at_ticks"] - TICKS_PER_S // 1000, 0)}

    monkeypatch.setattr(RunFolder, "tokens", earlier)
    with pytest.raises(InputError, match="differs from the recorded run"):
        write_timeline(folders["gpus"], tmp_path / "t.gz", 0.0, None, MANY)
    assert [] == list(tmp_path.iterdir())
