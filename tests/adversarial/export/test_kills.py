"""Commands that change versions and labels: killed at any moment, or at the same time, they lose nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROUNDS = int(os.environ.get("HANGTAG_ADVERSARIAL_ROUNDS", "40"))
"""Rounds of prune beside promote; more in a long run."""


@pytest.fixture
def base_path(tmp_path: Path) -> Path:
    base_path = tmp_path / "fashion"
    for number in range(1, 6):
        (base_path / str(number)).mkdir(parents=True)
        (base_path / str(number) / "saved_model.pb").write_bytes(b"x")
    return base_path


@pytest.fixture
def config(tmp_path: Path, base_path: Path) -> Path:
    """`stable` is version 1, `canary` is version 4."""
    path = tmp_path / "models.config"
    path.write_text(
        f'model_config_list {{ config {{ name: "fashion" base_path: "{base_path}" model_platform: "tensorflow" '
        "model_version_policy { specific { versions: 1 versions: 4 } } "
        'version_labels { key: "stable" value: 1 } version_labels { key: "canary" value: 4 } } }'
    )
    return path


def killing(*arguments: object) -> list[dict]:
    """Run killing.py; the JSON objects that it prints."""
    command = [sys.executable, Path(__file__).with_name("killing.py"), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_rollback_is_right_wherever_promote_was_killed(base_path, config):
    """stable was 1, then 2, and moves to 5: a rollback from 5 gives 2, and from 2 gives 1, never another version."""
    results = killing("promote", base_path, config)
    assert len(results) > 40, "there should be many moments to be killed at"
    assert {(result["label"], result["rolled back"]) for result in results} == {(2, 1), (5, 2)}


def test_a_killed_prune_leaves_whole_versions(tmp_path):
    results = killing("prune", tmp_path)
    assert len(results) > 20
    assert all(result["listed"] == result["complete"] for result in results)
    assert all(3 in result["listed"] for result in results)
    assert results[-1]["listed"] == [3]
    assert [path.name for path in tmp_path.iterdir()] == ["3"], "the last prune removes what the killed ones left"


def test_a_version_that_is_labelled_during_a_prune_is_not_pruned(base_path, config):
    """And a label never moves to a version that prune removes at the same time."""
    results = killing("beside", base_path, config, ROUNDS)
    assert len(results) == ROUNDS
    assert [result for result in results if result["label"] not in result["versions"]] == []
