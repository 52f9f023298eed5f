"""How many processors this process may use."""

from __future__ import annotations

import os


def usable_cores() -> int:
    """Those that the scheduler gives this process, which in a container may be fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
