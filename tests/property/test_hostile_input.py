"""Files from anyone: whatever stands in them, reading them ends soon, with a result or with problems."""

from __future__ import annotations

import contextlib
import copy
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from simcluster.files import source
from simcluster.files.problems import InputError
from simcluster.files.quantities import Frozen
from simcluster.files.units import UNITS, UnitError, parse
from simcluster.files.validation import validate
from simcluster.results.run import simulate
from simcluster.scenario.load import load
from simcluster.scenario.reread import dump
from simcluster.scenario.resolved import Scenario
from simcluster.sweeps import plan

VALID = Path(__file__).resolve().parents[1] / "files" / "scenarios" / "valid"
STEMS = (
    "arrivals-gamma", "engine-settings", "events-device-down", "events-device-slow", "events-link-down",
    "events-link-slow", "events-node-down", "events-transfer", "events-wafers", "events-weights-streamed",
    "fidelity-message", "lengths-empirical-values", "lengths-uniform-parts", "links-shared", "model-mla", "model-moe",
    "noise-overrides", "pipeline-of-wafers", "pools", "pools-on-parts", "replicas", "slo", "tensor-over-nodes",
    "topology-nodes", "trace",
    "trace-with-format", "weights-streamed",
)  # fmt: skip

quick = settings(
    deadline=None, max_examples=150,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)  # fmt: skip

MB16 = source.MAX_FILE_BYTES - 16

hostile = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.sampled_from([10**6, 10**12, 10**18, 2**63, -(2**63), 0.5, -0.5, 1e-9, 1e300, -1e300, 1e-300]),
    st.text(max_size=8),
    st.sampled_from(
        ["nan", ".inf", "1e999999999", "-1 s", "0 s", "1e300 s", "1e-300 bit", "1e300 %", "16 bit", "4 req/s",
         "x" * 9000, "../../etc/passwd", "/dev/zero", "/etc/passwd", "none", "fcfs", "llama-3.1-8b", "wse3-1",
         "gpu0", "gpu1", "node0", "nvswitch0", "1 ms", "message", "device_down", "link_down", "transfer",
         "\u0000", "\u202e"]
    ),
    st.sampled_from([[], {}, [1], [[]], {"kind": "fixed", "value": 3}, {"kind": "single"}, {"preset": "none"}]),
)  # fmt: skip
like_quantities = st.from_regex(r"[+-]?[0-9_.]{1,12}(e[+-]?[0-9]{1,12})? ?[a-zA-Z/%]{0,6}", fullmatch=True)

Path_ = tuple[str | int, ...]


def places(data: Any, path: Path_ = ()) -> Iterator[Path_]:
    """The paths of all values but the whole."""
    for key, value in data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ():
        yield (*path, key)
        yield from places(value, (*path, key))


def written(stem: str) -> Any:
    """A valid scenario as it stands in its file, its files by absolute paths."""
    text = (VALID / f"{stem}.yaml").read_text().replace("../..", str(VALID.parents[1]))
    return source.parse(text).data


def resolved(stem: str) -> Any:
    """A valid scenario resolved."""
    return yaml.safe_load(dump(load(VALID / f"{stem}.yaml")))


SCENARIOS = [written(stem) for stem in STEMS]
RESOLVED = [resolved(stem) for stem in STEMS]


@st.composite
def edited(draw: st.DrawFn, documents: list[Any]) -> Any:
    """One of the documents with one to three values replaced, removed, doubled or put under another key."""
    data = copy.deepcopy(draw(st.sampled_from(documents)))
    for _ in range(draw(st.integers(1, 3))):
        top = draw(st.sampled_from(sorted(data)) | st.just(None)) if data else None
        choices = [path for path in places(data) if top is None or path[0] == top]
        if not choices:
            break
        *outer, key = draw(st.sampled_from(choices))
        holder = data
        for part in outer:
            holder = holder[part]
        how = draw(st.sampled_from(["replace", "replace", "replace", "remove", "double", "rename"]))
        if how == "replace":
            holder[key] = copy.deepcopy(draw(hostile))
        elif how == "double" and isinstance(holder, list):
            holder.append(copy.deepcopy(holder[key]))
        elif how == "rename" and isinstance(holder, dict):
            holder[draw(st.text(max_size=5))] = holder.pop(key)
        else:
            del holder[key]
    return data


def ends_well(read: Callable[[], Any]) -> Any:
    """What is read, or None when it is refused with problems that all say what and where."""
    try:
        return read()
    except InputError as error:
        assert error.problems
        assert all(problem.found and problem.expected and problem.file for problem in error.problems)
        return None


@quick
@given(st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
@example(b"\xef\xbb\xbfa: 1")
@example(b"a: 1\r\nb: 2\r\n")
@example(b"a\x00: 1")
@example(b"? [a]\n: b")
@example(b"%YAML 1.1\n---\na: 1")
@example(b"%TAG ! tag:x,2000:\n--- !a\n")
@example(b"- &a [*a]")
@example(b"<<: {a: 1}")
@example(b"\xff\xfea\x00")
def test_any_bytes(tmp_path: Path, content: bytes) -> None:
    """Whatever bytes a file holds, it is read or refused."""
    (tmp_path / "f.yaml").write_bytes(content)
    ends_well(lambda: source.read(tmp_path / "f.yaml"))
    ends_well(lambda: load(tmp_path / "f.yaml"))


@quick
@given(st.text("[]{}:,-?&*!|>'\"%@`#ab1 \n\t", max_size=80))
def test_any_yaml(text: str) -> None:
    """Whatever YAML's own signs make, it is read or refused."""
    ends_well(lambda: source.parse(text))


@quick
@given(edited(SCENARIOS))
def test_any_edit_of_a_scenario(tmp_path: Path, data: Any) -> None:
    """A scenario that was edited anyhow is refused with places, or is one that can be written and read back."""
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(data, allow_unicode=True), encoding="utf-8")
    scenario = ends_well(lambda: load(tmp_path / "s.yaml"))
    if scenario is not None:
        (tmp_path / "r.yaml").write_text(dump(scenario), encoding="utf-8")

        assert scenario == load(tmp_path / "r.yaml")


SWEEPS = [
    {
        "scenario": "base.yaml",
        "set": {"workload.requests": 3, "slo": {"ttft": "1 s"}},
        "seeds": 2,
        "design": {
            "variants": {"one": {}, "two": {"deployment.tensor_parallel_size": 2}},
            "grid": {"noise": ["none", "datacenter"], "workload.output_tokens.value": [2, 3]},
        },
        "capacity": {"low": "1 req/s", "high": "9 req/s", "attainment": "90 %", "precision": "50 %"},
        "cost": {"currency": "USD", "per_device_hour": {"h100-sxm": 2.5}},
        "pareto": ["mean_tpot_ms", "capacity_req_per_s"],
    },
    {
        "scenario": "base.yaml",
        "design": {
            "sobol": {
                "points": 4,
                "seed": 1,
                "ranges": {
                    "workload.arrivals.rate": {"low": "1 req/s", "high": "9 req/s", "scale": "log"},
                    "deployment.max_num_seqs": {"low": 1, "high": 9},
                    "noise": {"choices": ["none", "datacenter"]},
                },
            }
        },
    },
]
SWEEP_BASE = """
model: llama-3.1-8b
topology: h100-8
workload:
  arrivals: {kind: poisson, rate: 40 req/s}
  prompt_tokens: {kind: fixed, value: 8}
  output_tokens: {kind: fixed, value: 2}
  requests: 4
"""


@quick
@given(edited(SWEEPS))
def test_any_edit_of_a_sweep(tmp_path: Path, data: Any) -> None:
    """A sweep that was edited anyhow is refused with places, or has points that are scenarios or say why not."""
    (tmp_path / "base.yaml").write_text(SWEEP_BASE)
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(data, allow_unicode=True), encoding="utf-8")
    with pytest.MonkeyPatch.context() as small:
        small.setattr(plan, "MAX_POINTS", 40)
        found = ends_well(lambda: plan.read(str(tmp_path / "s.yaml")))
    if found is not None:
        assert all((point.scenario is None) != (not point.reason) for point in found.points)


@quick
@given(edited(RESOLVED))
def test_any_edit_of_a_resolved_scenario(tmp_path: Path, data: Any) -> None:
    """A resolved scenario that was edited anyhow is refused at the gate, or plays; so far as time lasts."""
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(data, allow_unicode=True), encoding="utf-8")
    scenario = ends_well(lambda: load(tmp_path / "r.yaml"))
    if isinstance(scenario, Scenario) and (scenario.requests_spec().requests or 1) <= 100:
        with contextlib.suppress(OverflowError):  # more than 106 days, which the command line tells
            simulate(scenario)


@quick
@given(st.lists(st.text(max_size=20) | st.just("workload.requests=2"), max_size=3))
@example(["workload.arrivals.kind=closed"])
@example(["deployment={}"])
@example(["=" * 10])
def test_any_settings(changes: list[str]) -> None:
    """Whatever is given to --set, it is used or refused."""
    ends_well(lambda: load(VALID / "arrivals-gamma.yaml", changes))


@quick
@given(st.text(max_size=70) | like_quantities, st.sampled_from(sorted(UNITS)))
def test_any_quantity(text: str, dimension: str) -> None:
    """Whatever text stands for a quantity, it is a finite number or refused in words."""
    try:
        assert abs(parse(text, dimension)) < 1e308
    except UnitError as error:
        assert error.found and error.expected


@quick
@given(st.text(max_size=30))
@example("1e6")
@example("0o7")
@example("=")
@example("<<")
@example("-")
@example("\x85")
@example("1_0.5e1_0")
def test_any_text_survives_a_resolved_file(text: str) -> None:
    """Whatever a text looks like, written into a resolved file it is read back as that text."""
    scenario = load(VALID / "arrivals-single.yaml").model_copy(update={"assumptions": (text,)})
    try:
        again = source.parse(dump(scenario))
    except InputError:
        assert not text.isprintable()  # which no file and no title brings in
        return

    assert (text,) == validate(again, Scenario, from_json=True).assumptions


def test_look_alikes_are_not_read() -> None:
    """Digits and letters of other alphabets are no numbers and no units, and underscores stand between digits."""
    for text in (
        "\uff14 s",
        "\u0664 s",
        "4 \u0455",
        "4 \u217f\u0455",
        "1__0 s",
        "1_ s",
        "_1 s",
        "1_.5 s",
        "\u22124 s",
    ):
        with pytest.raises(UnitError):
            parse(text, "time")
    assert ["\u0664", "1__0", "1_"] == [source.scalar(text) for text in ("\u0664", "1__0", "1_")]


def test_models_take_no_infinities() -> None:
    """No number of any file is infinite."""
    assert Frozen.model_config["allow_inf_nan"] is False


BOMBS: dict[str, Callable[[], str]] = {
    "aliases": lambda: "\n".join(
        ["a0: &a0 [x]", *(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 10))]
    ),
    "lists in lists": lambda: "[" * MB16,
    "mappings in mappings": lambda: "{a: " * (MB16 // 4),
    "block lists": lambda: "- " * (MB16 // 2),
    "keys": lambda: "".join(f"k{number}: 1\n" for number in range(290_000)),
    "too many keys": lambda: "".join(f"k{number}: 1\n" for number in range(1_300_000)),
    "one key again and again": lambda: "a: 1\n" * (MB16 // 5),
    "a long text": lambda: "a: " + "x" * (MB16 - 3),
    "a long key": lambda: "x" * (MB16 - 3) + ": 1",
    "a long comment": lambda: "#" * MB16,
    "spaces": lambda: " " * MB16,
    "documents": lambda: "--- 1\n" * (MB16 // 6),
    "an open quote": lambda: 'a: "' + "x\n" * (MB16 // 2 - 2),
    "a literal": lambda: "a: |\n" + "  x\n" * (MB16 // 4 - 2),
    "numbers": lambda: "a: [" + "1," * 299_000 + "]",
    "devices": lambda: (VALID / "devices-listed.yaml").read_text().replace("gpu6", ", ".join(["gpu0"] * 250_000)),
    "values": lambda: (VALID / "lengths-empirical-values.yaml").read_text().replace("16, 32", "x, " * 250_000),
}

LIMITED = """
import sys, resource
from simcluster.scenario.load import load
from simcluster.files.problems import InputError
try:
    load(sys.argv[1])
except InputError as error:
    print(len(error.problems), max(map(len, map(str, error.problems))))
"""


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_are_refused_in_bounded_memory_and_time(name: str, tmp_path: Path) -> None:
    """No file under 16 MB takes more than 1 GiB, or half a minute of a slow processor, or pages of problems."""
    file = tmp_path / "bomb.yaml"
    file.write_text(BOMBS[name]())
    assert file.stat().st_size <= source.MAX_FILE_BYTES

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_DATA, (2**30, 2**30))
        resource.setrlimit(resource.RLIMIT_CPU, (30, 30))

    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(file)], capture_output=True, text=True, check=False, preexec_fn=limit,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
    )  # fmt: skip

    assert (0, "") == (done.returncode, done.stderr)
    n_problems, longest = map(int, done.stdout.split())
    assert 1 <= n_problems <= source.MAX_PROBLEMS + 1
    assert longest <= source.MAX_SCALAR_CHARACTERS


class TestFilesThatAreNone:
    def test_of_other_kinds(self, tmp_path: Path) -> None:
        """Folders, devices, pipes, loops of links and missing files are told at once; none is waited for."""
        os.mkfifo(tmp_path / "pipe.yaml")
        (tmp_path / "loop.yaml").symlink_to(tmp_path / "loop.yaml")
        (tmp_path / "folder.yaml").mkdir()
        found = {}
        for name in ("pipe.yaml", "loop.yaml", "folder.yaml", "missing.yaml", "/dev/zero", "/dev/stdin"):
            with pytest.raises(InputError) as caught:
                source.read(tmp_path / name)
            found[name] = caught.value.problems[0].found

        assert {
            "pipe.yaml": "is not a regular file", "loop.yaml": "no such file", "folder.yaml": "is a folder",
            "missing.yaml": "no such file", "/dev/zero": "is not a regular file",
        } == {name: text for name, text in found.items() if name != "/dev/stdin"}  # fmt: skip

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
    def test_unreadable(self, tmp_path: Path) -> None:
        """A file that may not be read is told as such."""
        (tmp_path / "f.yaml").write_text("a: 1")
        (tmp_path / "f.yaml").chmod(0)
        with pytest.raises(InputError, match="Permission denied"):
            source.read(tmp_path / "f.yaml")

    def test_that_grow_while_they_are_read(self) -> None:
        """A file without a size, such as those of /proc, is read up to the limit."""
        if not Path("/proc/self/maps").exists():
            pytest.skip("this system has no /proc")

        assert source.read_text("/proc/self/status", max_bytes=2**20)
        with pytest.raises(InputError, match="at most 10 bytes"):
            source.read_text("/proc/self/status", max_bytes=10)


@pytest.mark.parametrize(
    ("text", "line", "found"),
    [
        ("a: 1\nb: x\0y\n", 2, "the character U+0000"),
        ("a: 1\n\nb: \x1b[31m\n", 3, "the character U+001B"),
        ("a: \ufffe", 1, "the character U+FFFE"),
        ("a: 1\n&x b: 1", 2, "anchor '&x'"),
        ("a: 1\n!!str b: 1", 2, "tag 'tag:yaml.org,2002:str'"),
        ("*x : 1", 1, "alias '*x'"),
    ],
)
def test_what_is_not_plain_has_a_line(text: str, line: int, found: str) -> None:
    """Control characters, and signs of YAML that are not read, also on keys, are told with their line."""
    with pytest.raises(InputError) as caught:
        source.parse(text, "f.yaml")

    assert (line, found) == (caught.value.problems[0].line, caught.value.problems[0].found)


@pytest.mark.parametrize("ending", ["\r\n", "\r", "\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_line_endings_and_byte_order_marks_do_not_matter(ending: str, mark: str, tmp_path: Path) -> None:
    """A scenario saved by any editor is the same scenario."""
    text = (VALID / "arrivals-single.yaml").read_text()
    (tmp_path / "arrivals-single.yaml").write_bytes((mark + text.replace("\n", ending)).encode())

    assert load(VALID / "arrivals-single.yaml") == load(tmp_path / "arrivals-single.yaml")
