"""The formats of pictures, and what is kept out of their files: neither time nor software version is written."""

from __future__ import annotations

FORMATS: dict[str, dict[str, None]] = {
    "svg": {"Date": None, "Creator": None},
    "png": {"Software": None},
    "pdf": {"CreationDate": None, "ModDate": None, "Creator": None, "Producer": None},
}
"""By the ending of a file: the metadata that matplotlib would write."""
