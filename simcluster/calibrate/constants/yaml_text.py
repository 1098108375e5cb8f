"""Calibrations as text: the same data, the same bytes."""

from __future__ import annotations

from typing import Any

import yaml


class _Plain(yaml.SafeDumper):
    """Writes everything out, as simcluster reads no anchors."""

    def ignore_aliases(self, data: Any) -> bool:
        """Of nothing an alias is made."""
        return True


def dump(data: dict[str, Any]) -> str:
    """A YAML file in the order of the data."""
    text: str = yaml.dump(
        data, Dumper=_Plain, sort_keys=False, width=116, allow_unicode=True, default_flow_style=False
    )
    return text


def percent(ratio: float) -> str:
    """Three significant digits."""
    return f"{100 * ratio:.3g} %"


def microseconds(time_s: float) -> str:
    """Three significant digits."""
    return f"{time_s * 1e6:.3g} us"
