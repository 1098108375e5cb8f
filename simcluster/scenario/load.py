"""From a scenario file to what is simulated: names become values, and all errors are reported at once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path as FilePath

from simcluster.files import source
from simcluster.scenario.files import find, with_settings, with_value
from simcluster.scenario.reread import reread
from simcluster.scenario.resolved import Scenario
from simcluster.scenario.resolver import Resolver


def load(file: str | FilePath, settings: Sequence[str] = (), seed: int | None = None) -> Scenario:
    """
    Read and resolve a scenario.

    Args:
        file: a scenario file, a resolved scenario, or the name of a shipped one.
        settings: changes as on the command line, `a.b=c`, applied in order.
        seed: instead of the file's.

    Raises:
        InputError: with every fault that was found, each with its place.
    """
    path = find(file)
    document = source.read(path)
    if isinstance(document.data, dict) and "format" in document.data:
        return reread(document, settings, seed)
    document = with_settings(document, settings)
    if seed is not None:
        document = with_value(document, ("seed",), seed)
    return Resolver(document, path).scenario()
