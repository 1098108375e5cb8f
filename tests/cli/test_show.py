"""`simcluster show`: everything that comes along can be listed and shown."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from simcluster.catalog import entries
from simcluster.cli import main
from simcluster.cli.show import KINDS
from simcluster.scenario import files
from simcluster.sweeps import files as sweeps
from simcluster.topology import read

ENTRIES = [(kind, name) for kind in get_args(entries.Kind) for name in entries.names(kind)]


@pytest.mark.parametrize("kind", KINDS)
def test_lists(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A kind without a name lists what there is, a row each."""
    names = {"topologies": read.names, "scenarios": files.names, "sweeps": sweeps.names}.get(
        kind, lambda: entries.names(kind)
    )()  # type: ignore[arg-type]
    assert main(["show", kind]) == 0

    rows = capsys.readouterr().out.splitlines()[1:]
    assert list(names) == [row.split()[0] for row in rows if row.split()[0] in names]


@pytest.mark.parametrize(("kind", "name"), ENTRIES)
def test_shows_values_with_their_sources(kind: str, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """An entry is shown with every source that it names."""
    assert main(["show", kind, name]) == 0

    printed = capsys.readouterr().out
    assert printed.startswith(f"{name}: ")
    for key in entries.entry(kind, name).data.get("sources", {}):  # type: ignore[arg-type]
        assert f"  {key}: " in printed


@pytest.mark.parametrize(("kind", "name"), [*((kind, None) for kind in KINDS), *ENTRIES])
def test_fits_a_terminal(kind: str, name: str | None, capsys: pytest.CaptureFixture[str]) -> None:
    """But for addresses no line is longer than a hundred columns, nothing is cut off, and lists read as text."""
    main(["show", kind, *([name] if name is not None else [])])

    printed = capsys.readouterr().out
    assert [] == [line for line in printed.splitlines() if len(line) > 100 and "://" not in line]
    assert "…" not in printed
    assert "['" not in printed


def test_shows_a_topology(capsys: pytest.CaptureFixture[str]) -> None:
    """A topology is shown with its counts, its diameter and its bisection."""
    assert main(["show", "topologies", "h100-8"]) == 0

    printed = capsys.readouterr().out
    assert "nodes: 8 device, 1 switch, 8 nic, 1 host" in printed
    assert "bisection: 1.8 TB/s per direction" in printed


def test_draws_a_topology(tmp_path: Path) -> None:
    """A topology is drawn into a file."""
    assert main(["show", "topologies", "h100-8", "--plot", str(tmp_path / "t.svg")]) == 0
    assert (tmp_path / "t.svg").read_text().startswith("<?xml")


def test_shows_a_scenario_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    """A scenario is printed as its file stands, to start one's own from."""
    assert main(["show", "scenarios", "chat-70b-8xh100"]) == 0

    assert files.find("chat-70b-8xh100").read_text() == capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [
        ("devices", "h100"), ("models", "../models/llama-2-7b"), ("noise", "x"), ("links", "/etc/passwd"),
        ("topologies", "h100-9"), ("topologies", "no-such.yaml"), ("scenarios", "../../etc/passwd"),
        ("sweeps", "no-such.yaml"),
        ("calibration", ""), ("colours",), ("devices", "--plot", "x.svg"), ("devices", "h100-sxm", "--plot", "x.svg"),
        ("topologies", "h100-8", "--plot", "/no/such/folder/x.svg"), ("topologies", "h100-8", "--plot", "x.docx"),
    ],
)  # fmt: skip
def test_refusals(arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    """Names of nothing, and drawings that cannot be made, exit with 2 and one problem."""
    assert main(["show", *arguments]) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_an_alias_is_shown_under_its_name(capsys: pytest.CaptureFixture[str]) -> None:
    """A model may be asked for by another name."""
    alias, name = next(iter(entries._aliases().items()))
    assert main(["show", "models", alias]) == 0

    assert capsys.readouterr().out.startswith(f"{name}: ")
