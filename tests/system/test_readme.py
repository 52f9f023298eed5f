"""The README's code blocks run, in both languages."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support import ROOT, run

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

ELSEWHERE = ("git clone", "make ", "pip install", "hangtag export", "hangtag serve")
"""Commands that other tests run: the demo, the install, the export that `exported` is, the server."""


def blocks(name: str) -> list[tuple[str, str]]:
    return BLOCK.findall((ROOT / name).read_text())


@pytest.mark.parametrize(
    ("language", "code"),
    [block for block in blocks("README.md") if block[0] in ("bash", "python") and not block[1].startswith(ELSEWHERE)],
    ids=lambda text: text.split("\n")[0][:50],
)
def test_a_block_of_the_readme_runs(language, code, server, tmp_path):
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    code = code.replace("localhost:8500", server.grpc).replace("http://localhost:8501", server.rest)
    if code.startswith("hangtag classify"):
        code = code.rstrip() + f" --target {server.grpc}"
    # The program that users have comes first, not the one of the tests that starts at once.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    command = ["bash", "-euo", "pipefail", "-c", code] if language == "bash" else [sys.executable, "-c", code]
    done = subprocess.run(
        command, cwd=tmp_path, env=os.environ | {"PATH": path}, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_the_commands_it_names_exist():
    text = (ROOT / "README.md").read_text()
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^make (\S+)", text, re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
    for command in set(re.findall(r"(?:^|`)hangtag ([a-z]+)", text, re.MULTILINE)):
        assert run(command, "--help").returncode == 0, command


def test_its_links_lead_somewhere():
    for name in ("README.md", "README.zh-CN.md"):
        for link in re.findall(r"\]\(([^)#]+)\)", (ROOT / name).read_text()):
            assert link.startswith("https://") or (ROOT / link).exists(), link


def test_the_chinese_readme_has_the_same_code():
    assert blocks("README.zh-CN.md") == blocks("README.md")
