"""The command line: parses arguments, calls the packages that do the work, prints, and chooses the exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import click

from simcluster import __version__
from simcluster.cli.check import check
from simcluster.cli.compare import compare
from simcluster.cli.explain import explain
from simcluster.cli.fit import fit
from simcluster.cli.fit_noise import fit_noise
from simcluster.cli.plot import plot
from simcluster.cli.replay import replay
from simcluster.cli.report import report
from simcluster.cli.schema import schema
from simcluster.cli.show import show
from simcluster.cli.sweep import sweep
from simcluster.cli.timeline import timeline
from simcluster.cli.validate import validate
from simcluster.kernel.infrequent_gc import infrequent_gc

EXIT_CODES = """
Exit codes: 0 fine, 1 a gate failed, 2 input error, 3 inconclusive, 4 an invariant was violated.
"""


@click.group(context_settings={"help_option_names": ["-h", "--help"]}, epilog=EXIT_CODES)
@click.version_option(__version__, prog_name="simcluster")
def cli() -> None:
    """Simulate LLM inference clusters: wafers, GPU nodes, and the links between them."""


for command in (
    replay, sweep, explain, compare, plot, report, timeline, check, show, schema, validate, fit, fit_noise,
):  # fmt: skip
    cli.add_command(command)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line; returns the exit code."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # numpy's threads would spin for 0.1 s without work
    try:
        with infrequent_gc():
            code = cli.main(args=None if arguments is None else list(arguments), standalone_mode=False)
    except click.exceptions.Abort:
        click.echo("interrupted", err=True)
        return 130
    except click.ClickException as error:
        error.show()
        return 2
    except BrokenPipeError:
        sys.stderr.close()
        return 0
    return code if isinstance(code, int) else 0
