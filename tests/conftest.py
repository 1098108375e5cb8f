"""What several tests need."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parent.parent

settings.register_profile("same", derandomize=True, deadline=None)
settings.register_profile("new", print_blob=True, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))
"""The random examples are the same on every run of the quick tests; `./dev slow` draws new ones each time."""


@pytest.fixture
def shared() -> Path:
    """The folder of public measurements and traces that may lie beside the checkout; skips without it."""
    folder = ROOT.parent / "shared"
    if not (folder / "traces").is_dir():
        pytest.skip("the folder of public measurements and traces is not beside this checkout")
    return folder
