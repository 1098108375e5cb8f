"""The formats of figures, and the metadata that is kept out of their files: time and software version."""

from __future__ import annotations

FORMATS: dict[str, dict[str, None]] = {
    "svg": {"Date": None, "Creator": None},
    "png": {"Software": None},
    "pdf": {"CreationDate": None, "ModDate": None, "Creator": None, "Producer": None},
}
"""The metadata that matplotlib would write, by suffix."""
