"""From a scenario file to what is simulated: changes on the way, and resolved files that were edited."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from simcluster.files.problems import InputError
from simcluster.files.source import show_path
from simcluster.results.run import simulate
from simcluster.scenario import files
from simcluster.scenario.load import load
from simcluster.scenario.reread import dump

VALID = Path(__file__).resolve().parents[2] / "files" / "scenarios" / "valid"
CONFIG = Path(__file__).resolve().parents[2] / "files" / "hf" / "mistral-7b.json"
TRACE = Path(__file__).resolve().parents[2] / "files" / "traces" / "azure-2023.csv"
POISSON = VALID / "arrivals-poisson.yaml"


def faults(file: Path | str, *settings: str, seed: int | None = None) -> list[str]:
    """What is wrong with a scenario."""
    with pytest.raises(InputError) as caught:
        load(file, settings, seed)
    return [str(problem) for problem in caught.value.problems]


class TestSettings:
    def test_are_read_as_in_the_file(self) -> None:
        """What is set on the command line has the types it would have in the file, and the last one wins."""
        scenario = load(POISSON, ["workload.requests=7", "title=Other", "slo={tpot: 5 ms}", "workload.requests=8"])

        assert 8 == scenario.workload["requests"]
        assert "Other" == scenario.title
        assert {"tpot": 5.0} == scenario.limits_ms

    def test_create_sections(self) -> None:
        """A section that is not in the file is made."""
        assert 3 == load(POISSON, ["deployment.max_num_seqs=3"]).pools[0].engine.max_num_seqs

    def test_a_trace_replaces_what_is_drawn(self) -> None:
        """Setting a trace takes arrivals, lengths and the number of requests away."""
        assert {"trace": str(TRACE)} == load(POISSON, [f"workload.trace={TRACE}"]).workload

    @pytest.mark.parametrize(
        ("setting", "place"),
        [
            (f"workload.trace={TRACE.name}", TRACE),
            (f"workload={{trace: {TRACE.name}}}", TRACE),
            (f"model.config={CONFIG.name}", CONFIG),
            ("topology=./here.yaml", None),
        ],
    )  # fmt: skip
    def test_files_start_where_the_shell_is(
        self, setting: str, place: Path | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Files named on the command line are looked for from the current folder, not from the scenario's."""
        (tmp_path / "here.yaml").write_text("generate: {kind: gpu_node, device: h100-sxm, gpus: 2, link: nvlink4}")
        monkeypatch.chdir(place.parent if place else tmp_path)
        file = VALID / "model-config.yaml"

        assert load(file, [setting]).n_devices == 1

    @pytest.mark.parametrize(
        ("setting", "expected"),
        [
            ("a", "--set: 'a'; expected key=value such as workload.requests=100"),
            ("=", "--set: '='; expected key=value such as workload.requests=100"),
            ("a..b=1", "--set: 'a..b=1'; expected key=value such as workload.requests=100"),
            ("a=", "--set: a: unknown key 'a'; expected one of deployment, events, fidelity, gates, model, noise,"
                   " pools, router, seed, slo, source_seeds, steady_state, title, topology, workload"),
            ("workload=5", "--set: workload: 5; expected a mapping"),
            ("workload.requests=1e9", "--set: workload.requests: 1000000000.0; expected a whole number"),
            ("title.x=1", "--set: title: a mapping; expected text"),
            ("topology.x=1", "--set: topology.x: a value that has no keys; expected a key of the scenario"),
            ("model.config=x.json", "--set: model.config: a value that has no keys; expected a key of the scenario"),
            ("seed=-1", "--set: seed: -1; expected at least 0"),
            ("seed=9223372036854775808", "--set: seed: 9223372036854775808; expected less than 9223372036854775808"),
            ("model=&a x", "--set model:1: anchor '&a'; anchors are not read; remove it"),
            ("workload.trace=/dev/zero",
             "--set: workload.trace: no file '/dev/zero'; expected a readable file"),
            ("topology={generate: {kind: mesh, device: h100-sxm, rows: 1000000000000, columns: 2, link: nvlink4}}",
             "--set: topology.generate: 2,000,000,000,000 nodes and 2,999,999,999,998 links; at most 20,000 nodes and"
             " 500,000 links are allowed"),
        ],
    )  # fmt: skip
    def test_faults(self, setting: str, expected: str) -> None:
        """A setting that cannot be used is reported as such."""
        assert [expected] == faults(POISSON, setting)

    def test_through_a_list(self) -> None:
        """Lists are set whole, not entry by entry."""
        file = VALID / "devices-listed.yaml"

        assert ["--set: deployment.devices.0: a value that has no keys; expected a key of the scenario"] == faults(
            file, "deployment.devices.0=gpu1"
        )

    def test_absurdly_deep(self) -> None:
        """A path of a hundred thousand keys is refused before anything is built."""
        assert 1 == len(faults(POISSON, ".".join("a" * 100_000) + "=1"))


class TestSeed:
    def test_replaces_that_of_the_file(self) -> None:
        """A seed given next to the file replaces that of the file."""
        assert 5 == load(POISSON, seed=5).seed

    def test_largest(self, tmp_path: Path) -> None:
        """The largest seed survives the resolved file."""
        (tmp_path / "x.yaml").write_text(dump(load(POISSON, seed=2**63 - 1)))

        assert 2**63 - 1 == load(tmp_path / "x.yaml").seed


class TestGate:
    @pytest.mark.parametrize("stem", ["1e6", "08", "0x1f", "true", "~", "5_0", "a b", "\u00fc", ".x"])
    def test_any_name_survives(self, stem: str, tmp_path: Path) -> None:
        """A file name that looks like a number or a keyword stays a text in the resolved file."""
        file = tmp_path / f"{stem}.yaml"
        file.write_text(POISSON.read_text())
        (tmp_path / "resolved.yaml").write_text(dump(load(file)))

        assert stem == load(tmp_path / "resolved.yaml").name

    def test_a_link_beyond_all_bounds(self, tmp_path: Path) -> None:
        """Figures that are fine one by one but make an absurd path are refused, not crashed on."""
        file = tmp_path / "slow.yaml"
        file.write_text((VALID / "topology-nodes.yaml").read_text().replace("100 Gb/s", "1e-9 b/s"))

        assert 1 == len(faults(file))
        assert "bytes_per_s" in faults(file)[0]

    def test_stages_are_counted_before_they_are_joined(self) -> None:
        """Nineteen thousand devices in many stages are refused before a path is looked for."""
        huge = "topology={generate: {kind: ring, device: h100-sxm, devices: 19000, link: nvlink4}}"
        deployment = "deployment={replicas: 593, pipeline_parallel_size: 32}"

        assert "593 x 32 joined stages; at most 1,024 are laid out" in faults(POISSON, huge, deployment)[0]

    def test_many_wrong_devices(self, tmp_path: Path) -> None:
        """A long list of wrong devices is reported in bounded length."""
        names = ", ".join(f"x{number}" for number in range(20_000))

        assert 100 == len(faults(POISSON, f"deployment={{replicas: 4, devices: [{names}]}}"))

    def test_a_broken_trace_is_reported_before_the_run(self, tmp_path: Path) -> None:
        """What is wrong inside a trace is reported when the scenario is read."""
        (tmp_path / "t.csv").write_text("a,b\n1,2\n")
        (tmp_path / "s.yaml").write_text("model: llama-3.1-8b\ntopology: h100-8\nworkload: {trace: t.csv}\n")

        assert faults(tmp_path / "s.yaml")[0].startswith(f"{tmp_path}/t.csv:1: unknown columns")


Edit = Callable[[dict[str, Any]], None]


def put(*path_and_value: Any) -> Edit:
    """Replaces the value at a path."""
    *path, key, value = path_and_value

    def edit(data: Any) -> None:
        for part in path:
            data = data[part]
        data[key] = value

    return edit


def take(*path: Any) -> Edit:
    """Removes a key."""
    *outer, key = path

    def edit(data: Any) -> None:
        for part in outer:
            data = data[part]
        del data[key]

    return edit


POOL = ("pools", 0)
BACK = (*POOL, "replicas", 0, "return_hop")
FIRST = (*POOL, "replicas", 0, "stages", 0)
GEMM = (*POOL, "gpu", "ops", "gemm", "16")
LINE = (*POOL, "group", "inside", "all_reduce", 0)
NONSENSE: list[tuple[str, Edit, tuple[Any, ...]]] = [
    ("replicas", put("format", "simcluster-scenario-1"), ("format",)),
    ("replicas", put("name", "../../evil"), ("name",)),
    ("replicas", put("name", "a\nb"), ("name",)),
    ("replicas", put("name", ""), ("name",)),
    ("replicas", put("seed", -1), ("seed",)),
    ("replicas", put("seed", "zero"), ("seed",)),
    ("replicas", put("fidelity", "packet"), ("fidelity",)),
    ("replicas", put(*POOL, "device", "memory_bytes_per_s", -1.0), (*POOL, "device", "memory_bytes_per_s")),
    ("replicas", put(*POOL, "device", "memory_bytes_per_s", 0.0), (*POOL, "device", "memory_bytes_per_s")),
    ("replicas", put(*POOL, "device", "memory_bytes_per_s", "fast"), (*POOL, "device", "memory_bytes_per_s")),
    ("replicas", put(*POOL, "device", "peak_flop_per_s", {}), (*POOL, "gpu", "ops", "gemm", "16", "compute_bits")),
    ("replicas", put(*POOL, "device", "kind", "wafer"), (*POOL, "wafer",)),
    ("replicas", put(*POOL, "gpu", None), (*POOL, "gpu",)),
    ("replicas", take(*POOL, "gpu", "ops", "gemm"), (*POOL, "gpu", "ops", "gemm")),
    ("replicas", take(*POOL, "gpu", "launch_s", "graph"), (*POOL, "gpu", "launch_s")),
    ("replicas", put(*POOL, "gpu", "host_fixed_s", 1e300), (*POOL, "gpu", "host_fixed_s")),
    ("replicas", put(*GEMM, "memory_efficiency", 0), (*GEMM, "memory_efficiency")),
    ("replicas", put(*POOL, "group", None), (*POOL, "group",)),
    ("replicas", put(*POOL, "group", "n_nodes", 2), (*POOL, "group",)),
    ("replicas", put(*LINE, "algorithm", "magic"), (*LINE, "algorithm")),
    ("replicas", put(*POOL, "group", "inside", "all_reduce", []), (*POOL, "group", "inside")),
    ("replicas", put(*POOL, "model", "heads", 0), (*POOL, "model", "heads")),
    ("replicas", put(*POOL, "model", "kv_heads", 7), (*POOL, "model", "kv_heads")),
    ("replicas", put(*POOL, "model", "layers", 33), (*POOL, "replicas", 0, "stages")),
    ("replicas", put(*POOL, "weight_bits", 0), (*POOL, "weight_bits",)),
    ("replicas", put(*POOL, "replicas", []), (*POOL, "replicas",)),
    ("replicas", put(*POOL, "replicas", 0, "stages", []), (*POOL, "replicas", 0, "stages")),
    ("replicas", put(*POOL, "replicas", 0, "kv_blocks", 10**12), (*POOL, "replicas", 0, "kv_blocks")),
    ("replicas", put(*POOL, "replicas", 0, "kv_blocks", 0), (*POOL, "replicas", 0, "kv_blocks")),
    ("replicas", put(*POOL, "replicas", 0, "kv_blocks", 1.5), (*POOL, "replicas", 0, "kv_blocks")),
    ("replicas", put(*POOL, "replicas", 0, "return_hop", None), (*POOL, "replicas", 0, "return_hop")),
    ("replicas", put(*FIRST, "devices", []), (*FIRST, "devices")),
    ("replicas", put(*FIRST, "devices", ["gpu0", "gpu0"]), (*FIRST, "devices")),
    ("replicas", put(*FIRST, "next_hop", None), (*FIRST, "next_hop")),
    ("replicas", put(*FIRST, "next_hop", "latency_s", float("nan")), (*FIRST, "next_hop", "latency_s")),
    ("replicas", put(*FIRST, "next_hop", "bytes_per_s", -5.0), (*FIRST, "next_hop", "bytes_per_s")),
    ("replicas", put(*FIRST, "layers", "first_layer", 3), (*FIRST, "layers")),
    ("replicas", put(*FIRST, "layers", "has_embedding", False), (*FIRST, "layers")),
    ("replicas", put(*FIRST, "layers", "kinds", ["dense", "sparse"]), (*FIRST, "layers", "kinds", 1)),
    ("replicas", put(*FIRST, "layers", "kv_bytes_per_token", 0), (*FIRST, "layers", "kv_bytes_per_token")),
    ("replicas", put(*POOL, "engine", "scheduler", "lifo"), (*POOL, "engine", "scheduler")),
    ("replicas", put("router", "best"), ("router",)),
    ("replicas", put(*POOL, "engine", "block_size", 0), (*POOL, "engine", "block_size")),
    ("replicas", put(*POOL, "engine", "max_num_batched_tokens", 0), (*POOL, "engine", "max_num_batched_tokens")),
    ("replicas", put(*POOL, "engine", "all_reduce", "magic"), (*POOL, "engine", "all_reduce")),
    ("replicas", put(*POOL, "engine", "launch", "lazy"), (*POOL, "engine", "launch")),
    ("replicas", put("workload", {}), ("workload", "arrivals")),
    ("replicas", put("workload", 5), ("workload",)),
    ("replicas", put("workload", "arrivals", "rate", 4), ("workload", "arrivals", "rate")),
    ("replicas", put("workload", "horizon", "1e-30 s"), ("workload", "horizon")),
    ("replicas", put("limits_ms", {"p99": 1.0}), ("limits_ms", "p99")),
    ("replicas", put("extra", 1), ("extra",)),
    ("noise-overrides", put("noise", "rows", 0, "values", "cv", -0.1), ("noise", "rows", 0, "values", "cv")),
    ("noise-overrides", put("noise", "rows", 0, "values", "cv", 1e6), ("noise", "rows", 0)),
    ("noise-overrides", put("noise", "rows", 0, "values", {"mean_s": 0.1}), ("noise", "rows", 0)),
    ("noise-overrides", put("noise", "rows", 0, "source", "wind"), ("noise", "rows", 0, "source")),
    ("pipeline-of-wafers", put(*POOL, "device", "grid", None), (*POOL, "device", "grid")),
    ("pipeline-of-wafers", put(*POOL, "device", "grid", "rows", 0), (*POOL, "device", "grid", "rows")),
    ("pipeline-of-wafers", put(*POOL, "device", "grid", "clock_hz", 1), (*POOL, "device", "grid", "clock_hz")),
    ("weights-streamed", put(*POOL, "weight_stream", "bytes_per_s", 0), (*POOL, "weight_stream", "bytes_per_s")),
    ("events-device-down", put("network", None), ("network",)),
    ("fidelity-message", put("network", None), ("network",)),
    ("events-device-down", put("events", 0, "kind", "device_gone"), ("events", 0, "kind")),
    ("events-device-down", put("events", 0, "kind", "link_down"), ("events", 0, "devices")),
    ("events-device-down", put("events", 0, "devices", []), ("events", 0, "devices")),
    ("events-device-down", put("events", 0, "devices", ["gpu80"]), ("events", 0, "devices", 0)),
    ("events-device-down", put("events", 0, "devices", ["nvswitch0"]), ("events", 0, "devices", 0)),
    ("events-device-down", put("events", 0, "at_s", None), ("events", 0)),
    ("events-device-down", put("events", 0, "at_s", -1.0), ("events", 0, "at_s")),
    ("events-device-down", put("events", 0, "at_s", 1e9), ("events", 0, "at_s")),
    ("events-device-down", put("events", 0, "mtbf_s", 1.0), ("events", 0)),
    ("events-device-down", put("events", 0, "every_s", 1.0), ("events", 0, "every_s")),
    ("events-device-down", put("events", 0, "n_bytes", 1.0), ("events", 0, "n_bytes")),
    ("events-device-down", put("events", 0, "extra_latency_s", 1.0), ("events", 0, "extra_latency_s")),
    ("events-device-down", put("events", 0, "link", ["gpu0", "nvswitch0"]), ("events", 0, "link")),
    ("events-device-down", put("events", 1, "mttr_s", None), ("events", 1)),
    ("events-device-down", put("events", 1, "mttr_s", 1e-12), ("events", 1, "mttr_s")),
    ("events-device-down", put("events", 1, "mtbf_s", 1e-12), ("events", 1, "mtbf_s")),
    ("events-device-down", put("events", 1, "lasts_s", 1.0), ("events", 1)),
    ("events-device-down", put("network", "nodes", 0, "name", "gpu80"), ("network", "links", 0, "a")),
    ("events-device-down", put("network", "nodes", 0, "name", "gpu1"), ("network", "nodes", 1)),
    ("events-device-down", put("network", "nodes", 0, "kind", "switch"), (*FIRST, "devices", 0)),
    ("events-device-down", put("network", "nodes", 0, "kind", "cloud"), ("network", "nodes", 0, "kind")),
    ("events-device-down", put("network", "links", 0, "b", "gpu0"), ("network", "links", 0)),
    ("events-device-down", put("network", "links", 1, "b", "nvswitch0"), ("network", "links", 1)),
    ("events-device-down", put("network", "links", 0, "bytes_per_s", 0.0), ("network", "links", 0, "bytes_per_s")),
    ("events-device-slow", put("events", 0, "factor", 0.5), ("events", 0, "factor")),
    ("events-device-slow", put("network", "links", []), (*FIRST, "devices")),
    ("events-node-down", put("network", "nodes", []), ("network", "links", 0, "a")),
    ("events-link-slow", put("events", 0, "factor", 2.0), ("events", 0, "factor")),
    ("events-link-slow", put("events", 0, "link", ["gpu0", "gpu1"]), ("events", 0, "link")),
    ("events-link-slow", put("events", 0, "link", ["gpu0", "gpu80"]), ("events", 0, "link")),
    ("events-link-slow", put("events", 0, "link", None), ("events", 0, "link")),
    ("events-transfer", put("events", 0, "ends", None), ("events", 0, "ends")),
    ("events-transfer", put("events", 0, "ends", ["gpu0", "gpu0"]), ("events", 0, "ends")),
    ("events-transfer", put("events", 0, "ends", ["gpu0", "gpu80"]), ("events", 0, "ends")),
    ("events-transfer", put("events", 0, "lasts_s", 1.0), ("events", 0)),
    ("events-transfer", put("events", 0, "n_bytes", 0.0), ("events", 0, "n_bytes")),
    ("events-transfer", put("events", 0, "n_bytes", 1e18), ("events", 0, "n_bytes")),
    ("events-transfer", put("events", 1, "every_s", 1e-12), ("events", 1, "every_s")),
    ("links-shared", put(*FIRST, "next_hop", "nodes", []), (*FIRST, "next_hop", "nodes")),
    ("links-shared", put(*FIRST, "next_hop", "nodes", ["a0", "left", "a1"]), (*FIRST, "next_hop", "nodes")),
    ("links-shared", put(*BACK, "nodes", ["a0", "b0"]), (*BACK, "nodes")),
    ("links-shared", put("network", "nodes", 2, "forwards", False), (*FIRST, "next_hop", "nodes")),
    ("links-shared", take("network", "links", 2), (*FIRST, "next_hop", "nodes")),
    ("events-weights-streamed", take("network", "links", 0), (*POOL, "weight_stream", "nodes")),
    ("fidelity-message", put("network", "nodes", 8, "kind", "nic"), (*POOL, "engine", "all_reduce")),
    ("fidelity-message-over-nodes", put("network", "nodes", 0, "group", "node1"), (*FIRST, "devices")),
    ("trace", put("workload", "trace", "/no/such/file.csv"), ("workload", "trace")),
    ("trace", put("workload_sha256", "0" * 64), ("workload",)),
]  # fmt: skip


def line_of(text: str, path: tuple[Any, ...]) -> int:
    """The line where a path, or as much of it as there is, stands in YAML."""
    node = yaml.compose(text)
    line = node.start_mark.line + 1
    for part in path:
        if isinstance(node, yaml.MappingNode):
            found = [(key, value) for key, value in node.value if key.value == part]
        else:
            found = [(node.value[part], node.value[part])] if part < len(node.value) else []
        if not found:
            break
        line, node = found[0][0].start_mark.line + 1, found[0][1]
    return line


class TestResolvedFiles:
    @pytest.mark.parametrize(
        ("stem", "edit", "path"), NONSENSE, ids=[f"{index}-{show_path(c[2])}" for index, c in enumerate(NONSENSE)]
    )
    def test_nonsense_is_refused_with_its_line(
        self, stem: str, edit: Edit, path: tuple[Any, ...], tmp_path: Path
    ) -> None:
        """A resolved file that was edited into nonsense is refused when it is read, and the place is named."""
        data = yaml.safe_load(dump(load(VALID / f"{stem}.yaml")))
        edit(data)
        text = yaml.safe_dump(data, sort_keys=False)
        (tmp_path / "edited.yaml").write_text(text)

        with pytest.raises(InputError) as caught:
            load(tmp_path / "edited.yaml")
        assert (line_of(text, path), show_path(path)) in {(p.line, p.path) for p in caught.value.problems}

    def test_events_days_apart_survive(self, tmp_path: Path) -> None:
        """What happens after days, and lasts as long, is read back from a resolved file."""
        event = "events=[{kind: device_down, device: gpu0, mtbf: 1e6 s, mttr: 86400 s}]"
        scenario = load(VALID / "replicas.yaml", [event])
        (tmp_path / "r.yaml").write_text(dump(scenario))

        assert scenario == load(tmp_path / "r.yaml")

    def test_only_the_seed_can_be_changed(self, tmp_path: Path) -> None:
        """A resolved scenario takes a seed and nothing else."""
        file = tmp_path / "r.yaml"
        file.write_text(dump(load(POISSON)))

        assert 4 == load(file, seed=4).seed
        assert ["--set: a resolved scenario; change the scenario it came from instead"] == faults(file, "seed=4")
        assert ["--set: seed: -1; expected at least 0"] == faults(file, seed=-1)

    def test_a_trace_that_changed_is_refused(self, tmp_path: Path) -> None:
        """A resolved scenario holds for the trace it was resolved with, byte for byte."""
        trace, file, copy = tmp_path / "t.csv", tmp_path / "s.yaml", tmp_path / "r.yaml"
        trace.write_text(TRACE.read_text())
        file.write_text("model: llama-3.1-8b\ntopology: h100-8\nworkload: {trace: t.csv}\n")
        copy.write_text(dump(load(file)))
        assert load(file) == load(copy)
        trace.write_text(TRACE.read_text() + "\n")

        assert "its files have changed since the scenario was resolved" in faults(copy)[0]

    def test_a_gentle_edit_is_fine(self, tmp_path: Path) -> None:
        """Fewer KV blocks, a slower memory and another title are still a scenario, and it plays."""
        data = yaml.safe_load(dump(load(VALID / "replicas.yaml")))
        data["pools"][0]["replicas"][0]["kv_blocks"] = 20
        data["pools"][0]["device"]["memory_bytes_per_s"] = 1e12
        data["title"] = "Edited"
        (tmp_path / "r.yaml").write_text(yaml.safe_dump(data))

        assert 4 == simulate(load(tmp_path / "r.yaml")).summary["completed"]


def test_an_unknown_name_gets_a_neighbour() -> None:
    """For a name that is nearly that of a shipped scenario the right one is suggested."""
    assert ["chat-70b-8xh10: no scenario 'chat-70b-8xh10'; did you mean 'chat-70b-8xh100'?"] == faults(
        "chat-70b-8xh10"
    )


def test_a_file_without_its_ending(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For a name that lacks only the ending of a file, the file is suggested."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text("model: llama-3.1-8b\n")
    assert ["mine: no scenario 'mine'; did you mean 'mine.yaml'?"] == faults("mine")


@pytest.mark.parametrize("name", ["", ".", "x" * 5000, "../../etc/passwd", "a\0b", "/dev/zero", "/dev/null.yaml"])
def test_what_is_no_scenario(name: str) -> None:
    """Folders, devices, endless names and paths out of the house are refused with one problem."""
    assert 1 == len(faults(name))


def test_finds_scenarios_in_folders() -> None:
    """Every shipped scenario is found by its name."""
    assert all(files.find(name).is_file() for name in files.names())


class TestNoise:
    @pytest.mark.parametrize(
        ("changes", "expected"),
        [
            ("without: [drif]", "noise.without[0]: 'drif'; did you mean 'drift'?"),
            ("without: [drift, drift]", "noise.without[1]: 'drift' again; expected each source once"),
            (
                "drift: {compute: 1 %, memory: 1 %, time: 1 s}, without: [drift]",
                "noise.without[0]: 'drift', which is stated too; expected it either stated or left out",
            ),
            ("without: [failures]", "noise.without[0]: 'failures', which preset datacenter does not have; expected "),
            ("drift: null", "noise.drift: nothing; expected its parameters; to leave it out, write without: [drift]"),
            ("moe_routing: {sigma: 300 %}", "noise.moe_routing.sigma: '300 %'; expected at most 200 %"),
        ],
    )
    def test_faults(self, changes: str, expected: str) -> None:
        """Changes that do nothing, contradict each other or go too far are reported with their place."""
        (fault,) = faults(POISSON, f"noise={{preset: datacenter, {changes}}}")
        assert fault.startswith(f"--set: {expected}")

    def test_nothing_to_leave_out(self) -> None:
        """A preset without sources has none to leave out."""
        assert faults(POISSON, "noise={without: [drift]}")[0].endswith("does not have; remove it")

    @pytest.mark.parametrize(
        ("changes", "expected"),
        [
            ("", "datacenter"),
            (", without: [drift]", "datacenter (without drift)"),
            (", op_jitter: {cv: 1 %}, diurnal: {swing: 1 %}", "datacenter (changed: op_jitter; with diurnal)"),
            (", without: [drift, op_jitter, rare_stalls, arrival_skew]", "datacenter (without 4 sources)"),
        ],
    )
    def test_the_name_says_what_was_changed(self, changes: str, expected: str) -> None:
        """A world is called by its preset and what a scenario changed of it."""
        noise = load(POISSON, [f"noise={{preset: datacenter{changes}}}"]).noise
        assert expected == noise.name
        assert "datacenter" == noise.preset
