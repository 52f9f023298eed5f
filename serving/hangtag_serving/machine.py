"""What this process may use of the machine."""

from __future__ import annotations

import os
from contextlib import suppress

_MANY_DESCRIPTORS = 65536


def usable_cores() -> int:
    """Those that the scheduler gives this process, which in a container may be fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def raise_descriptor_limit() -> int:
    """Allow this process as many open files as it may have; returns how many."""
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
