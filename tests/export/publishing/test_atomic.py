"""A version gets its number by a rename, and an export that fails leaves nothing."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from hangtag_export.errors import ExportError
from hangtag_export.publishing import locks
from hangtag_export.publishing.atomic import publish, staging


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_another_user_can_read_a_version_under_any_umask(tmp_path):
    """Folders 755, files 644, and so the base path and its parents that the export created."""
    base_path = tmp_path / "models" / "fashion"
    old = os.umask(0o077)
    try:
        with staging(base_path) as folder:
            (folder / "variables").mkdir()
            (folder / "variables" / "data").write_text("x")
            publish(folder, base_path)
    finally:
        os.umask(old)
    modes = {str(path.relative_to(tmp_path)): stat.S_IMODE(path.stat().st_mode) for path in tmp_path.rglob("*")}
    assert modes == {
        "models": 0o755,
        "models/fashion": 0o755,
        "models/fashion/1": 0o755,
        "models/fashion/1/variables": 0o755,
        "models/fashion/1/variables/data": 0o644,
    }


def test_what_is_no_staging_folder_does_not_stop_an_export(tmp_path):
    """A FIFO is not opened, a link is not followed."""
    base_path, elsewhere = tmp_path / "fashion", tmp_path / "elsewhere"
    base_path.mkdir()
    elsewhere.mkdir()
    (elsewhere / "file").write_text("x")
    os.mkfifo(base_path / ".staging-fifo")
    (base_path / ".staging-link").symlink_to(elsewhere)
    with staging(base_path) as folder:
        assert publish(folder, base_path) == 1
    assert names(elsewhere) == ["file"]


def test_a_version_copied_in_by_hand_is_never_overwritten(tmp_path, monkeypatch):
    """Somebody who holds no lock takes the number between the look and the rename: the next one is used."""
    by_hand = tmp_path / "1" / "saved_model.pb"
    rename = Path.rename

    def rename_a_little_late(self: Path, target: Path) -> Path:
        if not by_hand.exists():
            by_hand.parent.mkdir()
            by_hand.write_text("mine")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", rename_a_little_late)
    with staging(tmp_path) as folder:
        (folder / "saved_model.pb").write_text("yours")
        assert publish(folder, tmp_path) == 2
    assert by_hand.read_text() == "mine"


def test_no_number_is_left(tmp_path):
    (tmp_path / str(2**63 - 1)).mkdir()
    with staging(tmp_path) as folder, pytest.raises(ExportError, match="highest number"):
        publish(folder, tmp_path)
    assert names(tmp_path) == [str(2**63 - 1)]


def test_what_failed_takes_along_the_folders_that_were_made_for_it(tmp_path):
    base_path = tmp_path / "models" / "fashion"
    with pytest.raises(RuntimeError, match="too bad"), staging(base_path):
        raise RuntimeError("too bad")
    assert names(tmp_path) == []
    base_path.mkdir(parents=True)
    with pytest.raises(RuntimeError, match="too bad"), staging(base_path):
        raise RuntimeError("too bad")
    assert base_path.is_dir(), "it was there before"


def test_a_base_path_that_another_export_removes_is_created_again(tmp_path, monkeypatch):
    """One export fails, and removes the base path it had created, just after another has seen it there."""
    base_path, opening, left = tmp_path / "fashion", locks._open, [1]

    def open_late(file: Path) -> int:
        if left:
            left.pop()
            base_path.rmdir()
        return opening(file)

    monkeypatch.setattr(locks, "_open", open_late)
    with staging(base_path) as folder:
        assert publish(folder, base_path) == 1
