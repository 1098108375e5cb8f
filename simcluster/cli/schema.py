"""`simcluster schema`: JSON Schemas of the files that people write."""

from __future__ import annotations

import json

import click


@click.command()
@click.argument("what", type=click.Choice(["scenario", "topology"]), default="scenario")
def schema(what: str) -> int:
    """
    Print the JSON Schema of scenario files, or of topology files.

    Editors that know JSON Schema complete and check YAML files with it.
    """
    from simcluster.spec import ScenarioFile
    from simcluster.topology.read import TopologyFile

    model = ScenarioFile if what == "scenario" else TopologyFile
    click.echo(json.dumps(model.model_json_schema(by_alias=True), indent=2))
    return 0
