"""Write a fit as a noise preset that a scenario can name."""

from __future__ import annotations

from collections.abc import Mapping

import yaml

from simcluster.calibrate.noise.estimates import Fit
from simcluster.files.quantities import dimension
from simcluster.noise.sources import SOURCES, Source, si_names


def as_preset(fits: Mapping[str, Fit], devices: str) -> str:
    """
    Write a preset file.

    Args:
        fits: by the name of the table; if several have a source, the last one counts.
        devices: kind of the devices.
    """
    data: dict[str, object] = {"title": f"Fitted to {', '.join(fits)}"}
    sources: dict[str, object] = {}
    found: dict[str, tuple[str, dict[str, float]]] = {
        source: (name, values) for name, fit in fits.items() for source, values in fit.sources.items()
    }
    for source in (name for name in SOURCES if name in found):
        name, values = found[source]
        data[source] = {"devices": [devices]} | {
            key: {"value": _text(source, key, values[si_name]), "source": f"fit-{list(fits).index(name) + 1}"}
            for si_name, key in si_names(source).items()
        }
    for number, (name, fit) in enumerate(fits.items(), start=1):
        if any(origin == name for origin, _ in found.values()):
            worst = max(abs(fitted / measured - 1) for measured, fitted in fit.quantiles.values())
            sources[f"fit-{number}"] = {
                "title": f"fitted to {fit.n_rows:,} rows of {name}: distance {fit.distance:.3f} between the "
                f"distribution functions, worst quantile {worst:.0%} off"
            }
    return yaml.safe_dump(data | {"sources": sources}, sort_keys=False, width=118, allow_unicode=True)


def _text(source: Source, key: str, value: float) -> str | float:
    """Write a parameter as in a preset."""
    of = dimension(SOURCES[source].model_fields[key].metadata)
    if of == "time":
        return f"{value * 1e6:.6g} us"
    return f"{value * 100:.6g} %" if of == "ratio" else float(f"{value:.6g}")
