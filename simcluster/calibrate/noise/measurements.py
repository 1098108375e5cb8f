"""Read tables of measurements: CSV or Parquet, with the unit of a duration in the column's name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from simcluster.files.problems import InputError, Problem

UNITS_S = {"_s": 1.0, "_ms": 1e-3, "_us": 1e-6, "_ns": 1e-9}


def read_measured(file: Path) -> pd.DataFrame:
    """
    Read a table and convert its times to seconds: `duration_us` becomes `duration_s`, and so on.

    Raises:
        InputError: the file cannot be read, is empty, or has times that are not numbers.
    """
    try:
        table = pd.read_parquet(file) if file.suffix == ".parquet" else pd.read_csv(file)
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError([Problem(str(file), 0, "", reason, "expected a CSV or Parquet table")]) from None
    if table.empty:
        raise InputError([Problem(str(file), 0, "", "a table without rows", "expected measurements")])
    problems = []
    in_s = {}
    for name in table.columns:
        suffix = next((unit for unit in UNITS_S if str(name).endswith(unit)), None)
        if suffix is None:
            continue
        column = pd.to_numeric(table[name], errors="coerce")
        wrong = np.flatnonzero(~np.isfinite(column.to_numpy(dtype=float)))
        if len(wrong):
            found = f"'{table[name].iloc[wrong[0]]}' and {len(wrong) - 1} more"
            line = 0 if file.suffix == ".parquet" else int(wrong[0]) + 2
            problems.append(Problem(str(file), line, str(name), found, "expected finite numbers"))
        in_s[str(name).removesuffix(suffix) + "_s"] = column * UNITS_S[suffix]
    if problems:
        raise InputError(problems)
    others = [name for name in table.columns if not any(str(name).endswith(unit) for unit in UNITS_S)]
    return table[others].assign(**in_s)


def require(table: pd.DataFrame, columns: tuple[str, ...], file: Path) -> None:
    """
    Check that a table has the columns of its kind.

    Raises:
        InputError: columns are missing.
    """
    missing = [name for name in columns if name not in table.columns]
    if missing:
        wanted = ", ".join(name if not name.endswith("_s") else f"{name} (or _ms, _us, _ns)" for name in columns)
        found = f"no column {', '.join(missing)}"
        raise InputError([Problem(str(file), 1, "", found, f"expected {wanted}")])
