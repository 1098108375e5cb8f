"""`simcluster fit-noise`: what was put into a table comes out as a preset, and the preset can be simulated."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from simcluster.cli import main
from simcluster.files.source import read
from simcluster.noise.read import read_noise
from simcluster.noise.tables import pareto_s
from simcluster.scenario.load import load


def draws(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=seed))


def fitted(tmp_path: Path, kind: str, table: pd.DataFrame, source: str) -> dict[str, float]:
    """The parameters of a source after a table went through the command."""
    table.to_csv(tmp_path / "table.csv", index=False)
    assert main(["fit-noise", f"{kind}={tmp_path / 'table.csv'}", "-o", str(tmp_path / "mine.yaml")]) == 0
    values = read_noise("mine", read(tmp_path / "mine.yaml")).values(source, "gpu")  # type: ignore[arg-type]
    assert values is not None
    return values


def op_table(n: int, cv: float, spread: float, drift: float) -> pd.DataFrame:
    """Eight devices, two kinds of op, one after the other."""
    random = draws(1)
    own = random.normal(0, spread, 8)
    rows = []
    for device in range(8):
        slow = 0.0
        for number in range(n):
            if number % 50 == 0:
                slow = 0.9 * slow + np.sqrt(1 - 0.81) * random.normal(0, drift)
            length = (100.0, 40.0)[number % 2] * np.exp(own[device] + slow + random.normal(0, cv))
            rows.append((f"op{number % 2}", f"gpu{device}", number * 0.02, length))
    return pd.DataFrame(rows, columns=["op", "device", "time_s", "duration_us"])


def test_jitter_spread_and_drift_are_found_again(tmp_path: Path) -> None:
    """Jitter within 5 %, drift within 25 % in deviation and half in time, spread as the eight devices had it."""
    table = op_table(5000, 0.02, 0.03, 0.015)
    jitter = fitted(tmp_path, "ops", table, "op_jitter")
    preset = read_noise("mine", read(tmp_path / "mine.yaml"))
    drift, spread = preset.values("drift", "gpu"), preset.values("device_spread", "gpu")
    assert drift is not None
    assert spread is not None

    assert jitter["cv"] == pytest.approx(0.02, rel=0.05)
    assert drift["compute"] == pytest.approx(0.015, rel=0.25)
    # Neighbouring bins of a second have a correlation of 0.9: the time is 1 s / -ln 0.9 = 9.5 s.
    assert drift["time_s"] == pytest.approx(9.5, rel=0.5)
    assert spread["compute"] == pytest.approx(draws(1).normal(0, 0.03, 8).std(ddof=1), rel=0.15)


def test_nothing_but_jitter_is_found_where_there_is_nothing_else(tmp_path: Path) -> None:
    """Ops of one device without drift give jitter alone."""
    table = op_table(3000, 0.05, 0.0, 0.0)
    fitted(tmp_path, "ops", table[table["device"] == "gpu0"], "op_jitter")

    assert ["op_jitter"] == [row.source for row in read_noise("mine", read(tmp_path / "mine.yaml")).rows]


def test_small_messages_are_found_again(tmp_path: Path) -> None:
    """Factor within 5 %, shoulder within 20 %, tail within 20 %, from 200,000 exchanges."""
    random = draws(2)
    n = 200_000
    lasts = 16.1 * np.exp(random.normal(0, 0.06, n))
    u = random.random(n)
    lasts += np.where(u < 0.05, random.exponential(6, n), 0)
    late = u > 1 - 0.002
    lasts[late] += [1e6 * pareto_s(v, 0.6, 96e-6, 10e-3) for v in random.random(late.sum())]
    values = fitted(tmp_path, "collectives", pd.DataFrame({"duration_us": lasts}), "small_messages")

    assert values["sigma"] == pytest.approx(0.06, rel=0.05)
    assert values["shoulder"] * values["shoulder_mean_s"] == pytest.approx(0.05 * 6e-6, rel=0.2)
    assert values["tail"] == pytest.approx(0.002, rel=0.2)
    assert values["tail_exponent"] == pytest.approx(0.6, rel=0.25)
    assert values["tail_shortest_s"] == pytest.approx(96e-6, rel=0.1)


def test_arrivals_are_found_again(tmp_path: Path) -> None:
    """Mean delay and what rank 0 comes later, within 5 %, whatever the collectives' own times."""
    random = draws(3)
    late = random.exponential(4.0, (5000, 8))
    late[:, 0] += 3.0
    late += np.arange(5000)[:, None] * 1000.0
    table = pd.DataFrame(late).stack().reset_index()
    table.columns = ["collective", "rank", "arrived_us"]
    values = fitted(tmp_path, "arrivals", table, "arrival_skew")

    assert values["mean_s"] == pytest.approx(4e-6, rel=0.05)
    assert values["first_rank_s"] == pytest.approx(3e-6, rel=0.05)


def test_pauses_are_found_again_in_a_log_of_tokens(tmp_path: Path) -> None:
    """Distance and length of pauses within 2 % and 5 %, from tokens of three requests that wait together."""
    random = draws(4)
    made = np.arange(0, 400, 0.013)
    begins = np.arange(3.0, 400, 11.5)
    ends = begins + np.clip(random.normal(0.38, 0.03, len(begins)), 0.34, 0.45)
    place = np.maximum(np.searchsorted(begins, made, side="right") - 1, 0)
    delivered = np.where((made >= begins[place]) & (made < ends[place]), ends[place], made)
    table = pd.concat([pd.DataFrame({"request": n, "time_s": delivered + n * 1e-4}) for n in range(3)])
    values = fitted(tmp_path, "tokens", table, "host_pauses")

    assert values["every_s"] == pytest.approx(11.5, rel=0.02)
    assert values["mean_s"] == pytest.approx((ends - begins).mean(), rel=0.05)


def test_a_scenario_names_the_preset_by_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A preset that was fitted is simulated like one of the catalogue, and a broken one is reported with its line."""
    fitted(tmp_path, "collectives", pd.DataFrame({"duration_us": 16 * np.exp(draws(5).normal(0, 0.1, 500))}),
           "small_messages")  # fmt: skip
    monkeypatch.chdir(tmp_path)
    scenario = load("llama-3.1-70b-8xh100", ["noise=./mine.yaml"])

    assert "mine" == scenario.noise.name
    assert "fitted to 500 rows of table.csv" in " ".join(scenario.assumptions)
    (tmp_path / "mine.yaml").write_text("title: x\nsources: {}\nwind: 3\n")
    assert main(["check", "llama-3.1-70b-8xh100", "--set", "noise=./mine.yaml"]) == 2


@pytest.mark.parametrize(
    ("text", "reported"),
    [
        ("", "expected a CSV or Parquet table"),
        ("a\n1\n", "no column duration_s"),
        ("duration_us\n1\nx\n", "table.csv:3: duration_us: 'x' and 0 more; expected finite numbers"),
        ("duration_us\n1\n2\n", "2 rows; expected at least 100"),
        ("duration_us\n" + "-1\n" * 200, "durations that are not positive"),
    ],
)
def test_what_cannot_be_fitted_is_reported(
    text: str, reported: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Tables that are none, or say nothing, are refused with exit code 2, and no preset is left."""
    (tmp_path / "table.csv").write_text(text)

    assert main(["fit-noise", f"collectives={tmp_path / 'table.csv'}", "-o", str(tmp_path / "x.yaml")]) == 2
    assert reported in capsys.readouterr().err
    assert not (tmp_path / "x.yaml").exists()
    assert main(["fit-noise", "wind=table.csv", "-o", str(tmp_path / "x.yaml")]) == 2
