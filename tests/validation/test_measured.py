"""The suites of `simcluster validate` on public measurements, with the errors that the documentation promises."""

from __future__ import annotations

from pathlib import Path

import pytest

from simcluster.calibrate.constants import collectives, kernels, mlperf_host
from simcluster.calibrate.constants.collective_tables import SYSTEMS
from simcluster.calibrate.constants.yaml_text import dump
from simcluster.calibrate.runs.mlperf import HOST_PER_REQUEST_S, percentiles_ms, runs
from simcluster.calibrate.runs.simulated import in_parallel
from simcluster.catalog import entries
from simcluster.catalog.calibration.collectives import fabric
from simcluster.catalog.calibration.collectives import read as read_fabric
from simcluster.catalog.calibration.gpu import read
from simcluster.cli.validate import SUITE
from simcluster.files.source import parse

pytestmark = [pytest.mark.validation, pytest.mark.timeout(1800)]


def entry(name: str) -> object:
    return entries.entry("calibration", name)


def test_declared_residuals_of_kernels(shared: Path) -> None:
    """On shapes that were not fitted errors are those the file declares, and at most 8 % (experts 12 %)."""
    h100 = read(entry("h100-sxm"), entry)
    declared = {row.name: row for row in h100.constants}
    for row in kernels.judge(h100, shared / "measured" / "kernels"):
        said = declared[f"{row['op']} {row['bits']} bit"]
        assert 100 * said.median_error == pytest.approx(row["median_abs_err_pct"], abs=0.06), said.name
        most = 12 if row["op"].startswith("moe") else 8 if row["op"].startswith(("gemm", "attention")) else 30
        assert row["median_abs_err_pct"] < most, said.name


def test_kernels_are_fitted_by_the_command(shared: Path) -> None:
    """The shipped constants of the H100's ops are what the fit finds in the tables."""
    h100 = read(entry("h100-sxm"), entry)
    for found in kernels.fit_all(shared / "measured" / "kernels"):
        assert h100.ops[found.of.op][found.of.bits] == found.of.fit(found.constants), (found.of.op, found.of.bits)


def test_collectives(shared: Path) -> None:
    """On sizes that were not fitted: in a graph at most 10 % in the median, NCCL 15 %, its sends 20 %."""
    points = collectives.measured(shared / "measured" / "collectives")
    for link in SYSTEMS:
        for row in collectives.judge(fabric(link), points):
            most = 20 if row["collective"] == "send" else 15 if row["library"] == "nccl" else 10
            assert row["median_abs_err_pct"] < most, row


def test_collectives_are_fitted_by_the_command(shared: Path) -> None:
    """The shipped lines of NVLink and their residuals are what the fit finds in the tables."""
    points = collectives.measured(shared / "measured" / "collectives")
    found = collectives.fit(points)
    for link in SYSTEMS:
        assert fabric(link) == read_fabric(parse(dump(collectives.file(link, found, points)), link)), link


def test_served_runs(shared: Path) -> None:
    """On the half that was not fitted: time per token 5 %, 8 % for each model and engine; first token 20 %."""
    found = SUITE["end-to-end"](shared / "measured", 2)

    assert found["tpot"]["median_abs_err_pct"] < 5
    assert found["ttft"]["median_abs_err_pct"] < 20
    for kind in ("model", "engine"):
        for name, errors in found["groups"][kind].items():
            assert errors["tpot"]["median_abs_err_pct"] < 8, name


def test_an_engine_without_graphs(shared: Path) -> None:
    """Splitwise: time of a token 10 %, of a prompt 15 %, power 20 %, in the median."""
    found = SUITE["splitwise"](shared / "measured", 1)

    assert found["token_time"]["median_abs_err_pct"] < 10
    assert found["prompt_time"]["median_abs_err_pct"] < 15
    assert found["average_power"]["median_abs_err_pct"] < 20


def test_host_time_of_mlperf_is_the_best_tried(shared: Path) -> None:
    """On the fitted half of the submissions."""
    losses = mlperf_host.fit(shared / "measured" / "end_to_end" / "mlperf_llama2_70b_h100.csv", 2)

    assert min(losses, key=losses.__getitem__) == HOST_PER_REQUEST_S


def test_mlperf_at_its_rate(shared: Path) -> None:
    """Four submissions that do not wait: p50 and p99 of both times within 20 % at the submitted rate."""
    found = runs(shared / "measured" / "end_to_end" / "mlperf_llama2_70b_h100.csv")
    chosen = [pair for title, pair in found.items() if title.split()[0] in ("ASUSTeK", "Dell", "Google", "NVIDIA")]
    predicted = in_parallel(percentiles_ms, [run for _, run in chosen], 2)

    assert len(predicted) == 4
    for (row, _), times_ms in zip(chosen, predicted, strict=True):
        for name, time_ms in times_ms.items():
            assert time_ms == pytest.approx(float(row[f"{name}_ms"]), rel=0.2), (row["submitter"], name)
