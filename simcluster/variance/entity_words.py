"""What is said of links and of who stood still, wherever they are listed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_STANDSTILLS = {
    "host_pauses": "pauses of the host of",
    "rare_stalls": "stalls of the group of",
    "device_down": "down:",
}


def link_words(link: Mapping[str, Any]) -> str:
    """The ends of a link, and how many are like it."""
    return " - ".join(link["ends"]) + (f" and {link['alike'] - 1:,} like it" if link["alike"] > 1 else "")


def standstill_words(standstill: Mapping[str, Any]) -> str:
    """What stood still, and by what."""
    return f"{_STANDSTILLS[standstill['kind']]} {standstill['entity']}"
