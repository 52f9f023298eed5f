"""Caches whose keys come from clients: bounded, so that made-up keys cannot use up the memory."""

from __future__ import annotations

from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")


def put(cache: dict[K, V], key: K, value: V, max_entries: int) -> None:
    """Store `value`; a new key in a full cache replaces the oldest one. Safe in several threads."""
    if key not in cache and len(cache) >= max_entries:
        cache.pop(next(iter(cache.copy())), None)
    cache[key] = value
