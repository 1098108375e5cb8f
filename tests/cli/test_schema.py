"""`simcluster schema`: what editors check YAML with agrees with what simcluster accepts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from simcluster.cli import main
from simcluster.files import source

FILES = Path(__file__).resolve().parents[1] / "files"
SCENARIOS = sorted(f for f in (FILES / "scenarios" / "valid").iterdir() if not f.name.endswith(".resolved.yaml"))
TOPOLOGIES = sorted((FILES / "topology" / "valid").glob("*.yaml"))


@pytest.fixture
def schema(capsys: pytest.CaptureFixture[str], request: pytest.FixtureRequest) -> Any:
    """A schema as printed."""
    assert main(["schema", request.param]) == 0
    return json.loads(capsys.readouterr().out)


def test_scenario_is_the_default(capsys: pytest.CaptureFixture[str]) -> None:
    """Without an argument it is the schema of scenarios."""
    assert main(["schema"]) == 0
    default = capsys.readouterr().out
    main(["schema", "scenario"])

    assert default == capsys.readouterr().out


@pytest.mark.parametrize("schema", ["scenario", "topology", "sweep"], indirect=True)
def test_is_a_schema(schema: Any) -> None:
    """What is printed is a JSON Schema."""
    jsonschema.Draft202012Validator.check_schema(schema)


@pytest.mark.parametrize("schema", ["scenario"], indirect=True)
@pytest.mark.parametrize("file", SCENARIOS, ids=lambda file: file.stem)
def test_accepts_valid_scenarios(schema: Any, file: Path) -> None:
    """Every valid scenario keeps the schema."""
    jsonschema.Draft202012Validator(schema).validate(source.read(file).data)


@pytest.mark.parametrize("schema", ["topology"], indirect=True)
@pytest.mark.parametrize("file", TOPOLOGIES, ids=lambda file: file.stem)
def test_accepts_valid_topologies(schema: Any, file: Path) -> None:
    """Every valid topology keeps the schema."""
    jsonschema.Draft202012Validator(schema).validate(source.read(file).data)


@pytest.mark.parametrize("schema", ["scenario"], indirect=True)
@pytest.mark.parametrize(
    "stem",
    ["unknown-key", "no-unit", "wrong-unit", "look-alike-unit", "look-alike-digits", "no-requests", "wrong-type",
     "missing-workload", "unknown-arrivals", "unknown-launch", "nothing-as-text", "seed-out-of-range",
     "event-of-unknown-kind", "event-unknown-key", "event-without-kind", "event-link-of-one-node", "too-many-events",
     "event-time-without-unit", "event-as-a-mapping", "unknown-fidelity"],
)  # fmt: skip
def test_refuses_invalid_scenarios(schema: Any, stem: str) -> None:
    """Editors report what the schema rejects."""
    data = source.read(FILES / "scenarios" / "invalid" / f"{stem}.yaml").data

    assert not jsonschema.Draft202012Validator(schema).is_valid(data)


def test_of_something_else() -> None:
    """There are schemas of scenarios and topologies only."""
    assert main(["schema", "weather"]) == 2
