"""`simcluster schema`: JSON Schemas of scenario, topology and sweep files."""

from __future__ import annotations

import json

import click


@click.command()
@click.argument("what", type=click.Choice(["scenario", "topology", "sweep"]), default="scenario")
def schema(what: str) -> int:
    """
    Print the JSON Schema of scenario, topology or sweep files.

    Editors use it to complete and check YAML files.
    """
    from simcluster.files.quantities import Frozen
    from simcluster.scenario.spec import ScenarioFile
    from simcluster.sweeps.spec import SweepFile
    from simcluster.topology.read import TopologyFile

    models: dict[str, type[Frozen]] = {"scenario": ScenarioFile, "topology": TopologyFile, "sweep": SweepFile}
    click.echo(json.dumps(models[what].model_json_schema(by_alias=True), indent=2))
    return 0
