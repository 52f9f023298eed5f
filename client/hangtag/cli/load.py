"""Load against a running server: how fast it answers, and what goes wrong, under closed and open loops.

Closed loop: so many callers, each sending its next request when it has the last answer; it finds the highest
throughput. Open loop: requests begin at a fixed rate whatever the server does, and latency counts from the moment a
request was due, so that a server which stalls is not asked less while it stalls (Schroeder, Wierman and Harchol-Balter,
"Open Versus Closed: A Cautionary Tale", NSDI 2006).
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from ..core.validation import find_signature, only_input
from ..errors import HangtagError, InvalidInput
from ..model import ModelMetadata
from ..protocol import dtypes


@dataclass(frozen=True, slots=True)
class Step:
    """One setting that was held for a while. Latencies in milliseconds, NaN-free: None when nothing was answered."""

    loop: str
    concurrency: int
    rate: float | None
    seconds: float
    requests: int
    images: int
    requests_per_second: float
    images_per_second: float
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    errors: dict[str, int]
    unsent: int
    """Requests of an open loop that were due, and that no caller was free to send before the end."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for json."""
        return asdict(self)


@dataclass
class _Tally:
    """What the callers of one step have seen."""

    latencies: list[float] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def call(self, send: Callable[[], object], began: float | None = None) -> None:
        began = time.perf_counter() if began is None else began
        try:
            send()
        except HangtagError as error:
            with self.lock:
                self.errors[type(error).__name__] += 1
        else:
            self.latencies.append(time.perf_counter() - began)  # an append is atomic


def closed_loop(send: Callable[[], object], *, concurrency: int, seconds: float, images: int) -> Step:
    """`concurrency` callers, one request after the other, for `seconds`."""
    tally = _Tally()

    def caller(stop: threading.Event) -> None:
        while not stop.is_set():
            tally.call(send)

    with _callers(concurrency, caller) as stop:
        began = time.perf_counter()
        stop.wait(seconds)
        elapsed = time.perf_counter() - began
        answered = len(tally.latencies)  # what comes after the bell belongs to no second that was counted
        stop.set()
    tally.latencies = tally.latencies[:answered]
    return _summary("closed", tally, concurrency, None, elapsed, images)


def open_loop(send: Callable[[], object], *, rate: float, concurrency: int, seconds: float, images: int) -> Step:
    """`rate` requests a second for `seconds`, by at most `concurrency` callers; a late start counts as latency.

    A request that no caller was free to begin before the end is not sent, and counted as such.
    """
    tally = _Tally()
    due = max(1, int(rate * seconds))
    numbers = iter(range(due))  # shared by all callers: each takes the next
    began = time.perf_counter()

    def caller(stop: threading.Event) -> None:
        for number in numbers:
            moment = began + number / rate
            if stop.wait(max(0.0, moment - time.perf_counter())) or time.perf_counter() > began + seconds:
                return
            tally.call(send, moment)

    with _callers(concurrency, caller):
        pass
    elapsed = time.perf_counter() - began
    unsent = due - len(tally.latencies) - tally.errors.total()
    return _summary("open", tally, concurrency, rate, elapsed, images, unsent)


@contextmanager
def _callers(count: int, work: Callable[[threading.Event], None]) -> Iterator[threading.Event]:
    """Threads that do `work` until it ends or the event is set, waited for at the end of the block."""
    stop = threading.Event()
    threads = [threading.Thread(target=work, args=(stop,), daemon=True) for _ in range(count)]
    try:
        for thread in threads:
            thread.start()
        yield stop
        for thread in threads:
            thread.join()
    finally:
        stop.set()  # after Ctrl-C they begin nothing more, and nobody waits for the answers under way


def _summary(
    loop: str, tally: _Tally, concurrency: int, rate: float | None, seconds: float, images: int, unsent: int = 0
) -> Step:
    count = len(tally.latencies)
    marks: list[float | None] = [None, None, None]
    if count:
        marks = [round(float(mark), 3) for mark in np.percentile(np.array(tally.latencies) * 1000, [50, 95, 99])]
    return Step(
        loop=loop,
        concurrency=concurrency,
        rate=rate,
        seconds=round(seconds, 3),
        requests=count,
        images=count * images,
        requests_per_second=round(count / seconds, 1),
        images_per_second=round(count * images / seconds, 1),
        p50_ms=marks[0],
        p95_ms=marks[1],
        p99_ms=marks[2],
        errors=dict(sorted(tally.errors.items())),
        unsent=unsent,
    )


def made_up_images(model: ModelMetadata, signature_name: str, count: int) -> np.ndarray:
    """Random pixels (always the same) of the shape and dtype that a signature takes; raises InvalidInput."""
    signature = find_signature(model, signature_name)
    spec = signature.inputs[only_input(signature, signature_name)]
    dtype = dtypes.BY_NAME.get(spec.dtype)
    if dtype is None or dtype.numpy.kind not in "uf" or not spec.shape or None in spec.shape[1:]:
        raise InvalidInput(f"signature {signature_name!r} takes {spec}: give images of your own with --images FILE.npy")
    shape = (count, *(size or 1 for size in spec.shape[1:]))
    random = np.random.default_rng(0)
    if dtype.numpy.kind == "f":
        return random.random(shape).astype(dtype.numpy)
    return random.integers(0, 256, shape).astype(dtype.numpy)


def table(steps: Iterator[Step]) -> Iterator[str]:
    """Lines for people, each as soon as its step is done."""
    yield f"{'loop':>7} {'callers':>8} {'req/s':>9} {'images/s':>10} {'p50 ms':>8} {'p95 ms':>8} {'p99 ms':>8}  errors"
    for step in steps:
        loop = step.loop if step.rate is None else f"{step.rate:g}/s"
        marks = " ".join(
            f"{'-' if mark is None else format(mark, '.2f'):>8}" for mark in (step.p50_ms, step.p95_ms, step.p99_ms)
        )
        trouble = [f"{count:,} {kind}" for kind, count in step.errors.items()]
        trouble += [f"{step.unsent:,} not sent"] if step.unsent else []
        yield (
            f"{loop:>7} {step.concurrency:>8} {step.requests_per_second:>9,.0f} {step.images_per_second:>10,.0f} "
            f"{marks}  {', '.join(trouble) or 'none'}"
        )
