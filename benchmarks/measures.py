"""Seconds and memory, of the process that measures."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

REPEATS = 25


def least(work: Callable[[], object], repeats: int = REPEATS) -> float:
    """The least of a few times: what the work takes when nothing else gets in its way."""
    found = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        found.append(time.perf_counter() - began)
    return min(found)


def per_call(work: Callable[[], object], calls: int = 2000) -> float:
    """Seconds of one call."""

    def many() -> None:
        for _ in range(calls):
            work()

    return least(many, 5) / calls


def alternately(one: Callable[[], object], other: Callable[[], object]) -> tuple[float, float]:
    """The medians of both, 2,000 calls each, twenty of the one and twenty of the other in turn.

    Neither has a quieter time of the machine than the other.
    """
    found: tuple[list[float], list[float]] = ([], [])
    for _ in range(100):
        for work, times in zip((one, other), found, strict=True):
            for _ in range(20):
                began = time.perf_counter()
                work()
                times.append(time.perf_counter() - began)
    return sorted(found[0])[1000], sorted(found[1])[1000]


def resident(field: str = "VmRSS", process: int | str = "self") -> float:
    """MiB of memory that a process holds; VmHWM is the peak."""
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{process}/status").read_text().splitlines())
    return int(fields[field].split()[0]) / 1024
