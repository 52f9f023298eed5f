"""Runs over many images: killed in the middle and continued, and watched on a terminal."""

from __future__ import annotations

import csv
import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import threading
from pathlib import Path

import numpy as np
import pytest

from fake_server import Model, Signature, model_server
from hangtag.core.chunking import GRPC_ROWS as CHUNK
from support import HANGTAG, PATIENCE, eventually, run

AHEAD = 10  # requests that a stream has under way or waiting, at most


class Numbered:
    """A model of 4 x 4 images which carry their own number; it keeps the numbers that it was sent."""

    def __init__(self) -> None:
        self.seen: list[int] = []
        self._order = threading.Lock()  # requests are served in parallel
        self.may_go_on = threading.Event()
        self.until = 10**9
        pixels, scores = {"images": ("DT_UINT8", [-1, 4, 4])}, {"probabilities": ("DT_FLOAT", [-1, 10])}
        numbers, names = {"index": ("DT_INT64", [-1])}, {"class_name": ("DT_STRING", [-1])}
        self.model = Model(
            {
                "serving_default": Signature(pixels, scores, self._classify),
                "labels": Signature(
                    numbers, names, lambda index: {"class_name": np.array([f"class {n}".encode() for n in index], "O")}
                ),
            }
        )

    def _classify(self, images: np.ndarray) -> dict[str, np.ndarray]:
        numbers = np.ascontiguousarray(images[:, 0]).view("<u4")[:, 0]
        with self._order:
            late = len(self.seen) >= self.until
            self.seen += numbers.tolist()
        if late:
            self.may_go_on.wait(PATIENCE)
        return {"probabilities": np.eye(10, dtype="f4")[numbers % 10]}


def numbered_images(path: Path, count: int) -> str:
    images = np.zeros((count, 4, 4), np.uint8)
    images[:, 0] = np.arange(count, dtype="<u4")[:, np.newaxis].view(np.uint8)
    np.save(path, images)
    return str(path)


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_a_killed_run_over_100_000_images_is_continued_without_asking_twice(tmp_path, ending):
    """Only what was under way when the process died is sent again."""
    total, output = 100_000, tmp_path / f"rows.{ending}"
    array, server = numbered_images(tmp_path / "images.npy", total), Numbered()
    server.until = 40 * CHUNK
    command = ["classify", array, "--output", str(output), "--timeout=60"]
    with model_server(server.model, "grpc") as target:
        first = subprocess.Popen([*HANGTAG, *command, "--target", target], stderr=subprocess.DEVNULL)
        # The server answers no more: the process dies with requests under way.
        eventually(lambda: len(server.seen) > server.until, "a request that waits")
        eventually(lambda: output.exists() and output.read_bytes().count(b"\n") > 20 * CHUNK, "rows of the first run")
        first.send_signal(signal.SIGKILL)
        assert first.wait(PATIENCE) == -signal.SIGKILL
        server.may_go_on.set()
    kept, before = output.read_bytes(), list(server.seen)
    written = kept.count(b"\n") - (ending == "csv")
    assert 20 * CHUNK <= written < len(before) < total
    with model_server(server.model, "grpc") as target:
        done = run(*command, "--target", target, "--resume")
    assert done.returncode == 0, done.stderr
    again = server.seen[len(before) :]
    assert sorted(again) == list(range(written, total))
    assert len(set(before) & set(again)) <= AHEAD * CHUNK
    assert output.read_bytes().startswith(kept[: kept.rindex(b"\n") + 1])
    with output.open(newline="") as file:
        rows = list(csv.DictReader(file)) if ending == "csv" else [json.loads(line) for line in file]
    assert [row["image"] for row in rows] == [f"{array}[{number}]" for number in range(total)]
    assert [row["label"] for row in rows] == [f"class {number % 10}" for number in range(total)]


def test_a_terminal_shows_a_bar_and_a_file_gets_none_of_it(tmp_path):
    """The bar is on standard error: it counts while the run waits, and is removed at the end."""
    array, server = numbered_images(tmp_path / "images.npy", 4 * CHUNK), Numbered()
    server.until = 2 * CHUNK
    with model_server(server.model, "grpc") as target:
        command = [*HANGTAG, "classify", array, "--target", target, "--csv", "--timeout=60"]
        outer, inner = pty.openpty()
        fcntl.ioctl(inner, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
        environment = os.environ | {"TQDM_MININTERVAL": "0", "TERM": "xterm"}
        with (
            (tmp_path / "rows.csv").open("wb") as rows,
            subprocess.Popen(command, stdout=rows, stderr=inner, env=environment) as process,
        ):
            os.close(inner)
            shown = b""
            while not re.search(rb"\b(25|50)%\|.*/3\.20k .*images/s", shown):
                piece = _read(outer)
                assert piece, f"the run ended: {shown.decode(errors='replace')}"
                shown += piece
            server.may_go_on.set()
            while piece := _read(outer):
                shown += piece
            assert process.wait(PATIENCE) == 0
        os.close(outer)
        assert (tmp_path / "rows.csv").read_bytes().count(b"\n") == 4 * CHUNK + 1
        assert not shown.split(b"\r")[-1].strip()  # wiped out
        piped = run("classify", array, "--target", target, "--csv")
        assert (piped.returncode, piped.stderr) == (0, "")


def _read(terminal: int) -> bytes:
    """What a terminal shows next; nothing when its program has ended, which Linux reports as an error."""
    assert select.select([terminal], [], [], PATIENCE)[0], "the run shows nothing more"
    try:
        return os.read(terminal, 4096)
    except OSError:
        return b""
