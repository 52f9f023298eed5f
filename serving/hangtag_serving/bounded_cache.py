"""A cache with limits, for keys that clients choose: invented keys cannot fill the memory."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class BoundedCache(Generic[K, V]):
    """At most `max_entries` entries with `max_bytes` in total; a new entry replaces the oldest. Thread-safe.

    >>> cache = BoundedCache(max_entries=2, max_bytes=100)
    >>> for key in "abc":
    ...     cache.put(key, key.upper(), 10)
    >>> cache.get("a"), cache.get("c")
    (None, 'C')
    """

    def __init__(self, max_entries: int, max_bytes: int) -> None:
        self._max_entries, self._max_bytes = max_entries, max_bytes
        self._values: dict[K, V] = {}
        self._sizes: dict[K, int] = {}
        self._bytes = 0
        self._lock = threading.Lock()
        self.get: Callable[[K], V | None] = self._values.get
        """The value of a key, or None. It is the dict's own method, because every request calls it."""

    def put(self, key: K, value: V, size: int) -> None:
        """Store a value; `size` is the memory of key and value in bytes. One larger than the cache is not stored."""
        with self._lock:
            self._remove(key)
            if size > self._max_bytes:
                return
            while len(self._values) >= self._max_entries or self._bytes + size > self._max_bytes:
                self._remove(next(iter(self._values)))
            self._values[key], self._sizes[key] = value, size
            self._bytes += size

    def remove(self, key: K) -> None:
        """Remove a key, if it exists."""
        with self._lock:
            self._remove(key)

    def clear(self) -> None:
        """Remove all keys."""
        with self._lock:
            self._values.clear()
            self._sizes.clear()
            self._bytes = 0

    def _remove(self, key: K) -> None:
        self._values.pop(key, None)
        self._bytes -= self._sizes.pop(key, 0)
