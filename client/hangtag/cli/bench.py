"""`hangtag bench`: puts load on a running server, in a closed or an open loop, and measures it.

Closed loop: each of a number of callers sends its next request after the last response. This finds the highest
throughput. Open loop: requests begin at a fixed rate, regardless of how busy the server is, and latency counts from the
time when a request was due. So a server that stalls does not get fewer requests meanwhile. Source: Schroeder, Wierman
and Harchol-Balter, "Open Versus Closed: A Cautionary Tale", NSDI 2006.
"""

from __future__ import annotations

import argparse
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from ..client import Client
from ..core.validation import find_signature, only_input
from ..errors import HangtagError, InvalidInput
from ..model import ModelMetadata
from ..protocol import dtypes
from . import connection, inputs
from .terminal import counted, done

_MOST_CALLERS = 10_000  # a thread each
_HIGHEST_RATE = 1_000_000


def register(commands: Any) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "bench",
        description="Send one request repeatedly and print a line for each load level: requests and images per "
        "second, latency percentiles, errors. Without --rate, each caller sends its next request after a response "
        "(closed loop); with --rate, requests start at a fixed rate (open loop).",
        examples=[
            "hangtag bench --concurrency 1,4,16 --batch-size 32",
            "hangtag bench --rate 100,200,400 --concurrency 64 --duration 10 --json",
        ],
    )
    connection.add_server(parser, timeout_help="deadline for each request (default %(default)g)")
    parser.add_argument(
        "--images", metavar="FILE.npy", help="images to send (default: random images that fit the signature)"
    )
    parser.add_argument("--batch-size", metavar="N", type=int, default=1, help="images per request (default 1)")
    parser.add_argument(
        "--concurrency",
        metavar="N,N,…",
        default="1,2,4,8",
        help="concurrent callers, one step for each number (default %(default)s)",
    )
    parser.add_argument(
        "--rate",
        metavar="R,R,…",
        help="requests per second, one step for each number, with at most --concurrency callers",
    )
    parser.add_argument(
        "--duration", metavar="SECONDS", type=float, default=5.0, help="duration of each step (default 5)"
    )
    parser.add_argument(
        "--warm-up",
        metavar="SECONDS",
        type=float,
        default=1.0,
        help="unmeasured load before the first step (default 1)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object per step")
    connection.add_model_options(parser)
    parser.set_defaults(run=_bench)


def _bench(arguments: argparse.Namespace) -> int:
    """Run the command; returns 0 if a request succeeded, else 1."""
    callers = _numbers(arguments.concurrency, "--concurrency", _MOST_CALLERS)
    rates = _numbers(arguments.rate, "--rate", _HIGHEST_RATE) if arguments.rate else []
    if any(number != int(number) for number in callers):
        raise InvalidInput("--concurrency counts callers: give whole numbers")
    if rates and len(callers) > 1:
        callers = [max(callers)]
    if arguments.batch_size < 1:
        raise InvalidInput(f"--batch-size is {arguments.batch_size}: give 1 or more")
    longest = threading.TIMEOUT_MAX
    if not (0 < arguments.duration <= longest and 0 <= arguments.warm_up <= longest):  # NaN is refused too
        raise InvalidInput("--duration must be more than 0 seconds and --warm-up 0 or more, and both must be finite")
    finished: list[Step] = []
    with connection.client(arguments, retries=0, concurrency=int(max(callers))) as client:
        steps = _steps(arguments, client, [int(number) for number in callers], rates)
        if arguments.json:
            for step in steps:
                finished.append(step)
                print(json.dumps(step.to_dict()), flush=True)
        else:
            for line in table(_noted(steps, finished)):
                print(line, flush=True)
    succeeded = sum(step.requests for step in finished)
    best = max((step.images_per_second for step in finished), default=0.0)
    done(f"{counted(succeeded, 'request')}, at best {best:,.0f} images/s", next_step="hangtag compare")
    return 0 if succeeded else 1


def _noted(steps: Iterator[Step], finished: list[Step]) -> Iterator[Step]:
    for step in steps:
        finished.append(step)
        yield step


def _steps(arguments: argparse.Namespace, client: Client, callers: list[int], rates: list[float]) -> Iterator[Step]:
    model = client.metadata()  # fails at once if the server does not answer
    count = arguments.batch_size
    if arguments.images:
        sources = inputs.find([arguments.images])
        images = next((item for source in sources for item in source.items(0)), None)
        if not isinstance(sources[0], inputs.Array) or images is None or len(images) < count:
            raise InvalidInput(f"{arguments.images} does not hold {count} images in one array")
        images = images[:count]
    else:
        images = random_images(model, "serving_default", count)

    def send() -> object:
        return client.classify(images)

    send()  # checks the images, and fetches the class names, which must not be timed
    if arguments.warm_up:
        closed_loop(send, concurrency=callers[0], seconds=arguments.warm_up, images=count)
    for rate in rates:
        yield open_loop(send, rate=rate, concurrency=callers[0], seconds=arguments.duration, images=count)
    for number in callers if not rates else []:
        yield closed_loop(send, concurrency=number, seconds=arguments.duration, images=count)


def _numbers(text: str, flag: str, most: float) -> list[float]:
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if not numbers or not all(0 < number <= most for number in numbers):  # NaN is refused too
        raise InvalidInput(f"{flag} is {text!r}: give numbers over 0 and up to {most:,}, separated by commas")
    return numbers


@dataclass(frozen=True, slots=True)
class Step:
    """The result of one setting. Latencies are in milliseconds, or None if no request succeeded."""

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
    """Requests of an open loop that were due but not sent, because no caller was free before the end."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for json."""
        return asdict(self)


@dataclass
class _Tally:
    """The latencies (in seconds) and the errors (by name) of all callers in one step."""

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
    """Let `concurrency` callers send one request after the other for `seconds`."""
    tally = _Tally()

    def caller(stop: threading.Event) -> None:
        while not stop.is_set():
            tally.call(send)

    with _callers(concurrency, caller) as stop:
        began = time.perf_counter()
        stop.wait(seconds)
        elapsed = time.perf_counter() - began
        succeeded = len(tally.latencies)  # responses after the deadline are not counted
        stop.set()
    tally.latencies = tally.latencies[:succeeded]
    return _summary("closed", tally, concurrency, None, elapsed, images)


def open_loop(send: Callable[[], object], *, rate: float, concurrency: int, seconds: float, images: int) -> Step:
    """Send `rate` requests per second for `seconds`, by at most `concurrency` callers. A late start counts as latency.

    Requests for which no caller was free before the end are counted as unsent.
    """
    tally = _Tally()
    due = max(1, int(rate * seconds))
    numbers = iter(range(due))  # shared by all callers, who take the next number
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
    """Run `work` in `count` threads. The end of the block waits for them; the event stops them earlier."""
    stop = threading.Event()
    threads = [threading.Thread(target=work, args=(stop,), daemon=True) for _ in range(count)]
    try:
        for thread in threads:
            thread.start()
        yield stop
        for thread in threads:
            thread.join()
    finally:
        stop.set()  # after Ctrl-C, they send nothing more, and nothing waits for their responses


def _summary(
    loop: str, tally: _Tally, concurrency: int, rate: float | None, seconds: float, images: int, unsent: int = 0
) -> Step:
    count = len(tally.latencies)
    percentiles: list[float | None] = [None, None, None]
    if count:
        percentiles = [
            round(float(value), 3) for value in np.percentile(np.array(tally.latencies) * 1000, [50, 95, 99])
        ]
    return Step(
        loop=loop,
        concurrency=concurrency,
        rate=rate,
        seconds=round(seconds, 3),
        requests=count,
        images=count * images,
        requests_per_second=round(count / seconds, 1),
        images_per_second=round(count * images / seconds, 1),
        p50_ms=percentiles[0],
        p95_ms=percentiles[1],
        p99_ms=percentiles[2],
        errors=dict(sorted(tally.errors.items())),
        unsent=unsent,
    )


def random_images(model: ModelMetadata, signature_name: str, count: int) -> np.ndarray:
    """Pseudo-random images in the shape and dtype of a signature, the same in every run; raises InvalidInput."""
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
    """The lines of the table; each line comes when its step is done."""
    yield f"{'loop':>7} {'callers':>8} {'req/s':>9} {'images/s':>10} {'p50 ms':>8} {'p95 ms':>8} {'p99 ms':>8}  errors"
    for step in steps:
        loop = step.loop if step.rate is None else f"{step.rate:g}/s"
        latencies = " ".join(
            f"{'-' if value is None else format(value, '.2f'):>8}" for value in (step.p50_ms, step.p95_ms, step.p99_ms)
        )
        problems = [f"{count:,} {kind}" for kind, count in step.errors.items()]
        problems += [f"{step.unsent:,} not sent"] if step.unsent else []
        yield (
            f"{loop:>7} {step.concurrency:>8} {step.requests_per_second:>9,.0f} {step.images_per_second:>10,.0f} "
            f"{latencies}  {', '.join(problems) or 'none'}"
        )
