"""A version is complete or absent, also when exports are killed or run at the same time."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hangtag_export.base_path import versions

PUBLISHER = [sys.executable, str(Path(__file__).with_name("publisher.py"))]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@contextmanager
def polling(base_path: Path, complete: dict[str, bytes]) -> Iterator[None]:
    """Look at `base_path` without pause, as a server does; fail if a numeric folder ever lacked a byte."""
    stop, incomplete, looks = threading.Event(), [], 0

    def look() -> None:
        nonlocal looks
        seen: set[str] = set()
        while not stop.is_set():
            looks += 1
            for name in names(base_path):
                if name.isdecimal() and name not in seen:
                    seen.add(name)
                    if content(base_path / name) != complete:
                        incomplete.append(name)

    base_path.mkdir(exist_ok=True)
    reader = threading.Thread(target=look)
    reader.start()
    try:
        yield
    finally:
        stop.set()
        reader.join()
    assert looks
    assert not incomplete


def test_killed_at_every_moment_nothing_incomplete_has_a_number(exported, tmp_path):
    """SIGKILL at each file opened and each folder touched: a reader that polls sees whole versions only."""
    base_path, complete = tmp_path / "fashion", content(exported / "1")
    with polling(base_path, complete):
        done = subprocess.run(
            [*PUBLISHER, exported / "1", base_path, "kill-everywhere"], capture_output=True, text=True, check=True
        )
    assert int(done.stdout) > 30, "there should be many moments to be killed at"
    published = versions(base_path)
    assert published, "the last child was not killed"
    assert all(content(base_path / str(version)) == complete for version in published)
    assert not list(base_path.glob(".*")), "the last one removes what the killed ones left"


def test_killed_at_random_nothing_incomplete_has_a_number(exported, tmp_path):
    """The moments between Python's operations, too: kills by the clock, while versions are being published."""
    base_path, complete = tmp_path / "fashion", content(exported / "1")
    chance = random.Random(3)
    with polling(base_path, complete):
        for _ in range(12):
            process = subprocess.Popen([*PUBLISHER, exported / "1", base_path, "100000"], stderr=subprocess.PIPE)
            target = len(versions(base_path)) + chance.randint(1, 8)
            while len(versions(base_path)) < target:
                assert process.poll() is None, process.stderr.read()
            time.sleep(chance.random() * 0.01)
            process.kill()
            assert process.wait() == -signal.SIGKILL
            process.stderr.close()
    numbers = versions(base_path)
    assert numbers == list(range(1, len(numbers) + 1)), "killed exports leave no gaps"


def test_eight_exports_at_once_get_different_numbers(exported, tmp_path):
    base_path, complete = tmp_path / "fashion", content(exported / "1")
    with polling(base_path, complete):
        command = [*PUBLISHER, str(exported / "1"), str(base_path), "5"]
        processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(8)]
        taken = [int(number) for process in processes for number in process.communicate()[0].split()]
    assert sorted(taken) == list(range(1, 41))
    assert all(content(base_path / str(version)) == complete for version in taken)
