"""What each cache of the client gains: a call for one image and for 256, with and without it, by turns.

    python benchmarks/caches.py [--rounds 300]

A constant server answers. Printed are medians in microseconds, and the median of the ratios of neighbouring calls.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from unittest import mock

from client import constant
from hangtag import Client
from hangtag.core.model_cache import ModelCache
from hangtag.protocol import response_layout
from workers import IMAGES


class Forgetful(dict):
    """A dict that stores nothing."""

    def __setitem__(self, key, value) -> None:
        pass


def nothing(*_: object) -> None:
    """A `plan_for` that finds nothing."""


@contextmanager
def without(cache: str, client: Client) -> Iterator[None]:
    """Calls of `client` do without one cache."""
    patches = {
        "plans": mock.patch.object(ModelCache, "plan_for", nothing),
        "class names": mock.patch.object(client._session._cache, "settled", Forgetful()),
        "response layouts": mock.patch.object(response_layout, "_layouts", Forgetful()),
    }
    with patches[cache]:
        yield


def seconds(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=300)
    rounds = parser.parse_args().rounds
    for protocol in ("grpc", "rest"):
        with constant(protocol) as address, Client(address if protocol == "grpc" else f"http://{address}") as client:
            for size in (1, 256 if protocol == "grpc" else 64):
                for cache in ("plans", "class names", "response layouts")[: 3 if protocol == "grpc" else 2]:
                    report(f"{protocol}, {size} images, without {cache}", client, IMAGES[:size], cache, rounds)


def report(what: str, client: Client, images, cache: str, rounds: int) -> None:
    for _ in range(20):
        client.classify(images)
    with_it, without_it = [], []
    for _ in range(rounds):
        with_it.append(seconds(lambda: client.classify(images)))
        with without(cache, client):
            without_it.append(seconds(lambda: client.classify(images)))
    ratio = statistics.median(b / a for a, b in zip(with_it, without_it, strict=True))
    print(
        f"{what:<50}{1e6 * statistics.median(with_it):>9.0f} {1e6 * statistics.median(without_it):>9.0f} {ratio:>7.3f}",
        flush=True,
    )


if __name__ == "__main__":
    main()
