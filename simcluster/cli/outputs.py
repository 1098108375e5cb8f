"""Outputs of a comparison: the terminal, JSON, JUnit and Markdown files, and GitHub."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from simcluster.cli.printing import print_json

if TYPE_CHECKING:
    from simcluster.comparison.comparison import Comparison
    from simcluster.comparison.ranking import Ranking


class Outputs(NamedTuple):
    """The outputs that the options ask for."""

    as_json: bool
    junit: Path | None
    markdown: Path | None
    github: bool

    @property
    def of_gates(self) -> bool:
        """Whether any of them reports gates only."""
        return self.junit is not None or self.markdown is not None or self.github


def report_comparison(found: Comparison, exit_code: int, inconclusive_fails: bool, outputs: Outputs) -> None:
    """Print a comparison as text or JSON, and write the files."""
    from simcluster.comparison.markdown import markdown

    if outputs.as_json:
        from simcluster.comparison.as_json import of_comparison

        print_json(of_comparison(found, exit_code))
    else:
        from simcluster.cli.verdicts import print_comparison

        print_comparison(found, exit_code)
    if outputs.junit is not None:
        from simcluster.comparison.junit import junit

        _write(outputs.junit, junit(found, inconclusive_fails))
    if outputs.markdown is not None:
        _write(outputs.markdown, markdown(found))
    if outputs.github:
        from simcluster.comparison.github import annotated, append_summary

        for command in annotated(found):  # GitHub reads both streams
            click.echo(command, err=outputs.as_json)
        if summary := os.environ.get("GITHUB_STEP_SUMMARY"):
            append_summary(markdown(found), Path(summary))


def _write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")


def report_ranking(found: Ranking, exit_code: int, outputs: Outputs) -> None:
    """Print a ranking as text or JSON."""
    if outputs.as_json:
        from simcluster.comparison.as_json import of_ranking

        print_json(of_ranking(found, exit_code))
    else:
        from simcluster.cli.verdicts import print_ranking

        print_ranking(found, exit_code)
