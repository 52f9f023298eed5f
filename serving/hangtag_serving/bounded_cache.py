"""A cache whose keys come from clients: bounded, so that made-up keys cannot use up the memory."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class BoundedCache(Generic[K, V]):
    """At most `max_entries` entries of together `max_bytes`; a new one replaces the oldest. Safe in several threads.

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
        """The value of a key, or None. The dict's own method, since requests wait for it."""

    def put(self, key: K, value: V, size: int) -> None:
        """Store a value; `size` is what it and its key take in bytes. One that can never fit is not stored."""
        with self._lock:
            self._remove(key)
            if size > self._max_bytes:
                return
            while len(self._values) >= self._max_entries or self._bytes + size > self._max_bytes:
                self._remove(next(iter(self._values)))
            self._values[key], self._sizes[key] = value, size
            self._bytes += size

    def remove(self, key: K) -> None:
        """Forget a key, if it is there."""
        with self._lock:
            self._remove(key)

    def clear(self) -> None:
        """Forget all keys."""
        with self._lock:
            self._values.clear()
            self._sizes.clear()
            self._bytes = 0

    def _remove(self, key: K) -> None:
        self._values.pop(key, None)
        self._bytes -= self._sizes.pop(key, 0)
