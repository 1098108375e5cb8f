"""What several tests need."""

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def shared() -> Path:
    """The folder of public measurements and traces that may lie beside the checkout; skips without it."""
    folder = ROOT.parent / "shared"
    if not (folder / "traces").is_dir():
        pytest.skip("the folder of public measurements and traces is not beside this checkout")
    return folder
