"""A base path with six versions, and a config file that serves one of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from versions_command import entry


@pytest.fixture
def base_path(tmp_path: Path) -> Path:
    """Versions 1 to 6, with cards; their other files do not matter here."""
    base_path = tmp_path / "models" / "fashion"
    for number in range(1, 7):
        folder = base_path / str(number) / "assets.extra"
        folder.mkdir(parents=True)
        card = {"created": f"2026-11-0{number}T08:00:00+00:00", "test_accuracy": 0.8 + number / 100}
        (folder / "hangtag.json").write_text(json.dumps(card))
        (base_path / str(number) / "saved_model.pb").write_bytes(b"x" * 1000)
    return base_path


@pytest.fixture
def config(tmp_path: Path, base_path: Path) -> Path:
    path = tmp_path / "models.config"
    path.write_text(entry(base_path, "model_version_policy { specific { versions: 2 } }", stable=2))
    return path
