"""Pools: replicas of unlike models, devices, layouts and engines behind one router."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import played

import simcluster
from simcluster.cli import main
from simcluster.numerics.ticks import TICKS_PER_S
from simcluster.policies.views import RouterView
from simcluster.results.invariants import Limits, check_run
from simcluster.results.run import Result, record, simulate
from simcluster.scenario.drawn import devices_drawn, drawn_sources
from simcluster.scenario.files import find
from simcluster.scenario.load import load
from simcluster.scenario.reread import dump
from simcluster.scenario.resolved import Scenario
from simcluster.topology.read import load as load_topology

TWO = "two-pools-70b"
FEW = ["workload.requests=40"]
WAFERS, GPUS = 0, 1
"""Replicas of the shipped scenario, one in each pool."""

WORKLOAD = """
workload:
  arrivals: {kind: poisson, rate: 200 req/s}
  prompt_tokens: {kind: fixed, value: 64}
  output_tokens: {kind: uniform, low: 2, high: 9}
  requests: 20
"""


def written(folder: Path, text: str, *settings: str) -> Scenario:
    """The scenario of some pools, under a small workload."""
    (folder / "s.yaml").write_text(text + WORKLOAD)
    return load(folder / "s.yaml", settings)


def served_by(result: Result) -> list[int]:
    """Finished requests by replica."""
    requests = result.requests_table
    finished = np.array(requests["status"]) == "finished"
    return np.bincount(requests["replica"][finished], minlength=len(result.scenario.replicas)).tolist()


@pytest.fixture(scope="module")
def result() -> Result:
    """The first requests of the shipped scenario."""
    return simulate(load(TWO, FEW))


@pytest.fixture(scope="module")
def summary(result: Result) -> dict[str, Any]:
    """The summary of these."""
    return result.summary


class TestResolving:
    def test_a_deployment_is_one_pool(self) -> None:
        """The short form is a single pool that is named `default` and has the deployment's router."""
        scenario = load("llama-3.1-8b-1xwse3", ["deployment.router=least_loaded"])

        assert ["default"] == [pool.name for pool in scenario.pools]
        assert "least_loaded" == scenario.router

    def test_one_pool_simulates_as_the_deployment(self, tmp_path: Path) -> None:
        """A scenario with one pool makes the trace of the same deployment, whatever the pool is called."""
        short = "model: llama-3.1-8b\ntopology: h100-8\nnoise: datacenter\n"
        layout = "{replicas: 2, tensor_parallel_size: 2, max_num_seqs: 3}"
        forms = f"deployment: {layout}\n", f"pools: {{a: {layout}}}\n"
        scenarios = [written(tmp_path, short + form) for form in forms]

        one, other = (simulate(scenario).summary for scenario in scenarios)
        assert one["trace_digest"] == other["trace_digest"]
        assert one.keys() == other.keys()

    def test_each_pool_is_its_own(self, tmp_path: Path) -> None:
        """Pools have their own models, devices, layouts, bits and engines; keys of one leave the others alone."""
        scenario = written(tmp_path, """
model: llama-3.1-8b
topology: wse3-4-and-h100-8
pools:
  wafers: {device: wse-3, model: llama-3.1-70b, pipeline_parallel_size: 4}
  pairs: {device: h100-sxm, tensor_parallel_size: 2, replicas: 2, engine: vllm, weights: 8 bit}
  singles: {replicas: 3, max_num_seqs: 7, gpu_memory_utilization: 50 %}
""")  # fmt: skip
        wafers, pairs, singles = scenario.pools

        assert ["llama-3.1-70b", "llama-3.1-8b", "llama-3.1-8b"] == [pool.model.name for pool in scenario.pools]
        assert ("llama-3.1-70b", "llama-3.1-8b") == scenario.models
        assert ("wse-3", "h100-sxm") == scenario.device_names
        assert [f"gpus/gpu{n}" for n in range(4)] == list(pairs.devices)
        assert [f"gpus/gpu{n}" for n in (4, 5, 6)] == list(singles.devices)
        assert (1, 2, 1) == (wafers.n_ranks, pairs.n_ranks, singles.n_ranks)
        assert (256, 256, 7) == tuple(pool.engine.max_num_seqs for pool in scenario.pools)
        assert [16.0, 8.0, 16.0] == [pool.weight_bits for pool in scenario.pools]
        assert pairs.engine.calibration is not None and wafers.engine.calibration is None
        assert wafers.gpu is None and pairs.wafer is None

    def test_replicas_are_numbered_from_pool_to_pool(self, tmp_path: Path) -> None:
        """A replica's number among all tells its pool."""
        pools = "pools: {a: {replicas: 2}, b: {}, c: {replicas: 3}}\n"
        scenario = written(tmp_path, f"model: llama-3.1-8b\ntopology: h100-8\n{pools}")

        assert list("aabccc") == [scenario.pool_of(number).name for number in range(6)]
        assert [f"gpu{n}" for n in range(6)] == [replica.stages[0].devices[0] for replica in scenario.replicas]
        with pytest.raises(IndexError):
            scenario.pool_of(6)

    def test_listed_devices_are_reserved(self, tmp_path: Path) -> None:
        """Devices that a later pool lists are not taken by an earlier one that lists none."""
        scenario = written(tmp_path, """
model: llama-3.1-8b
topology: h100-8
pools:
  any: {replicas: 3}
  these: {devices: [gpu0, gpu2], tensor_parallel_size: 2}
""")  # fmt: skip

        assert ("gpu1", "gpu3", "gpu4") == scenario.pools[0].devices

    def test_the_kind_is_that_of_the_first_unused_device(self, tmp_path: Path) -> None:
        """A pool that names no kind takes the first devices that are left, all of one kind."""
        pools = "pools: {a: {replicas: 4}, b: {}}\n"
        scenario = written(tmp_path, f"model: llama-3.1-8b\ntopology: wse3-4-and-h100-8\n{pools}")

        assert ("wse-3", "h100-sxm") == scenario.device_names

    def test_a_resolved_scenario_survives(self, tmp_path: Path) -> None:
        """Two pools are written and read back the same."""
        scenario = load(TWO, FEW)
        (tmp_path / "r.yaml").write_text(dump(scenario))

        assert scenario == load(tmp_path / "r.yaml")
        assert scenario.digest() == load(tmp_path / "r.yaml").digest()

    @pytest.mark.parametrize(
        ("setting", "differs"),
        [("pools.gpus.max_num_seqs=9", True), ("router=round_robin", True), ("title=another", False)],
    )
    def test_the_digest_is_of_what_results_depend_on(self, setting: str, differs: bool) -> None:
        """A key of a pool and the router are part of the digest."""
        assert differs == (load(TWO, FEW).digest() != load(TWO, [*FEW, setting]).digest())

    def test_sources_are_drawn_on_the_devices_that_have_them(self) -> None:
        """Noise of GPUs is drawn for the GPUs of the fleet, and for no wafer."""
        scenario = load(TWO)

        assert "op_jitter" in drawn_sources(scenario)
        assert ["gpus/gpu0"] == devices_drawn(scenario, "op_jitter")
        assert [f"gpus/gpu{n}" for n in range(8)] == devices_drawn(scenario, "drift")

    def test_traffic_of_others_is_on_the_links_of_the_part_that_has_it(self) -> None:
        """Background load of GPU clusters comes on no link between wafers; failures come to GPUs alone."""
        scenario = load(TWO, ["noise=shared-network", "topology={parts: {wafers: wse3-4, gpus: h100-2x8}}"])
        nodes = {name for event in scenario.events for name in (*event.devices, *(event.link or ()))}

        assert scenario.events
        assert {"gpus"} == {name.partition("/")[0] for name in nodes}


class TestSimulating:
    def test_no_law_is_broken(self, result: Result) -> None:
        """The limits of the laws are those of each replica's own pool."""
        limits = Limits.of(result.scenario).replicas

        assert [4, 1] == [replica.n_stages for replica in limits]
        assert limits[WAFERS].kv_blocks != limits[GPUS].kv_blocks
        assert [] == played(result).violations()

    def test_a_recorded_run_keeps_the_laws(self, tmp_path: Path) -> None:
        """`simcluster check` finds nothing in a run of two pools."""
        record(load(TWO, FEW), tmp_path / "run")

        assert [] == check_run(tmp_path / "run")
        assert main(["check", str(tmp_path / "run")]) == 0

    def test_both_pools_serve(self, result: Result) -> None:
        """The router gives requests to both."""
        assert min(served_by(result)) > 0

    def test_op_by_op_it_is_the_same(self) -> None:
        """`auto` equals `op` to the byte, with a wafer pipeline next to a group of ranks."""
        few = ["workload.requests=8", "workload.output_tokens={kind: uniform, low: 2, high: 12}"]
        digests = {simulate(load(TWO, [*few, f"fidelity={f}"])).summary["trace_digest"] for f in ("auto", "op")}

        assert 1 == len(digests)

    def test_a_replica_alone_is_as_fast_as_in_the_fleet(self) -> None:
        """A request that one pool serves takes as long as where that pool is the only one."""
        one = ["workload.requests=1", "workload.arrivals={kind: single}"]
        expected = simulate(load("chat-70b-4xwse3", [*one, "noise=none"])).summary
        actual = simulate(load(TWO, [*one, "noise=none"])).summary

        assert expected["mean_ttft_ms"] == actual["mean_ttft_ms"]
        assert expected["mean_e2el_ms"] == actual["mean_e2el_ms"]

    @pytest.mark.parametrize(
        ("device", "dead", "alive"), [("wafers/wafer2", WAFERS, GPUS), ("gpus/gpu3", GPUS, WAFERS)]
    )
    @pytest.mark.parametrize("fidelity", ["auto", "op"])
    def test_a_failed_device_sends_its_requests_to_the_other_pool(
        self, device: str, dead: int, alive: int, fidelity: str
    ) -> None:
        """When a device of one pool fails for good, all requests finish in the other, those under way included."""
        few = ["workload.requests=12", "workload.arrivals.rate=40 req/s",
               "workload.output_tokens={kind: uniform, low: 20, high: 60}"]  # fmt: skip
        event = f"events=[{{kind: device_down, device: {device}, at: 400 ms}}]"
        result = simulate(load(TWO, [*few, event, f"fidelity={fidelity}"]))
        requests, tokens = result.requests_table, result.tokens()
        at = 400 * TICKS_PER_S // 1000

        assert {"finished"} == set(requests["status"])
        assert [] == played(result).violations()
        assert max(tokens.emitted_at_ticks[tokens.replica == dead], default=0) <= at
        assert {alive} == set(requests["replica"][requests["last_token_at_ticks"] > at])
        restarted = requests["restarts"] > 0
        assert restarted.any()
        assert {alive} == set(requests["replica"][restarted])

    def test_fidelities_agree_about_failures(self) -> None:
        """A run in which a device of each pool fails and is repaired is the same op by op."""
        few = ["workload.requests=12", "workload.output_tokens={kind: uniform, low: 20, high: 60}"]
        events = ("events=[{kind: device_down, device: gpus/gpu3, at: 300 ms, lasts: 400 ms}, "
                  "{kind: device_down, device: wafers/wafer0, at: 500 ms, lasts: 100 ms}]")  # fmt: skip
        results = [simulate(load(TWO, [*few, events, f"fidelity={fidelity}"])) for fidelity in ("auto", "op")]

        assert 1 == len({result.summary["trace_digest"] for result in results})
        assert [] == played(results[0]).violations()

    def test_a_request_goes_where_it_has_room(self, tmp_path: Path) -> None:
        """Requests that are too long for one pool are served by the other."""
        scenario = written(tmp_path, """
model: llama-3.1-8b
topology: h100-8
router: least_loaded
pools:
  short: {max_model_len: 68, replicas: 2}
  long: {}
""")  # fmt: skip
        requests = simulate(scenario).requests_table
        n_tokens = requests["prompt_tokens"] + requests["output_tokens"]

        assert {"finished"} == set(requests["status"])
        assert {2} == set(requests["replica"][n_tokens > 68])
        assert set(requests["replica"][n_tokens <= 68]) & {0, 1}

    def test_routers_see_pools(self) -> None:
        """A router from Python can choose by the name of the pool."""

        def wafers_only(view: RouterView) -> int:
            return next(replica.replica for replica in view.replicas if replica.pool == "wafers")

        result = simcluster.simulate(load(TWO, FEW), policies=simcluster.Policies(router=wafers_only))
        assert [40, 0] == served_by(result)


class TestSummary:
    def test_says_what_each_pool_is_and_did(self, summary: dict[str, Any]) -> None:
        """Devices, power and finished requests of the pools add up to those of the run."""
        wafers, gpus = summary["pools"]["wafers"], summary["pools"]["gpus"]

        assert ["wafers", "gpus"] == list(summary["pools"])
        assert ("wse-3", 4, 92_000.0) == (wafers["device"], wafers["devices"], wafers["power_w"])
        assert ("h100-sxm", 8, 10_200.0) == (gpus["device"], gpus["devices"], gpus["power_w"])
        for key in ("devices", "power_w", "completed", "total_output_tokens"):
            assert summary[key] == wafers[key] + gpus[key]

    def test_latencies_of_pools_make_those_of_the_run(self, summary: dict[str, Any]) -> None:
        """The mean over all finished requests is that of the pools, weighted by their requests."""
        pools = summary["pools"].values()
        sums = {key: sum(pool[key] * pool["completed"] for pool in pools) for key in ("mean_ttft_ms", "mean_e2el_ms")}

        for key, total in sums.items():
            assert summary[key] == pytest.approx(total / summary["completed"])

    def test_the_top_joins_them(self, summary: dict[str, Any]) -> None:
        """Model, devices and blocks of the whole name those of the pools."""
        assert ("llama-3.1-70b", "wse-3, h100-sxm") == (summary["model"], summary["device"])
        blocks = [pool["kv_blocks"] for pool in summary["pools"].values()]
        assert ", ".join(map(str, blocks)) == summary["kv_blocks"]
        assert summary["mean_ttft_interval_ms"] is None

    def test_one_pool_has_no_such_key(self) -> None:
        """The summary of a single pool is what it was: no pools, and a number of blocks."""
        summary = simulate(load("llama-3.1-8b-1xwse3", ["workload.output_tokens.value=3"])).summary

        assert "pools" not in summary
        assert isinstance(summary["kv_blocks"], int)

    def test_every_command_takes_a_run_of_pools(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Replay prints the pools; explain, report, timeline, plot and compare read such a run."""
        monkeypatch.chdir(tmp_path)
        (tmp_path / "two.yaml").write_text(find(TWO).read_text())
        assert main(["replay", "two.yaml", "--set", "workload.requests=12", "-o", "runs"]) == 0
        printed = capsys.readouterr().out
        assert "4 x wse-3, 8 x h100-sxm" in printed
        assert "wafers" in printed and "gpus" in printed
        run = "runs/two-seed0"
        assert json.loads(Path(run, "summary.json").read_text())["pools"].keys() == {"wafers", "gpus"}
        assert main(["explain", run]) == 0
        assert main(["report", run, "-o", "report.html"]) == 0
        assert main(["timeline", run, "-o", "t.json.gz"]) == 0
        assert main(["plot", run, "-o", "pictures"]) == 0
        assert main(["compare", run, run]) in (0, 3)
        page = Path("report.html").read_text()
        assert "wafers: 4 x" in page and "gpus: 8 x" in page

    def test_the_topology_of_a_run_is_found(self) -> None:
        """The recorded name leads to the topology with the devices of both pools."""
        assert set(load(TWO).devices) <= set(load_topology(load(TWO).topology).devices)
