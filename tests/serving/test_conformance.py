"""Recorded traffic of TensorFlow Serving's own C++ server, answered by ours."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from support import serving

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
    """By the compiled gRPC front, which is the default on loopback."""
    done = replay(recorded)
    assert "168 passed, 0 failed" in done.stdout, done.stdout + done.stderr


def test_grpcio_gives_the_same_answers(recorded_flags, tmp_path):
    with serving(
        CONFORMANCE / "models" / "fashion", tmp_path / "log", *recorded_flags, "--grpc_front=grpcio"
    ) as server:
        done = replay(server)
    assert "168 passed, 0 failed" in done.stdout, done.stdout + done.stderr
