"""Run folders read back: summary and request table, scenario and planner once, tokens in bounded memory."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from simcluster.files import source
from simcluster.files.problems import InputError, Problem, all_or_problems
from simcluster.files.source import read_text
from simcluster.numerics.ticks import TICKS_PER_S
from simcluster.plans.planner import Planner
from simcluster.results.run import INCOMPLETE, RESOLVED, RUN_FORMAT
from simcluster.results.summary_fields import OF_EVERY_RUN, summary_faults
from simcluster.scenario.reread import as_recorded, require_usable
from simcluster.scenario.resolved import Scenario
from simcluster.trace.columns import REQUEST_COLUMNS, STATUSES, TOKEN_COLUMNS
from simcluster.workload.traces import MAX_REQUESTS

Columns = dict[str, npt.NDArray[np.int64]]

REPLICATIONS = "replications.json"
"""The file that makes a folder of run folders one of replications."""

FILES = ("summary.json", "provenance.json", "requests.parquet", "tokens.parquet")
"""The files that are read; a run without one of them is incomplete."""

TEXT_COLUMNS = ("status", "reason")
ROWS_PER_BLOCK = 2**17

_A_RUN = "expected a folder that `simcluster replay` wrote"
_SAME_SCHEMA = "expected a run of this version of simcluster; run the scenario again"


@dataclass(frozen=True, eq=False)
class RunFolder:
    """A complete run on disk; the token table stays there, scenario and planner are made once when first needed."""

    folder: Path
    summary: dict[str, Any]
    provenance: dict[str, Any]
    requests: dict[str, Any]
    """The request table: int64 arrays of `trace.REQUEST_COLUMNS`, and lists of text `status` and `reason`."""
    n_tokens: int
    """Rows of the token table."""

    @property
    def end_ticks(self) -> int:
        """When its last token was emitted; 0 without tokens."""
        return int(self.requests["last_token_at_ticks"].max(initial=0))

    def recorded_scenario(self) -> Scenario:
        """
        The scenario that was simulated, as the folder has it; read once.

        Raises:
            InputError: the resolved scenario does not exist, or is not the one that was simulated.
        """
        return self._read_scenario[1]

    def scenario(self) -> Scenario:
        """
        The scenario that was simulated, to be simulated again: the files of its workload exist too.

        Raises:
            InputError: as `recorded_scenario`; a file does not exist or has changed.
        """
        return self._usable_scenario

    def planner(self) -> Planner:
        """
        The plans of the scenario's replicas; built once.

        Raises:
            InputError: as `scenario`.
        """
        return self._planner

    @cached_property
    def _read_scenario(self) -> tuple[source.Document, Scenario]:
        path = self.folder / RESOLVED
        if not path.is_file():
            raise _fail(self.folder, f"an incomplete run: no {RESOLVED}", "run the scenario again")
        document = source.read(path)
        scenario = as_recorded(document)
        found, expected = scenario.digest(), self.summary["scenario_digest"]
        if found != expected:
            raise _fail(
                path, f"another scenario (digest {found[:16]})", f"expected {expected[:16]}, as in summary.json"
            )
        return document, scenario

    @cached_property
    def _usable_scenario(self) -> Scenario:
        require_usable(*self._read_scenario)
        return self._read_scenario[1]

    @cached_property
    def _planner(self) -> Planner:
        return Planner(self._usable_scenario)

    def tokens(self, columns: Sequence[str] = TOKEN_COLUMNS) -> Iterator[Columns]:
        """
        The token table in blocks of at most `ROWS_PER_BLOCK` rows, in the order of emission.

        Raises:
            InputError: the file is damaged.
        """
        import pyarrow as pa

        path = self.folder / "tokens.parquet"
        try:
            with _parquet(path) as file:
                for batch in file.iter_batches(batch_size=ROWS_PER_BLOCK, columns=list(columns)):
                    if batch.num_rows:
                        yield {name: _integers(batch.column(name)) for name in columns}
        except (pa.ArrowException, OSError) as error:
            raise _fail(path, f"unreadable: {_first_line(error)}", _A_RUN) from None


def read(folder: str | Path) -> RunFolder:
    """
    Read a run folder.

    Raises:
        InputError: it is not a run folder, is unfinished or of another schema, or holds files of different runs.
    """
    folder = Path(folder)
    _require_complete(folder)
    summary, provenance = _json(folder / "summary.json"), _json(folder / "provenance.json")
    _require_format(folder, provenance)
    faults = summary_faults(summary, OF_EVERY_RUN)
    problems = [Problem(str(folder / "summary.json"), 0, *fault, _SAME_SCHEMA) for fault in faults]
    if provenance.get("ticks_per_s") != TICKS_PER_S:
        found = f"{str(provenance.get('ticks_per_s'))[:40]} ticks a second"
        problems.append(Problem(str(folder / "provenance.json"), 0, "ticks_per_s", found, f"expected {TICKS_PER_S}"))
    if problems:
        raise InputError(problems)
    n_tokens = _require_tokens(folder / "tokens.parquet", summary["trace_digest"])
    requests = _requests(folder / "requests.parquet", summary["trace_digest"])
    return RunFolder(folder, summary, provenance, requests, n_tokens)


def _require_format(folder: Path, provenance: dict[str, Any]) -> None:
    """Refuse a run of another version before anything else of it is judged, and say how to renew it."""
    if provenance.get("format") == RUN_FORMAT:
        return
    name, version = provenance.get("scenario"), str(provenance.get("format"))[:40]
    again = f"run `simcluster replay {name[:80]}` again" if isinstance(name, str) else "run the scenario again"
    found, place = f"written by another version (format {version})", str(folder / "provenance.json")
    raise InputError([Problem(place, 0, "format", found, f"this one has {RUN_FORMAT}: {again}")])


def read_runs(folders: Iterable[str | Path]) -> list[RunFolder]:
    """
    Read several run folders.

    Raises:
        InputError: with the faults of all of them.
    """
    return all_or_problems(read, folders)


def require_scenarios(runs: Iterable[RunFolder]) -> None:
    """
    Require that each run folder holds the scenario that was simulated.

    Raises:
        InputError: with the faults of all of them.
    """
    all_or_problems(RunFolder.recorded_scenario, runs)


def assumes_zero_spread(summary: dict[str, Any]) -> bool:
    """Whether a run's spread lacks noise that was never measured: its devices are assumed to have none."""
    return any("zero spread is assumed" in text for text in summary["assumptions"])


def _require_complete(folder: Path) -> None:
    if not folder.is_dir():
        found = "is a file" if folder.exists() else "no such folder"
        raise _fail(folder, found, _A_RUN)
    if folder.name.endswith(INCOMPLETE):
        raise _fail(folder, "an unfinished run", "run the scenario again")
    if (folder / REPLICATIONS).is_file():
        raise _fail(folder, "a folder of replications", "expected one of the run folders in it")
    missing = [name for name in FILES if not (folder / name).is_file()]
    if len(missing) == len(FILES):
        inside = sorted(path.parent for path in folder.glob("*/provenance.json"))
        raise _fail(folder, "not a run folder", f"did you mean '{inside[0]}' in it?" if inside else _A_RUN)
    if missing:
        raise _fail(folder, f"an incomplete run: no {', no '.join(missing)}", "run the scenario again")


def _json(path: Path) -> dict[str, Any]:
    text = read_text(path)
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _fail(path, f"not JSON: {_first_line(error)}", _A_RUN) from None
    if not isinstance(data, dict):
        raise _fail(path, "not a JSON object", _A_RUN)
    return data


def _require_tokens(path: Path, digest: str) -> int:
    """Check that the token table has this version's columns; returns its number of rows."""
    import pyarrow as pa

    try:
        with _parquet(path) as file:
            _require_columns(path, file.schema_arrow, TOKEN_COLUMNS, ())
            _require_digest(path, file.schema_arrow.metadata, file.metadata.metadata, digest)
            return int(file.metadata.num_rows)
    except (pa.ArrowException, OSError) as error:
        raise _fail(path, f"unreadable: {_first_line(error)}", _A_RUN) from None


def _requests(path: Path, digest: str) -> dict[str, Any]:
    import pyarrow as pa

    try:
        with _parquet(path) as file:
            _require_columns(path, file.schema_arrow, REQUEST_COLUMNS, TEXT_COLUMNS)
            _require_digest(path, file.schema_arrow.metadata, file.metadata.metadata, digest)
            if file.metadata.num_rows > MAX_REQUESTS:
                raise _fail(path, f"{file.metadata.num_rows:,} requests", f"at most {MAX_REQUESTS:,} are read")
            read_in = file.read()
            table: dict[str, Any] = {name: _integers(read_in[name].combine_chunks()) for name in REQUEST_COLUMNS}
            table |= {name: read_in[name].to_pylist() for name in TEXT_COLUMNS}
    except (pa.ArrowException, OSError) as error:
        raise _fail(path, f"unreadable: {_first_line(error)}", _A_RUN) from None
    unknown = set(table["status"]) - set(STATUSES)
    if unknown:
        raise _fail(path, f"status {min(map(str, unknown))[:40]!r}", _SAME_SCHEMA)
    return table


def _integers(column: Any) -> npt.NDArray[np.int64]:
    """
    A column of int64 over the same memory; pyarrow's own `to_numpy` imports pandas, half a second of CPU time.

    Raises:
        pa.ArrowInvalid: a value is missing.
    """
    import pyarrow as pa

    if column.null_count:
        raise pa.ArrowInvalid(f"{column.null_count:,} values are missing")
    if not len(column):
        return np.empty(0, np.int64)
    return np.frombuffer(column.buffers()[1], np.int64, len(column), offset=8 * column.offset)


def _parquet(path: Path) -> Any:
    import pyarrow.parquet as pq

    return pq.ParquetFile(path, buffer_size=2**20, pre_buffer=False)


def _require_columns(path: Path, schema: Any, integers: Sequence[str], texts: Sequence[str]) -> None:
    """Check that a file has exactly these columns."""
    expected = dict.fromkeys(integers, "int64") | dict.fromkeys(texts, "string")
    found = {field.name: str(field.type) for field in schema}
    problems = [Problem(str(path), 0, name, "no such column", _SAME_SCHEMA) for name in expected if name not in found]
    for name, kind in found.items():
        if name not in expected:
            problems.append(Problem(str(path), 0, name[:80], "an unknown column", _SAME_SCHEMA))
        elif kind != expected[name]:
            problems.append(Problem(str(path), 0, name, f"of type {kind[:40]}", f"expected {expected[name]}"))
    if problems:
        raise InputError(problems)


def _require_digest(path: Path, schema: Any, file: Any, digest: str) -> None:
    """Check that a table belongs to the summary of its folder."""
    found = ((schema or {}) | (file or {})).get(b"trace_digest", b"none")
    if found != digest.encode():
        text = found[:16].decode(errors="replace")
        raise _fail(
            path, f"a table of another run (trace digest {text})", f"expected {digest[:16]}, as in summary.json"
        )


def _fail(path: Path, found: str, expected: str) -> InputError:
    return InputError([Problem(str(path), 0, "", found, expected)])


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:200]
