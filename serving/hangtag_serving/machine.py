"""What this process may use of the machine."""

from __future__ import annotations

import asyncio
import ctypes
import os
from contextlib import suppress

_MANY_DESCRIPTORS = 65536
_LARGE_BYTES = 1 << 20
_QUIET_SECONDS = 0.5


def usable_cores() -> int:
    """Those that the scheduler gives this process, which in a container may be fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def raise_descriptor_limit() -> int:
    """Allow this process as many open files as it may have; returns how many."""
    try:
        import resource
    except ImportError:  # Windows has no limit of this kind
        return _MANY_DESCRIPTORS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    many = _MANY_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _MANY_DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < many:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (many, hard))
            return many
    return many if soft == resource.RLIM_INFINITY else soft


def new_event_loop() -> asyncio.AbstractEventLoop:
    """Uvloop's where there is one."""
    try:
        import uvloop
    except ImportError:  # Windows has none
        return asyncio.SelectorEventLoop()
    return uvloop.new_event_loop()


class MemoryTrimmer:
    """Has glibc return free memory to the system after large requests and floods; it would keep it otherwise.

    Only when none has come for a moment: under load the memory is needed again at once. For the loop's thread.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._last, self._waiting = 0.0, False
        self._trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if os.name == "posix" else None

    def note(self, size: int = _LARGE_BYTES) -> None:
        """A request of `size` bytes has come, or has ended before it came."""
        if size >= _LARGE_BYTES and self._trim is not None:
            self._last = self._loop.time()
            if not self._waiting:
                self._waiting = True
                self._loop.call_later(_QUIET_SECONDS, self._check)

    def _check(self) -> None:
        quiet = self._loop.time() - self._last
        if quiet < _QUIET_SECONDS:
            self._loop.call_later(_QUIET_SECONDS - quiet, self._check)
        elif self._trim is not None:
            self._waiting = False
            self._loop.run_in_executor(None, self._trim, 0)
