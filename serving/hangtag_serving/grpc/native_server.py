"""The compiled gRPC front: HTTP/2 and framing by pygrpc-native, in Rust, outside the interpreter's lock.

It has no limit on the size of a message, no TLS and no drain of its own, so it listens on loopback only, and drain is
done here: new calls are answered UNAVAILABLE, running ones finish, then it is closed.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pygrpc_native

from hangtag.codes import CODES

from ..api.grpc_methods import PREDICT, Method
from ..api.tensor_protos import Encode
from ..errors import INTERNAL, ServingError
from ..fast.coalescing import Run
from ..fast.grpc_predict import GrpcBursts
from ..machine import usable_cores
from ..models.registry import Models
from ..request_log import Recorder
from .grpcio_server import GrpcOptions, cut
from .health import WATCH, watch

log = logging.getLogger("hangtag.serving")

_BURST = 64  # calls that one thread takes at once
_QUICK_SECONDS = 0.001  # less than this is not worth waking another thread for
_SLOW_SECONDS = 0.02  # a run that takes longer goes to the pool: a slow model must not stop a quick one
_STOPPING = "the server is stopping"


class NativeFront:
    """Listens from `start` to `stop`. Raises OSError or RuntimeError if it cannot listen."""

    def __init__(
        self, options: GrpcOptions, methods: Mapping[str, Method], models: Models, encode: Encode, recorder: Recorder
    ) -> None:
        names = [PREDICT, *(name for name in methods if name != PREDICT)]
        self._methods = [methods[name] for name in names]
        streams = [(WATCH, True)] if options.health else []
        self._watch = len(names) if streams else -1
        cores = usable_cores()
        self._front = pygrpc_native.NativeGrpcFront(
            options.address, [*((name, False) for name in names), *streams], io_threads=1 if cores <= 2 else 2
        )
        self._bursts = GrpcBursts(models, encode, recorder, self._respond, self._fail)
        self._pool = ThreadPoolExecutor(options.threads, thread_name_prefix="grpc")
        self._running, self._stopping = 0, False
        self._idle = threading.Condition()
        # One thread at a time takes calls in, and answers what is quick; two that did so together would mostly hand
        # the interpreter's lock to and fro. Before a longer run it passes the turn on: TensorFlow needs no such lock.
        self._turn = threading.Lock()
        self._waiting: deque[Run] = deque()
        self._workers = [
            threading.Thread(target=self._work, name=f"grpc-{number}", daemon=True) for number in range(max(2, cores))
        ]

    def start(self) -> None:
        """Accept calls."""
        self._front.start()
        for worker in self._workers:
            worker.start()

    def stop(self, grace: float) -> None:
        """Refuse new calls, let running ones finish for `grace` seconds, then cut them."""
        with self._idle:
            self._stopping = True
            self._idle.wait_for(lambda: self._running == 0, grace)
        self._front.close()
        for worker in self._workers:
            worker.join(1)
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _work(self) -> None:
        while (run := self._next()) is not None:
            self._run(run)

    def _next(self) -> Run | None:
        """A run that is worth a thread of its own; quick ones are answered on the way. None when closed."""
        while True:
            with suppress(IndexError):
                return self._waiting.popleft()
            with self._turn:
                while not self._waiting:
                    events = self._front.recv_batch(_BURST)
                    if events is None:
                        return None
                    runs = self._sorted(events)
                    if sum(run.expected for run in runs) < _QUICK_SECONDS:
                        for run in runs:
                            self._run(run)
                    else:
                        self._waiting.extend(runs)

    def _sorted(self, events: Iterable[tuple[int, int, int, bytes, bytes]]) -> list[Run]:
        """The runs among these events. All other calls, and runs not known to be quick enough, go to the pool."""
        calls = [event for event in events if event[0] == pygrpc_native.EVENT_CALL]
        if not self._enter(len(calls)):
            for call in calls:
                self._front.fail(call[1], CODES.index("UNAVAILABLE"), _STOPPING)
            return []
        predicts = [(number, body) for _, number, method, body, _ in calls if method == 0]
        try:
            runs, unread = self._bursts.sort(predicts)
        except Exception:
            log.exception("gRPC calls could not be sorted")
            runs, unread = [], predicts
        for number, body in unread:
            self._pool.submit(self._answer_unread, number, body)
        for _, number, method, body, _ in calls:
            if method != 0:
                self._pool.submit(self._answer, number, method, body)
        ours = []
        for run in runs:
            if not 0 < run.expected <= _SLOW_SECONDS:  # 0: never run before, which takes TensorFlow longest
                self._pool.submit(self._run, run)
            else:
                ours.append(run)
        return ours

    def _run(self, run: Run) -> None:
        try:
            self._bursts.answer(run)
        except Exception:
            log.exception("a burst of gRPC calls failed")
        finally:
            self._leave(len(run.calls))

    def _answer_unread(self, number: int, body: bytes) -> None:
        if self._answer(number, 0, body):
            self._bursts.learn(body)

    def _answer(self, number: int, method: int, body: bytes) -> bool:
        """Answer a call; returns whether it was not with an error."""
        try:
            if method == self._watch:
                self._front.stream_send(number, watch(body))  # and never a second message
            else:
                self._respond(number, self._methods[method](body))
            return True
        except ServingError as error:
            self._fail(number, error)
            return False
        except Exception:
            log.exception("a gRPC request failed")
            self._fail(number, ServingError("INTERNAL", INTERNAL))
            return False
        finally:
            self._leave(1)

    def _respond(self, number: int, answer: bytes) -> None:
        self._front.respond(number, answer)

    def _fail(self, number: int, error: ServingError) -> None:
        self._front.fail(number, CODES.index(error.code), cut(error.message))

    def _enter(self, calls: int) -> bool:
        with self._idle:
            if not self._stopping:
                self._running += calls
            return not self._stopping

    def _leave(self, calls: int) -> None:
        with self._idle:
            self._running -= calls
            if not self._running:
                self._idle.notify_all()
