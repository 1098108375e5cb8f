"""Write calibrations as YAML text, deterministically."""

from __future__ import annotations

from typing import Any

import yaml


class _Plain(yaml.SafeDumper):
    """Writes everything out, as simcluster reads no anchors."""

    def ignore_aliases(self, data: Any) -> bool:
        """Never make an alias."""
        return True


def dump(data: dict[str, Any]) -> str:
    """Write a YAML file in the order of the data."""
    text: str = yaml.dump(
        data, Dumper=_Plain, sort_keys=False, width=116, allow_unicode=True, default_flow_style=False
    )
    return text


def percent(ratio: float) -> str:
    """Write a share with three significant digits."""
    return f"{100 * ratio:.3g} %"


def microseconds(time_s: float) -> str:
    """Write a time with three significant digits."""
    return f"{time_s * 1e6:.3g} us"
