"""Links, stages and hosts: the one that was planted leads its table, with figures known beforehand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_runs import write_run
from small_runs import DEPLOYMENTS, loaded, recorded, run

from simcluster.results.read_run import RunFolder, read
from simcluster.results.replications import read_all, replicate
from simcluster.scenario.known_topology import topology_of
from simcluster.trace.columns import COMPONENTS
from simcluster.variance.entities import MAX_LINKS, entities
from simcluster.variance.explain import explain
from simcluster.variance.link_use import link_use

TEXT = """
model: llama-3.1-8b
topology: {topology}
deployment: {deployment}
workload:
  arrivals: {{kind: poisson, rate: 40 req/s}}
  prompt_tokens: {{kind: lognormal, median: 64, p99: 256}}
  output_tokens: {output}
  requests: 40
"""
OUTPUT = "{kind: uniform, low: 2, high: 30}"


def made(folder: Path, name: str, more: str = "noise: none\n", output: str = OUTPUT) -> RunFolder:
    return recorded(loaded(folder, text(name, output) + more), folder / "run")


def text(name: str, output: str = OUTPUT) -> str:
    topology, deployment = DEPLOYMENTS[name]
    return TEXT.format(topology=topology, deployment=deployment, output=output)


def test_links_are_those_of_the_map(tmp_path: Path) -> None:
    """Each group of alike links has the use that `link_use` has of its first, and together they are all in use."""
    one = made(tmp_path, "gpus")
    topology = topology_of(one.scenario())
    assert topology is not None
    use = link_use([one], topology)
    assert use is not None
    found = entities([one])

    assert len({frozenset(ends) for ends in use}) == found.n_links == sum(group.alike for group in found.links)
    assert max(use.values()) == found.links[0].use
    assert sorted(found.links, key=lambda group: -group.use) == found.links
    for group in found.links:
        a, b = group.ends
        assert max(use.get((a, b), 0), use.get((b, a), 0)) == group.use


def test_a_changed_link_has_its_share_of_the_time(tmp_path: Path) -> None:
    """A link that an event slows for a part of the run has that share of the time, even if it is unused."""
    event = "events: [{kind: link_slow, link: [gpu5, nvswitch0], bandwidth: 50 %, at: 200 ms, lasts: 300 ms}]\n"
    one = made(tmp_path, "gpus", f"noise: none\n{event}")
    changed = [group for group in entities([one]).links if group.changed_share]

    assert [{"gpu5", "nvswitch0"}] == [set(group.ends) for group in changed]
    assert changed[0].changed_share == pytest.approx(0.3e12 / one.end_ticks)


def test_few_links_of_many(tmp_path: Path) -> None:
    """However many kinds of links there are, ten are reported."""
    found = entities([made(tmp_path, "wafers")])

    assert len(found.links) <= MAX_LINKS
    assert found.n_links >= sum(group.alike for group in found.links)


def test_the_slow_stage_leads(tmp_path: Path) -> None:
    """A wafer that an event makes twice as slow is the slowest of every step, the others of none."""
    event = "events: [{kind: device_slow, device: wafer2, times_slower: 2, at: 0 s}]\n"
    found = entities([made(tmp_path, "wafers", f"noise: none\n{event}")])

    assert (("wafer2",), 1.0) == (found.stages[0].devices, found.stages[0].slowest_share)
    assert {0.0} == {stage.slowest_share for stage in found.stages[1:]}
    assert {0, 1, 2, 3} == {stage.stage for stage in found.stages}
    assert found.stages[0].mean_ms > max(stage.mean_ms for stage in found.stages[1:])


def test_stages_serve_for_what_the_trace_says(tmp_path: Path) -> None:
    """Where every step is of prompts that end in it, its waits are those of its tokens, and so is what serves it."""
    one = made(tmp_path, "wafers", "noise: none\n", output="{kind: fixed, value: 1}")
    found = entities([one])
    (tokens,) = one.tokens()
    _, steps = np.unique(tokens["step"], return_index=True)
    waited, stalled = (tokens[f"{name}_ticks"][steps].mean() / 1e9 for name in ("pipeline_wait", "stall"))
    (first_stage,) = [stage for stage in found.stages if stage.stage == 0]

    assert (len(steps), 0) == (found.n_steps, stalled)
    assert sum(stage.wait_ms for stage in found.stages) == pytest.approx(waited)
    for stage in found.stages:
        assert stage.component in COMPONENTS
    ratio = first_stage.busy_share / first_stage.mean_ms
    assert [stage.mean_ms * ratio for stage in found.stages] == pytest.approx(
        [stage.busy_share for stage in found.stages]
    )


def test_no_more_than_so_many_services_are_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the beginning of a long run is simulated again."""
    monkeypatch.setattr("simcluster.variance.entities.MAX_SERVICES", 300)
    assert 250 / 4 < entities([made(tmp_path, "wafers")]).n_steps <= 300 / 4


def test_equal_stages_share_a_step(tmp_path: Path) -> None:
    """Shares of the steps sum to one, whichever stages are equally slow."""
    assert sum(stage.slowest_share for stage in entities([made(tmp_path, "wafers")]).stages) == pytest.approx(1)


def test_pauses_and_stalls_are_counted(tmp_path: Path) -> None:
    """A host that pauses for 50 ms every 100 ms stands still for half of the time, that of each replica."""
    pauses = "{every: 100 ms, mean: 50 ms, sd: 0 s, shortest: 50 ms, longest: 50 ms}"
    one = made(tmp_path, "replicas", f"noise: {{preset: none, host_pauses: {pauses}}}\n")
    found = entities([one]).standstills

    assert [("host_pauses", "gpu0"), ("host_pauses", "gpu2")] == sorted((s.kind, s.entity) for s in found)
    for standstill in found:
        assert standstill.share == pytest.approx(0.5, abs=0.05e12 / one.end_ticks)
        assert standstill.number == pytest.approx(one.end_ticks / 1e11, abs=1)
        assert standstill.total_s == pytest.approx(standstill.share * one.end_ticks / 1e12)


def test_a_device_that_was_down(tmp_path: Path) -> None:
    """A device that an event took down has the time until it came back."""
    event = "events: [{kind: device_down, device: gpu0, at: 200 ms, lasts: 300 ms}]\n"
    (found,) = entities([made(tmp_path, "gpus", f"noise: none\n{event}")]).standstills

    assert ("device_down", "gpu0", 1, 0.3) == (found.kind, found.entity, found.number, found.total_s)


def test_replications_are_one(tmp_path: Path) -> None:
    """Use is the mean of the runs, and standstills add up."""
    replicate(loaded(tmp_path, text("gpus") + "noise: noisy\n"), 3, tmp_path / "runs", jobs=1)
    runs = read_all(tmp_path / "runs")
    alone, together = [entities([one]) for one in runs], entities(runs)

    assert together.links[0].use == pytest.approx(np.mean([one.links[0].use for one in alone]))

    def seconds(found: dict[str, Any]) -> float:
        return float(sum(one.total_s for one in found.standstills))

    assert seconds(together) == pytest.approx(sum(map(seconds, alone)))


def test_nothing_to_report(tmp_path: Path) -> None:
    """A single device has no stages and no links; a run without its scenario has no entities, and says why."""
    alone = entities([read(run(tmp_path, "wafer", requests=4))])
    alone_in_its_folder = explain([read(write_run(tmp_path / "made", [[5.0, 2.0, 3.0]]))])

    assert (0, [], [], []) == (alone.n_links, alone.links, alone.stages, alone.standstills)
    assert alone_in_its_folder.entities is None
    assert alone_in_its_folder.notes
