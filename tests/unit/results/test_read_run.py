"""Run folders read back: what is in them, and what is refused as no run."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from made_runs import write_run

from simcluster.files.problems import InputError
from simcluster.results.read_run import ROWS_PER_BLOCK, read, read_runs
from simcluster.trace.columns import COMPONENTS, TOKEN_COLUMNS


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run of two requests, of three tokens and of one."""
    return write_run(tmp_path / "run", [[10, 2, 4], [20]], name="a")


def test_reads_back_summary_and_requests(folder: Path) -> None:
    """Summary and request table are those that were written."""
    run = read(folder)
    assert "a" == run.summary["scenario"]
    assert ["finished", "finished"] == run.requests["status"]
    assert [3, 1] == run.requests["tokens_emitted"].tolist()
    assert [10 * 10**9, 20 * 10**9] == run.requests["first_token_at_ticks"].tolist()
    assert 4 == run.n_tokens


def test_reads_all_token_columns_by_default(folder: Path) -> None:
    """Every token's components sum to its latency, in order of emission."""
    (block,) = read(folder).tokens()
    assert list(TOKEN_COLUMNS) == list(block)
    sums = sum(block[f"{name}_ticks"] for name in COMPONENTS)
    assert [10 * 10**9, 2 * 10**9, 4 * 10**9, 20 * 10**9] == np.asarray(sums).tolist()


def test_reads_only_the_columns_asked_for(folder: Path) -> None:
    """A block has the columns that were asked for, in that order."""
    (block,) = read(folder).tokens(("step", "request"))
    assert ["step", "request"] == list(block)
    assert np.int64 == block["step"].dtype


def test_tokens_come_in_bounded_blocks(tmp_path: Path) -> None:
    """No block has more than ROWS_PER_BLOCK rows, and all rows come, in order."""
    n_tokens = ROWS_PER_BLOCK + 10
    run = read(write_run(tmp_path / "run", [[0.001] * n_tokens]))
    blocks = [block["token"] for block in run.tokens(("token",))]
    assert max(map(len, blocks)) <= ROWS_PER_BLOCK
    assert np.array_equal(np.arange(n_tokens), np.concatenate(blocks))


def test_a_run_without_tokens_has_no_block(tmp_path: Path) -> None:
    """An empty token table gives no block."""
    run = read(write_run(tmp_path / "run", [[]]))
    assert [] == list(run.tokens())
    assert ["unfinished"] == run.requests["status"]


def test_what_is_not_a_folder_is_not_a_run(tmp_path: Path) -> None:
    """A missing place and a file have messages of their own."""
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match=r"nowhere: no such folder; expected a folder that"):
        read(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"file: is a file; expected a folder that"):
        read(tmp_path / "file")


def test_another_folder_is_not_a_run(tmp_path: Path) -> None:
    """A folder with none of a run's files is refused."""
    (tmp_path / "holiday.txt").write_text("x")
    with pytest.raises(InputError, match="not a run folder"):
        read(tmp_path)


def test_a_folder_of_runs_names_one(folder: Path) -> None:
    """A folder of run folders is refused, and the first of them is named."""
    with pytest.raises(InputError, match=f"not a run folder; did you mean '{folder}' in it"):
        read(folder.parent)


def test_an_unfinished_run_is_refused(folder: Path) -> None:
    """What a killed run leaves is recognised by its name."""
    partial = folder.with_name("run.incomplete")
    folder.rename(partial)
    with pytest.raises(InputError, match="an unfinished run; run the scenario again"):
        read(partial)


def test_missing_files_are_named(folder: Path) -> None:
    """A run that lost files is incomplete, and all of them are named."""
    (folder / "tokens.parquet").unlink()
    (folder / "summary.json").unlink()
    with pytest.raises(InputError, match=r"an incomplete run: no summary.json, no tokens.parquet"):
        read(folder)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("{", "not JSON"),
        ("[1]", "not a JSON object"),
        ("[" * 100_000, "not JSON"),
        (b"\xff".decode("latin-1"), "not JSON"),
    ],
)
def test_a_summary_that_is_not_json_is_refused(folder: Path, text: str, found: str) -> None:
    """A summary that cannot be read is an input error with its file."""
    (folder / "summary.json").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=rf"summary\.json: {found}"):
        read(folder)


def test_all_faults_of_a_summary_are_reported(folder: Path) -> None:
    """Missing keys, values of another kind and other components are reported at once, each by its key."""
    path = folder / "summary.json"
    summary = json.loads(path.read_text())
    del summary["noise"]
    summary |= {"seed": "one", "mean_itl_ms": float("nan"), "assumptions": [1]}
    summary["itl_shares"] = {"compute": 1.0}
    path.write_text(json.dumps(summary))
    with pytest.raises(InputError) as caught:
        read(folder)
    assert ["assumptions", "itl_shares", "mean_itl_ms", "noise", "seed"] == [p.path for p in caught.value.problems]
    assert "summary.json: noise: missing; expected a run of this version" in str(caught.value)


def test_a_share_may_be_below_zero(folder: Path) -> None:
    """Tokens that follow a paused one come early, so the stall of gaps, and its share of them, may be negative."""
    path = folder / "summary.json"
    summary = json.loads(path.read_text())
    shares = summary["itl_shares"]
    summary["itl_shares"] = shares | {"stall": shares["stall"] - 0.01, "queue": shares["queue"] + 0.01}
    path.write_text(json.dumps(summary))

    assert summary["itl_shares"] == read(folder).summary["itl_shares"]


def test_another_clock_is_refused(folder: Path) -> None:
    """A run whose ticks are not picoseconds is refused."""
    path = folder / "provenance.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"ticks_per_s": 10**9}))
    with pytest.raises(InputError, match="ticks_per_s: 1000000000 ticks a second; expected 1000000000000"):
        read(folder)


def _without_stall(table: pa.Table) -> pa.Table:
    return table.drop_columns(["stall_ticks"])


def _with_more(table: pa.Table) -> pa.Table:
    return table.append_column("colour", table["token"])


def _as_floats(table: pa.Table) -> pa.Table:
    place = table.column_names.index("step")
    return table.set_column(place, "step", table["step"].cast(pa.float64()))


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (_without_stall, "stall_ticks: no such column; expected a run of this version"),
        (_with_more, "colour: an unknown column"),
        (_as_floats, "step: of type double; expected int64"),
    ],
)
def test_another_token_schema_is_refused(folder: Path, change: Callable[[pa.Table], pa.Table], found: str) -> None:
    """Columns that lack, are unknown or are of another type are reported by name."""
    path = folder / "tokens.parquet"
    pq.write_table(change(pq.read_table(path)), path)
    with pytest.raises(InputError, match=rf"tokens\.parquet: {found}"):
        read(folder)


def test_another_request_schema_is_refused(folder: Path) -> None:
    """The request table's columns are held to those of this version too."""
    path = folder / "requests.parquet"
    pq.write_table(pq.read_table(path).drop_columns(["status"]), path)
    with pytest.raises(InputError, match=r"requests\.parquet: status: no such column"):
        read(folder)


def test_an_unknown_status_is_refused(folder: Path) -> None:
    """A status that this version does not write is reported."""
    path = folder / "requests.parquet"
    table = pq.read_table(path)
    place = table.column_names.index("status")
    pq.write_table(table.set_column(place, "status", pa.array(["lost", "finished"])), path)
    with pytest.raises(InputError, match="status 'lost'"):
        read(folder)


@pytest.mark.parametrize("name", ["tokens.parquet", "requests.parquet"])
def test_a_file_that_is_not_parquet_is_refused(folder: Path, name: str) -> None:
    """A damaged table is an input error with its file, not pyarrow's."""
    (folder / name).write_bytes(b"PAR1 but not really")
    with pytest.raises(InputError, match=f"{name}: unreadable"):
        read(folder)


def test_damage_inside_the_tokens_is_reported_when_it_is_reached(tmp_path: Path) -> None:
    """Pages that do not decompress are an input error too."""
    folder = write_run(tmp_path / "run", [[1.0 + n / 7 for n in range(5000)]])
    path = folder / "tokens.parquet"
    data = bytearray(path.read_bytes())
    data[100:8000] = b"\x55" * 7900
    path.write_bytes(bytes(data))
    run = read(folder)
    with pytest.raises(InputError, match=r"tokens\.parquet: unreadable"):
        list(run.tokens())


def test_empty_cells_are_refused(folder: Path) -> None:
    """A table with empty cells is not read as if they were numbers."""
    path = folder / "requests.parquet"
    table = pq.read_table(path)
    place = table.column_names.index("preemptions")
    pq.write_table(table.set_column(place, "preemptions", pa.array([None, 1], pa.int64())), path)
    with pytest.raises(InputError, match=r"requests\.parquet: unreadable"):
        read(folder)


def test_files_of_different_runs_are_not_mixed(folder: Path) -> None:
    """A table whose trace digest is not the summary's is refused."""
    path = folder / "summary.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"trace_digest": "e" * 64}))
    with pytest.raises(InputError, match=r"a table of another run \(trace digest dddd"):
        read(folder)


def test_faults_of_several_runs_are_reported_at_once(folder: Path, tmp_path: Path) -> None:
    """Every bad folder is reported; good ones are read in the order given."""
    other = write_run(tmp_path / "other", [[1]], name="b")
    assert ["b", "a"] == [run.summary["scenario"] for run in read_runs([other, folder])]
    with pytest.raises(InputError) as caught:
        read_runs([tmp_path / "x", folder, tmp_path / "y"])
    assert [str(tmp_path / "x"), str(tmp_path / "y")] == [problem.file for problem in caught.value.problems]
