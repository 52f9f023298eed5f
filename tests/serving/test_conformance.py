"""Recorded traffic of TensorFlow Serving's own C++ server, answered by ours."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

CONFORMANCE = Path(__file__).parent / "conformance"


def replay(server) -> subprocess.CompletedProcess[str]:
    rest = server.rest.removeprefix("http://")
    return subprocess.run(
        [
            sys.executable,
            CONFORMANCE / "replay.py",
            "--rest",
            rest,
            "--grpc",
            server.grpc,
            CONFORMANCE / "corpus.jsonl",
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"},
    )


def test_every_recorded_answer_is_given_again(recorded):
    done = replay(recorded)
    assert "168 passed, 0 failed" in done.stdout, done.stdout + done.stderr
