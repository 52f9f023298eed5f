"""A canary from export to rollback, with the commands of docs/deploy.md, while a client keeps calling by label."""

from __future__ import annotations

import json
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest

from hangtag import Client, HangtagError
from support import ROOT, Server, eventually, run, serving


@pytest.fixture(scope="module")
def base_path(two_versions: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Versions 1 and 2, trained from different seeds."""
    return Path(shutil.copytree(two_versions, tmp_path_factory.mktemp("canary") / "fashion"))


@pytest.fixture(scope="module")
def config(base_path: Path) -> Path:
    """The shipped models.config, in a folder of its own."""
    return Path(shutil.copy(ROOT / "serving" / "config" / "models.config", base_path.parent))


@pytest.fixture(scope="module")
def canary(base_path: Path, config: Path) -> Server:
    """A server of both versions: 1 is stable, 2 is canary."""
    promote(1, "stable", config, base_path)
    promote(2, "canary", config, base_path)
    flags = (
        f"--model_config_file={config}",
        "--model_config_file_poll_wait_seconds=0.2",
        f"--path_map=/models={base_path.parent}",
        "--allow_version_labels_for_unavailable_models=true",
    )
    with serving(base_path, base_path.parent / "log", *flags) as server:
        for label in ("stable", "canary"):  # the ports open with the first version; the other loads a moment later
            with Client(server.grpc, version_label=label) as client:
                client.wait_ready()
        yield server


def promote(version: int, label: str, config: Path, base_path: Path, *more: str) -> None:
    done = run(
        *(
            "versions",
            "promote",
            str(version),
            "--label",
            label,
            "--config",
            str(config),
            "--base-path",
            str(base_path),
        ),
        *more,
    )
    assert done.returncode == 0, done.stderr


def test_both_versions_answer_by_their_labels(canary, images):
    for label, version in (("stable", 1), ("canary", 2)):
        with Client(canary.grpc, version_label=label) as client:
            assert client.classify(images[:10]).model_version == version
        with Client(canary.rest, version_label=label) as client:
            assert len(client.classify(images[:10])) == 10


def test_the_two_are_compared_on_the_same_images(canary, dataset, tmp_path):
    np.save(tmp_path / "images.npy", dataset.test_images[:500])
    np.save(tmp_path / "labels.npy", dataset.test_labels[:500])
    arguments = [
        "compare",
        str(tmp_path / "images.npy"),
        "--truth",
        str(tmp_path / "labels.npy"),
        "--target",
        canary.grpc,
    ]
    done = run(*arguments, "--label=stable", "--label=canary", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    for side, version in (("left", 1), ("right", 2)):
        with Client(canary.grpc, version=version) as client:
            labels = client.classify(dataset.test_images[:500]).indices
        assert found[side]["model_version"] == version
        assert found[side]["accuracy"] == pytest.approx((labels == dataset.test_labels[:500]).mean())
        assert found[side]["p50_ms"] > 0
    assert found["agreement"] == pytest.approx(1 - len(found["changes"]) / 500)
    assert 0.7 < found["agreement"] < 1
    table = run(*arguments, "--version=1", "--version=2").stdout
    assert "they agree on" in table
    same = run(*arguments[:2], "--target", canary.grpc, "--target", canary.rest, "--version=1", "--json")
    assert json.loads(same.stdout)["agreement"] == 1


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "give the two to compare"),
        (["--version=1"], "give the two to compare"),
        (["--version=1", "--version=2", "--label=a", "--label=b"], "give the two to compare"),
        (["--version=1", "--version=2", "--label=a"], "not both"),
        (["--version=2", "--version=2"], "both sides are version 2: there is nothing to compare"),
        (["--label=stable", "--label=stable"], "both sides are label stable"),
        (["--target=localhost:1", "--target=localhost:1", "--version=1"], "both sides are localhost:1"),
    ],
)
def test_what_to_compare_must_be_clear(flags, message):
    done = run("compare", str(ROOT / "docs" / "images" / "ankle-boot.png"), *flags)
    assert done.returncode == 2
    assert message in done.stderr


def test_a_client_of_stable_sees_no_error_while_it_is_promoted_and_rolled_back(canary, base_path, config, images):
    seen: list[int | None] = []
    errors: list[HangtagError] = []
    stop = threading.Event()

    def call() -> None:
        with Client(canary.grpc, version_label="stable", retries=0) as client:
            while not stop.is_set():
                try:
                    seen.append(client.classify(images[:100]).model_version)
                except HangtagError as error:
                    errors.append(error)

    caller = threading.Thread(target=call)
    caller.start()
    try:
        eventually(lambda: 1 in seen, "an answer")
        promote(2, "stable", config, base_path, f"--target={canary.rest}")
        eventually(lambda: seen[-1] == 2, "stable to be version 2")
        done = run("versions", "rollback", "--label=stable", f"--config={config}", f"--base-path={base_path}")
        assert done.returncode == 0, done.stderr
        eventually(lambda: seen[-1] == 1, "stable to be version 1 again")
    finally:
        stop.set()
        caller.join()
    assert errors == []
