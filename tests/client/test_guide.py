"""The blocks of docs/reference/client.md run, each alone, as a reader copies them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from support import ROOT

GUIDE = ROOT / "docs" / "reference" / "client.md"
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", GUIDE.read_text(), re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def folder(images, tmp_path_factory) -> Path:
    """What the guide's examples find in their folder."""
    folder = tmp_path_factory.mktemp("guide")
    for name in ("photos", "more"):
        (folder / name).mkdir()
    for number in range(4):
        photo = Image.fromarray(255 - images[number]).resize((280, 280))
        photo.save(folder / ("photos", "more")[number % 2] / f"{number}.jpg")
    photo.save(folder / "photos" / "1.jpg")
    Image.fromarray(images[0]).save(folder / "shoe.png")
    np.save(folder / "test.npy", images[:1500])
    np.savez(folder / "set.npz", images=images[:5], labels=np.array([9, 2, 1, 1, 6]))
    return folder


def local(code: str, server) -> str:
    """The ports that a user's server has are not those of the test's."""
    return code.replace("http://localhost:8501", server.rest).replace("localhost:8500", server.grpc)


@pytest.mark.parametrize(
    ("number", "says"),
    [
        (0, "(1500, 10)"),
        (1, "Ankle boot 10"),
        (2, "1500 of 1500"),
        (4, "image 999 has shape (14, 56): fashion takes [28, 28]"),
        (5, "Ankle boot"),
    ],
)
def test_a_block_of_python_runs_by_itself(number, says, server, folder):
    code = [code for language, code in BLOCKS if language == "python"][number]
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", local(code, server)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert says in done.stdout


def test_there_is_no_other_block_of_python():
    assert (
        sum(language == "python" for language, _ in BLOCKS) == 6
    )  # one of them needs version labels: tests/client/core/test_version_weights.py


def test_the_commands_of_the_guide_run(server, folder):
    lines = [line for language, code in BLOCKS if language == "bash" for line in code.splitlines()]
    assert len(lines) > 5
    for line in lines:
        command = local(line.split("  # ")[0], server).replace("--duration 1", "--duration 0.1 --warm-up 0")
        if "--target" not in command:
            command += f" --target {server.grpc}"
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        errors = [text for text in done.stderr.splitlines() if not text.startswith("hangtag: warning: ")]
        assert (done.returncode, errors) == (0, []), line
        assert done.stdout or "--output" in line
