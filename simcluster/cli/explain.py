"""`simcluster explain`: where the spread of latencies comes from."""

from __future__ import annotations

import json
from pathlib import Path

import click

from simcluster.cli.problems import told


@click.command()
@click.argument("run", metavar="RUN")
@click.option("--json", "as_json", is_flag=True, help="Print everything as one JSON document.")
@told
def explain(run: str, as_json: bool) -> int:
    """
    Tell where the spread of latencies comes from.

    RUN is a folder that `simcluster replay` left: of one run, or with --seeds of replications, which are explained
    together. Of TTFT, TPOT, ITL and E2E it prints the mean of each component, its exact share in the variance and in
    the worst values, and how the variance is divided among replications, requests and steps.
    """
    from simcluster.replications import read_all
    from simcluster.variance.explain import explain as explained

    found = explained(read_all(Path(run)))
    if as_json:
        click.echo(json.dumps(found, indent=2, ensure_ascii=False))
    else:
        from simcluster.cli.shares import print_explanation

        print_explanation(found)
    return 0
