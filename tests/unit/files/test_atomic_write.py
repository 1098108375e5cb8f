"""Files that appear whole or not at all."""

from pathlib import Path

import pytest

from simcluster.files.atomic_write import atomic_write


def test_a_finished_file_replaces_the_former_and_can_be_read_by_all(tmp_path: Path) -> None:
    """At the end there is the new file and no temporary file."""
    (tmp_path / "a").write_text("old")
    with atomic_write(tmp_path / "a") as file:
        file.write(b"new")
        assert "old" == (tmp_path / "a").read_text()
    assert [("a", b"new", 0o644)] == [(f.name, f.read_bytes(), f.stat().st_mode & 0o777) for f in tmp_path.iterdir()]


def test_after_an_error_the_former_stays(tmp_path: Path) -> None:
    """The partly written file is removed, and the former one is unchanged."""
    (tmp_path / "a").write_text("old")
    with pytest.raises(ZeroDivisionError), atomic_write(tmp_path / "a") as file:
        file.write(b"half")
        raise ZeroDivisionError
    assert [("a", "old")] == [(f.name, f.read_text()) for f in tmp_path.iterdir()]


@pytest.mark.parametrize("name", ["nowhere/a", "folder"])
def test_what_cannot_be_written_is_reported_by_its_own_name(tmp_path: Path, name: str) -> None:
    """Without the folder, or on a folder, the error names the requested file."""
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError) as caught, atomic_write(tmp_path / name) as file:
        file.write(b"new")
    assert str(tmp_path / name) == caught.value.filename
    assert ["folder"] == [place.name for place in tmp_path.iterdir()]
