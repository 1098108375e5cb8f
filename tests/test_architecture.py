"""The page on the architecture is that of the package: its table of parts, its picture, and its order of layers."""

from __future__ import annotations

import pkgutil
import re
import runpy
from pathlib import Path
from typing import Any

import pytest

import simcluster

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def example() -> dict[str, Any]:
    """What `docs/examples/architecture.py` defines."""
    return runpy.run_path(str(ROOT / "docs" / "examples" / "architecture.py"))


def test_the_table_has_every_part(example: dict[str, Any]) -> None:
    """The table lists every subpackage once, in the order of the layers of pyproject.toml, with a question."""
    parts = {module.name for module in pkgutil.iter_modules(simcluster.__path__) if module.ispkg}
    questions = example["questions"]()

    assert parts == set(questions)
    assert list(questions) == [part for layer in example["layers"]() for part in layer]
    assert [] == [part for part, question in questions.items() if not question.endswith("?")]


def test_the_picture_is_current(example: dict[str, Any]) -> None:
    """The committed picture is what the command draws now."""
    drawn = (ROOT / "docs" / "images" / "architecture.svg").read_text(encoding="utf-8")

    assert example["drawing"]() == drawn, "python docs/examples/architecture.py draws it anew"


def test_the_walk_passes_every_part(example: dict[str, Any]) -> None:
    """The way from file to report mentions every part except the one for arithmetic."""
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    walk = page.partition("## From file to report")[2].partition("## ")[0]

    assert {"numerics"} == set(example["questions"]()) - set(re.findall(r"`(\w+)`", walk))
