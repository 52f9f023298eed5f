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
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from . import dtypes
from .errors import HangtagError, InvalidInput
from .model import ModelMetadata
from .plan import find_signature, only_input


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
    tally, stop = _Tally(), threading.Event()

    def caller() -> None:
        while not stop.is_set():
            tally.call(send)

    with _threads(concurrency, caller):
        began = time.perf_counter()
        stop.wait(seconds)
        elapsed = time.perf_counter() - began
        answered = len(tally.latencies)  # what comes after the bell belongs to no second that was counted
        stop.set()
    tally.latencies = tally.latencies[:answered]
    return _summary("closed", tally, concurrency, None, elapsed, images)


def open_loop(send: Callable[[], object], *, rate: float, concurrency: int, seconds: float, images: int) -> Step:
    """`rate` requests a second for `seconds`, by at most `concurrency` callers; a late start counts as latency."""
    tally = _Tally()
    began = time.perf_counter()
    due = iter([began + number / rate for number in range(max(1, int(rate * seconds)))])
    lock = threading.Lock()

    def caller() -> None:
        while True:
            with lock:
                moment = next(due, None)
            if moment is None:
                return
            time.sleep(max(0.0, moment - time.perf_counter()))
            tally.call(send, moment)

    with _threads(concurrency, caller):
        pass
    return _summary("open", tally, concurrency, rate, time.perf_counter() - began, images)


class _threads:  # noqa: N801 - used as a function
    def __init__(self, count: int, work: Callable[[], None]) -> None:
        self._threads = [threading.Thread(target=work, daemon=True) for _ in range(count)]

    def __enter__(self) -> None:
        for thread in self._threads:
            thread.start()

    def __exit__(self, *_: object) -> None:
        for thread in self._threads:
            thread.join()


def _summary(loop: str, tally: _Tally, concurrency: int, rate: float | None, seconds: float, images: int) -> Step:
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
        errors = ", ".join(f"{count} {kind}" for kind, count in step.errors.items()) or "none"
        yield (
            f"{loop:>7} {step.concurrency:>8} {step.requests_per_second:>9,.0f} {step.images_per_second:>10,.0f} "
            f"{marks}  {errors}"
        )
