"""`hangtag versions list` and `prune`: what is published, and what may go."""

from __future__ import annotations

import json
import os

import pytest

from hangtag_export.publishing.model_config import ModelConfig
from hangtag_export.publishing.versions import prune
from versions_command import entry, numbers, versions


def test_the_list_shows_number_date_accuracy_size_and_labels(base_path, config, capsys):
    assert versions("list", f"--config={config}") == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 7
    assert lines[2].split() == ["2", "2026-11-02T08:00:00+00:00", "0.8200", "0.00", "MB", "stable"]
    assert lines[6].split()[-1] == "-"
    assert versions("list", f"--base-path={base_path}", "--json") == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert rows[5]["version"] == 6
    assert rows[5]["test_accuracy"] == pytest.approx(0.86)
    assert rows[5]["size"] == 1000 + (base_path / "6" / "assets.extra" / "hangtag.json").stat().st_size


@pytest.mark.parametrize(
    "card", ["not json", "[]", '{"created": "\\u001b[31mred", "test_accuracy": "high"}', '{"created": 5}', None]
)
def test_a_version_without_a_card_is_listed_all_the_same(base_path, capsys, card):
    """So is one whose card is a pipe, which nobody writes to."""
    path = base_path / "3" / "assets.extra" / "hangtag.json"
    path.unlink()
    if card is None:
        os.mkfifo(path)
    else:
        path.write_text(card)
    assert versions("list", f"--base-path={base_path}") == 0
    assert capsys.readouterr().out.splitlines()[3].split() == ["3", "-", "-", "0.00", "MB", "-"]


def test_prune_keeps_the_newest_and_all_that_the_config_names(base_path, tmp_path, capsys):
    config = tmp_path / "models.config"
    config.write_text(
        entry(base_path, "model_version_policy { specific { versions: 1 versions: 3 } }", stable=3, old=2)
    )
    assert versions("prune", "--keep=1", f"--config={config}") == 0
    assert capsys.readouterr().out == "removed 4, 5\n"
    assert numbers(base_path) == ["1", "2", "3", "6"]
    assert versions("prune", "--keep=2", f"--base-path={base_path}", "--config=none") == 0
    assert numbers(base_path) == ["3", "6"]


@pytest.mark.filterwarnings("default")
def test_prune_says_when_no_config_tells_which_versions_are_labelled(base_path, capsys):
    assert versions("prune", "--keep=1", f"--base-path={base_path}") == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("hangtag: warning: --keep without --config FILE: versions that a label or a policy needs")
    assert numbers(base_path) == ["6"]
    assert versions("prune", "--keep=1", f"--base-path={base_path}", "--config=none") == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("policy", "left"),
    [("model_version_policy { latest { num_versions: 3 } }", "456"), ("model_version_policy { all {} }", "123456")],
)
def test_prune_removes_nothing_that_is_being_served(base_path, tmp_path, policy, left):
    config = tmp_path / "models.config"
    config.write_text(entry(base_path, policy))
    assert versions("prune", "--keep=1", f"--config={config}") == 0
    assert numbers(base_path) == list(left)


def test_prune_reads_the_config_when_it_removes(base_path, config):
    """A version that was labelled after the config was first read stays."""
    stale = ModelConfig(config, "fashion")
    config.write_text(entry(base_path, "model_version_policy { specific { versions: 3 } }", stable=3))
    assert prune(base_path, 1, stale) == [1, 2, 4, 5]
    assert numbers(base_path) == ["3", "6"]


def test_prune_removes_links_and_files_that_count_as_versions(base_path):
    """A link is removed, not what it points to."""
    elsewhere = base_path.parent / "elsewhere"
    (base_path / "6").rename(elsewhere)
    (base_path / "6").symlink_to(elsewhere)
    (base_path / "7").write_text("a file")
    (base_path / "08").mkdir()
    (base_path / "005").mkdir()
    assert prune(base_path, 1, None) == [1, 2, 3, 4, 5, 6, 7]
    assert numbers(base_path) == ["08"]
    assert (elsewhere / "saved_model.pb").exists()
