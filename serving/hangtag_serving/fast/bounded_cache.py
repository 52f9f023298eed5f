"""Memories that strangers can fill, since they choose what there is to remember."""

from __future__ import annotations

from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")


def keep(known: dict[K, V], key: K, value: V, most: int) -> None:
    """Remember `value`, in place of what was remembered first if there are `most` already. From any thread."""
    if len(known) >= most:
        known.pop(next(iter(known.copy())), None)
    known[key] = value
