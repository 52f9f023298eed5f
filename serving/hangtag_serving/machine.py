"""CPU cores, open files, event loop and memory of this process."""

from __future__ import annotations

import asyncio
import ctypes
import os
import threading
import time
from contextlib import suppress

_MANY_DESCRIPTORS = 65536
_LARGE_BYTES = 1 << 20
_QUIET_SECONDS = 0.5


def usable_cores() -> int:
    """The number of cores that this process may use; in a container it may be less than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def raise_descriptor_limit() -> int:
    """Raise the limit of open files as far as allowed; returns the limit."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return _MANY_DESCRIPTORS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    many = _MANY_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _MANY_DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < many:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (many, hard))
            return many
    return many if soft == resource.RLIM_INFINITY else soft


def new_event_loop() -> asyncio.AbstractEventLoop:
    """An event loop of uvloop, or asyncio's if uvloop is not installed."""
    try:
        import uvloop
    except ImportError:  # Windows has none
        return asyncio.SelectorEventLoop()
    return uvloop.new_event_loop()


class MemoryTrimmer:
    """Makes glibc return free memory to the system after large requests; otherwise it would keep the memory.

    It waits for a moment without large requests, because under load the memory is soon needed again. Safe in several
    threads.
    """

    def __init__(self) -> None:
        self._last, self._waiting = 0.0, False
        self._trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if os.name == "posix" else None

    def note(self, size: int = _LARGE_BYTES) -> None:
        """Record a request of `size` bytes, or its response; without a size, one that ended before it was complete."""
        if size >= _LARGE_BYTES and self._trim is not None:
            self._last = time.monotonic()
            if not self._waiting:
                self._waiting = True
                self._wait(_QUIET_SECONDS)

    def _wait(self, seconds: float) -> None:
        timer = threading.Timer(seconds, self._check)
        timer.daemon = True
        timer.start()

    def _check(self) -> None:
        quiet = time.monotonic() - self._last
        if quiet < _QUIET_SECONDS:
            self._wait(_QUIET_SECONDS - quiet)
        elif self._trim is not None:
            self._waiting = False
            self._trim(0)
