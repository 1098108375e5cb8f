"""The command line itself: what it imports, and how it answers what it does not know."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from simcluster.cli import main

GOOD = Path(__file__).resolve().parents[1] / "files" / "scenarios" / "valid" / "tensor-over-nodes.yaml"

LIST = "import sys; from simcluster.cli import main; main({!r}); print(*sys.modules, file=sys.stderr)"


def modules(*arguments: str) -> set[str]:
    """What a process has imported after a command."""
    code = LIST.format(list(arguments))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stderr.split())


def test_help_needs_nothing_heavy() -> None:
    """Help comes without any of the large packages."""
    heavy = {
        "pandas",
        "matplotlib",
        "scipy",
        "pyarrow",
        "networkx",
        "simpy",
        "numpy",
        "pydantic",
        "yaml",
        "rich",
        "jinja2",
    }

    assert set() == heavy & modules("--help")
    assert set() == heavy & modules("report", "--help")
    assert set() == heavy & modules("sweep", "--help")


def test_check_needs_no_tables_and_no_plots() -> None:
    """Checking a scenario comes without what only runs and pictures need."""
    heavy = {"pandas", "matplotlib", "scipy", "pyarrow", "networkx", "simpy", "rich"}

    assert set() == heavy & modules("check", str(GOOD))


def test_replay_needs_no_plots(tmp_path: Path) -> None:
    """A run comes without what only pictures and data frames need."""
    imported = modules("replay", str(GOOD), "--output", str(tmp_path))

    assert set() == {"pandas", "matplotlib", "scipy", "networkx"} & imported


def test_a_sweep_needs_no_plots_and_no_workers(tmp_path: Path) -> None:
    """A short sweep comes without what only pictures, data frames and clusters need."""
    (tmp_path / "s.yaml").write_text(f"scenario: {GOOD}\ndesign: {{grid: {{noise: [none]}}}}\n")
    imported = modules("sweep", str(tmp_path / "s.yaml"), "--output", str(tmp_path / "runs"))

    assert set() == {"pandas", "matplotlib", "scipy.stats", "distributed"} & imported


@pytest.mark.parametrize(
    "arguments", [["--help"], ["-h"], ["--version"], ["replay", "--help"], ["sweep", "--help"], ["show", "-h"]]
)
def test_help_is_fine(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Asking for help or the version is no error."""
    assert main(arguments) == 0
    assert capsys.readouterr().out


def test_help_names_the_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    """The exit codes are part of the help."""
    main(["--help"])

    codes = "Exit codes: 0 fine, 1 a gate failed, 2 input error, 3 inconclusive, 4 an invariant was violated."
    assert codes in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["repaly"], "Did you mean 'replay'?"),
        (["chek", "x"], "'check'"),
        (["replay", "--sed", "1", "x"], "--seed"),
        (["replay"], "Missing argument"),
        (["schema", "weather"], "scenario"),
    ],
)
def test_what_it_does_not_know(arguments: list[str], hint: str, capsys: pytest.CaptureFixture[str]) -> None:
    """An unknown command, option or choice exits with 2 and names its neighbours."""
    assert main(arguments) == 2
    assert hint in capsys.readouterr().err


def test_a_closed_pipe_is_no_error() -> None:
    """Piping into something that stops reading ends quietly."""
    command = f"'{sys.executable}' -m simcluster schema | head -c 10 >/dev/null"
    done = subprocess.run(["bash", "-c", f"set -o pipefail; {command}"], capture_output=True, text=True, check=False)

    assert done.stderr == ""
