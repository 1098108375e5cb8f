"""Trace files: every format, and everything that can be wrong with one."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simcluster.files.problems import InputError
from simcluster.workload import lines, traces
from simcluster.workload.formats import FORMATS, FormatName
from simcluster.workload.lines import MAX_LINE_BYTES
from simcluster.workload.traces import Trace, read_trace

FILES = Path(__file__).parents[2] / "files" / "traces"
MS = 10**9
HEADER = "arrival_time_ns,input_toks,output_toks\n"


def write(folder: Path, text: str | bytes, name: str = "trace.csv") -> Path:
    """A trace file of the test's own."""
    file = folder / name
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    return file


def fault(file: Path, name: FormatName | str = "auto", limit: int | None = None) -> str:
    """The one thing that is wrong with a file."""
    with pytest.raises(InputError) as caught:
        read_trace(file, name, limit)  # type: ignore[arg-type]
    (problem,) = caught.value.problems
    return str(problem)


def rows(trace: Trace) -> list[tuple[int, int, int]]:
    """Ticks, prompt and output tokens, row by row."""
    return list(
        zip(trace.arrival_ticks.tolist(), trace.prompt_tokens.tolist(), trace.output_tokens.tolist(), strict=True)
    )


@pytest.mark.parametrize(
    ("file", "name", "expected"),
    [
        ("azure-2023.csv", "azure", [(0, 100, 10), (100 * MS + 10**5, 200, 20), (1100 * MS, 300, 30)]),
        ("azure-2024.csv", "azure", [(0, 2162, 5), (990_070_000_000, 2399, 6), (1000 * MS, 76, 15)]),
        ("burstgpt-1.csv", "burstgpt", [(0, 472, 18), (113_000 * MS, 417, 276)]),
        ("burstgpt-3.csv", "burstgpt", [(0, 472, 18), (112_750 * MS, 417, 276)]),
        ("mooncake.jsonl", "mooncake", [(0, 1025, 500), (0, 512, 3), (3000 * MS, 700, 40), (5999 * MS, 12, 7)]),
        ("vllm.jsonl", "vllm", [(0, 17, 4), (1500 * MS + 2, 32, 5)]),
        ("lengths.csv", "lengths", [(0, 2358, 531), (301_012_143_000, 1034, 769)]),
        ("lengths.jsonl", "lengths", [(0, 2358, 531), (301_012_143_000, 1034, 769)]),
    ],
)
def test_formats(file: str, name: FormatName, expected: list[tuple[int, int, int]]) -> None:
    """Each format is recognised by its columns and read to the tick, with the first row at 0."""
    trace = read_trace(FILES / file)
    assert (name, expected) == (trace.format, rows(trace))
    assert expected == rows(read_trace(FILES / file, name))


@pytest.mark.parametrize("file", ["burstgpt-1.csv", "burstgpt-3.csv"])
def test_failed_requests_are_counted(file: str) -> None:
    """BurstGPT's rows without response tokens are failures: left out and counted, never empty successes."""
    assert (("no output tokens (failed request)", 1),) == read_trace(FILES / file).dropped


def test_packed(tmp_path: Path) -> None:
    """A file packed with gzip reads like the file itself."""
    packed = tmp_path / "azure.csv.gz"
    packed.write_bytes(gzip.compress((FILES / "azure-2023.csv").read_bytes()))
    assert rows(read_trace(FILES / "azure-2023.csv")) == rows(read_trace(packed))


@pytest.mark.parametrize(
    "content",
    [b"not packed", gzip.compress(b"x" * 10_000, mtime=0)[:-12], gzip.compress(b"abc", mtime=0)[:12]],
    ids=["not packed", "cut at the end", "cut at the start"],
)
def test_damaged_pack(tmp_path: Path, content: bytes) -> None:
    """A damaged gzip file is an input error that names the file."""
    assert "trace.csv.gz" in fault(write(tmp_path, content, "trace.csv.gz"))


def test_other_spellings(tmp_path: Path) -> None:
    """A byte-order mark, Windows line ends, quotes, blank lines, spaces and other column orders change nothing."""
    text = '\ufeff"input_toks", output_toks,more,arrival_time_ns\r\n\r\n"5", 6,"a,b",7\r\n8.0,9,,1e1\r\n'
    assert [(0, 5, 6), (3000, 8, 9)] == rows(read_trace(write(tmp_path, text)))


def test_limit_counts_usable_rows() -> None:
    """The limit is on usable rows, in the order of the file."""
    trace = read_trace(FILES / "burstgpt-1.csv", limit=2)
    assert [472, 417] == trace.prompt_tokens.tolist()
    assert [472] == read_trace(FILES / "burstgpt-1.csv", limit=1).prompt_tokens.tolist()


def test_reading_stops_at_the_limit(tmp_path: Path) -> None:
    """What follows the last row requested is not read."""
    file = write(tmp_path, HEADER + "1,2,3\n" + "bad\n" * 5)
    assert () == read_trace(file, limit=1).dropped


BAD_ROWS = {
    "malformed row": [
        "1,2", "1,2,3,4", "a,2,3", "1,,3", "1,2.5,3", "1,2,True", '"1,2,3', "1,1_0x,3", "1,2,0x10",
        "1e99999999999999999999,2,3", "1,²,3",
    ],
    "no output tokens (failed request)": ["1,2,0", "1,0,0", "1,2,0.0", "1,2,-0"],
    "no prompt tokens": ["1,0,3"],
    "negative token count": ["1,-2,3", "1,2,-1e9"],
    "more than 100,000,000 tokens": ["1,2,100000001", "1,1e999999,3", "1," + "9" * 5000 + ",3"],
    "negative timestamp": ["-1,2,3", "-0.5,2,3"],
    "timestamp out of range": ["1e30,2,3", "9" * 40 + ",2,3"],
    "a number that is not finite": ["nan,2,3", "inf,2,3", "-Infinity,2,3", "1,NaN,3", "sNaN,2,3"],
    "more than 100 days from another row": ["8640000000000001,2,3"],
    "line that is not UTF-8": ["1,2,3\udcff"],
    "line longer than 1,048,576 bytes": ["1,2," + "3" * MAX_LINE_BYTES, "x" * (3 * MAX_LINE_BYTES)],
}  # fmt: skip


@pytest.mark.parametrize(("reason", "row"), [(reason, row) for reason, bad in BAD_ROWS.items() for row in bad])
def test_bad_rows_are_counted(tmp_path: Path, reason: str, row: str) -> None:
    """A bad row is left out and counted under its reason; the rows around it are used."""
    text = HEADER + "0,5,5\n" + row + "\n7,6,6"
    trace = read_trace(write(tmp_path, text.encode("utf-8", "surrogateescape")))
    assert ([(0, 5, 5), (7000, 6, 6)], ((reason, 1),)) == (rows(trace), trace.dropped)


BAD_OBJECTS = {
    "malformed row": [
        "{", "[1]", "5", "{}", '{"timestamp": 1, "input_length": 2}', "[" * 100_000,
        '{"timestamp": true, "input_length": 2, "output_length": 3}',
        '{"timestamp": null, "input_length": 2, "output_length": 3}',
        '{"timestamp": 1, "input_length": [2], "output_length": 3}',
        '{"timestamp": 1, "input_length": 2.5, "output_length": 3}',
        '{"timestamp": ' + "9" * 5000 + ', "input_length": 2, "output_length": 3}',
    ],
    "a number that is not finite": [
        '{"timestamp": NaN, "input_length": 2, "output_length": 3}',
        '{"timestamp": 1, "input_length": Infinity, "output_length": 3}',
    ],
    "timestamp out of range": ['{"timestamp": 1e300, "input_length": 2, "output_length": 3}'],
}  # fmt: skip


@pytest.mark.parametrize(("reason", "row"), [(reason, row) for reason, bad in BAD_OBJECTS.items() for row in bad])
def test_bad_objects_are_counted(tmp_path: Path, reason: str, row: str) -> None:
    """A bad JSON line is left out and counted under its reason; the lines around it are used."""
    good = (FILES / "mooncake.jsonl").read_text().splitlines()
    trace = read_trace(write(tmp_path, "\n".join([*good[:2], row, *good[2:]])))
    assert (4, ((reason, 1),)) == (len(trace.arrival_ticks), trace.dropped)


@pytest.mark.parametrize(
    "stamp",
    ["2023-13-16 18:17:03", "2023-11-16", "16/11/2023 18:17", "2023-11-16 25:00:00", "2023-11-16 18:17:03+99:00", "5",
     "2023-11-16 18:17:03.1234567890123", "२०२३-11-16 18:17:03", "0000-01-01 00:00:00"],
)  # fmt: skip
def test_bad_stamps(tmp_path: Path, stamp: str) -> None:
    """A date that does not exist or is written otherwise is a malformed row."""
    good = (FILES / "azure-2023.csv").read_text()
    trace = read_trace(write(tmp_path, good + f"{stamp},5,5\n"))
    assert (3, (("malformed row", 1),)) == (len(trace.arrival_ticks), trace.dropped)


def test_stamps_of_any_zone_and_precision(tmp_path: Path) -> None:
    """One moment written in several zones and with several numbers of digits is one tick."""
    stamps = [
        "2024-02-29 23:30:00", "2024-02-29T23:30:00Z", "2024-03-01 01:00:00.000+01:30", "2024-02-29 18:30:00.0-0500",
        "2024-02-29 23:30:00.000000000000+00:00",
    ]  # fmt: skip
    text = "TIMESTAMP,ContextTokens,GeneratedTokens\n" + "".join(f"{stamp},1,1\n" for stamp in stamps)
    assert [0] * len(stamps) == read_trace(write(tmp_path, text)).arrival_ticks.tolist()


def test_rows_may_go_back(tmp_path: Path) -> None:
    """The earliest row is 0 wherever it stands, and rows keep the file's order."""
    assert [7000, 0, 2000] == read_trace(write(tmp_path, HEADER + "12,1,1\n5,1,1\n7,1,1\n")).arrival_ticks.tolist()


def test_span_is_bounded_both_ways(tmp_path: Path) -> None:
    """Rows 60 days before and 60 days after the first do not fit together: the second is left out."""
    day = 86_400 * 10**9
    file = write(tmp_path, HEADER + f"{70 * day},1,1\n{10 * day},1,1\n{130 * day},1,1\n")
    trace = read_trace(file)
    assert ([60 * day * 1000, 0], 1) == (trace.arrival_ticks.tolist(), len(trace.dropped))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "trace.csv: empty file; expected the columns TIMESTAMP"),
        ("\n  \n", "trace.csv: empty file"),
        ("\na,b\n1,2\n", "trace.csv:2: unknown columns 'a', 'b'; expected the columns TIMESTAMP"),
        ("a\x1b[31m,b\n", "trace.csv:1: unknown columns 'a?[31m', 'b'"),
        ('"a\n', "trace.csv:1: a header that is not CSV"),
        ("{a}\n", "trace.csv:1: a first line that is not a JSON object"),
        (b"\xff\xfe", "trace.csv:1: line that is not UTF-8"),
        (HEADER, "trace.csv: no rows; no row of the file is usable as lengths"),
        (HEADER + "\n1,2,0\nx\n", "trace.csv:3: no output tokens (failed request); no row of the file is usable"),
        ("output_toks," + HEADER + "1,1,1,1\n", "trace.csv:1: column 'output_toks' appears more than once"),
        ("timestamp,input_length,output_length\n1,2,3\n", "trace.csv:1: timestamps that may be milliseconds"),
        (
            '{"timestamp": 1, "input_length": 16, "output_length": 3, "hash_ids": [1]}',
            "milliseconds (mooncake) or sec",
        ),
    ],
)
def test_unusable_files(tmp_path: Path, text: str | bytes, expected: str) -> None:
    """A file that is not a trace is refused with its line and what was expected."""
    assert expected in fault(write(tmp_path, text))


def test_named_format_needs_its_columns() -> None:
    """A file that lacks the columns of the named format is refused."""
    assert "lengths.csv:1: no column 'TIMESTAMP'; expected the columns" in fault(FILES / "lengths.csv", "azure")


def test_missing_file(tmp_path: Path) -> None:
    """A missing file and a folder are input errors."""
    assert "no such file" in fault(tmp_path / "none.csv")
    assert "is a folder" in fault(tmp_path)


def test_too_many_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """A trace with more usable rows than can be held is refused unless the scenario says how many to use."""
    monkeypatch.setattr(traces, "MAX_REQUESTS", 2)
    assert "azure-2023.csv:4: more than 2 usable rows; set workload.requests" in fault(FILES / "azure-2023.csv")
    assert 2 == len(read_trace(FILES / "azure-2023.csv", limit=2).arrival_ticks)


def test_too_many_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading stops at the limit of bytes, unless enough rows came before it."""
    monkeypatch.setattr(lines, "MAX_FILE_BYTES", 100)
    assert "azure-2023.csv:3: more than 100 bytes of lines" in fault(FILES / "azure-2023.csv")
    assert 1 == len(read_trace(FILES / "azure-2023.csv", limit=1).arrival_ticks)


def test_too_many_bytes_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line without end is given up at the limit of bytes."""
    monkeypatch.setattr(lines, "MAX_FILE_BYTES", 2 * MAX_LINE_BYTES)
    file = write(tmp_path, HEADER + "0,1,1\n" + "x" * (4 * MAX_LINE_BYTES))
    assert "trace.csv:3: more than 2,097,152 bytes of lines" in fault(file)


def test_clock_of_ambiguous_file_can_be_named(tmp_path: Path) -> None:
    """Without hashed blocks the scenario says whether timestamps are milliseconds or seconds."""
    file = write(tmp_path, "timestamp,input_length,output_length\n1,2,3\n3,2,3\n")
    assert [0, 2 * MS] == read_trace(file, "mooncake").arrival_ticks.tolist()
    assert [0, 2000 * MS] == read_trace(file, "vllm").arrival_ticks.tolist()


@given(more=st.lists(st.binary(max_size=40), max_size=8))
def test_any_bytes(tmp_path_factory: pytest.TempPathFactory, more: list[bytes]) -> None:
    """Whatever follows a good row, the file is read and every other line that is not blank is used or counted."""
    folder = tmp_path_factory.mktemp("any")
    trace = read_trace(write(folder, b"\n".join([HEADER.encode() + b"0,1,1", *more])))
    n_lines = sum(1 for line in b"\n".join(more).split(b"\n") if line.decode("utf-8", "replace").strip())
    assert 1 + n_lines == len(trace.arrival_ticks) + sum(count for _, count in trace.dropped)


@given(st.lists(st.tuples(st.integers(0, 10**15), st.integers(1, 10**8), st.integers(1, 10**8)), min_size=1))
def test_round_trip(tmp_path_factory: pytest.TempPathFactory, written: list[tuple[int, int, int]]) -> None:
    """Rows in nanoseconds come back as written, as CSV and as JSON."""
    folder = tmp_path_factory.mktemp("trip")
    names = FORMATS["lengths"].columns
    as_csv = write(folder, HEADER + "".join(f"{a},{b},{c}\n" for a, b, c in written))
    as_json = write(folder, "\n".join(json.dumps(dict(zip(names, row, strict=True))) for row in written), "t.jsonl")
    first = min(row[0] for row in written)
    expected = [((a - first) * 1000, b, c) for a, b, c in written]
    assert expected == rows(read_trace(as_csv)) == rows(read_trace(as_json))


@pytest.mark.parametrize(
    ("file", "n_rows", "rate_req_per_s", "cv", "prompt_mean", "prompt_max", "output_mean"),
    [
        ("azure2023/AzureLLMInferenceTrace_code.csv", 8_819, 2.57, 13.15, 2_048, 7_437, 27.9),
        ("azure2023/AzureLLMInferenceTrace_conv.csv", 19_366, 5.53, 1.09, 1_155, 14_050, 211),
        ("mooncake/conversation_trace.jsonl", 12_031, 3.40, 3.03, 12_035, 126_195, 343),
    ],
)
def test_public_traces(
    shared: Path, file: str, n_rows: int, rate_req_per_s: float, cv: float, prompt_mean: float, prompt_max: int,
    output_mean: float,
) -> None:  # fmt: skip
    """Public traces have their known numbers of rows, rates, variation and lengths, to the digits quoted."""
    trace = read_trace(shared / "traces" / file)
    gaps_s = np.diff(trace.arrival_ticks) / 1e12
    assert (n_rows, ()) == (len(trace.arrival_ticks), trace.dropped)
    assert pytest.approx(rate_req_per_s, abs=0.005) == n_rows / (trace.arrival_ticks.max() / 1e12)
    assert pytest.approx(cv, abs=0.005) == gaps_s.std() / gaps_s.mean()
    assert pytest.approx(prompt_mean, abs=0.5) == trace.prompt_tokens.mean()
    assert prompt_max == trace.prompt_tokens.max()
    assert pytest.approx(output_mean, abs=0.5) == trace.output_tokens.mean()


def test_public_samples(shared: Path) -> None:
    """The BurstGPT sample keeps 51 of 54 rows, three being failures; the ShareGPT lengths keep all 300."""
    burst = read_trace(shared / "traces/burstgpt/burstgpt_sample_fixture.csv")
    lengths = read_trace(shared / "traces/sharegpt_lengths/sharegpt_llama31_8b_300_sps10_lengths.csv")
    assert (51, 3, 300) == (len(burst.arrival_ticks), burst.dropped[0][1], len(lengths.arrival_ticks))
