"""Data to YAML text: the same data, the same bytes."""

from __future__ import annotations

from typing import Any

import yaml


def dump(data: dict[str, Any], comment: str = "") -> str:
    """A YAML file in the order of the data."""
    text: str = yaml.safe_dump(data, sort_keys=False, width=116, allow_unicode=True, default_flow_style=False)
    return (f"# {comment}\n" if comment else "") + text
