"""Keys that clients make up fill no memory: number and bytes are bounded."""

from __future__ import annotations

import threading

import pytest

from hangtag_serving.bounded_cache import BoundedCache


def stored(cache: BoundedCache[int, int], keys: range) -> list[int]:
    return [key for key in keys if cache.get(key) is not None]


@pytest.mark.parametrize(("max_entries", "max_bytes"), [(3, 1000), (1000, 30)], ids=["entries", "bytes"])
def test_the_oldest_entries_make_room(max_entries, max_bytes):
    cache: BoundedCache[int, int] = BoundedCache(max_entries, max_bytes)
    for key in range(10):
        cache.put(key, key, 10)
    assert stored(cache, range(10)) == [7, 8, 9]


def test_a_key_that_is_stored_again_evicts_no_other():
    cache: BoundedCache[int, int] = BoundedCache(2, 20)
    for key in (0, 1, 1, 1):
        cache.put(key, key, 10)
    assert stored(cache, range(2)) == [0, 1]


def test_what_can_never_fit_is_not_stored_and_evicts_nothing():
    cache: BoundedCache[int, int] = BoundedCache(2, 20)
    cache.put(0, 0, 10)
    cache.put(1, 1, 21)
    assert stored(cache, range(2)) == [0]


def test_what_is_removed_makes_room():
    cache: BoundedCache[int, int] = BoundedCache(2, 20)
    for key in range(2):
        cache.put(key, key, 10)
    cache.remove(0)
    cache.remove(5)
    cache.put(2, 2, 10)
    assert stored(cache, range(3)) == [1, 2]
    cache.clear()
    cache.put(3, 3, 20)
    assert stored(cache, range(4)) == [3]


def test_the_bounds_hold_in_several_threads():
    cache: BoundedCache[int, int] = BoundedCache(10, 100)

    def fill(first: int) -> None:
        for key in range(first, first + 2000):
            cache.put(key, key, 7)
            cache.remove(key - 3)

    threads = [threading.Thread(target=fill, args=(100_000 * number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    left = sum(len(stored(cache, range(100_000 * number, 100_000 * number + 2000))) for number in range(4))
    assert 0 < left <= 10
