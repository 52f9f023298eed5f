"""The compiled gRPC front: HTTP/2 and framing by pygrpc-native, in Rust, outside the interpreter's lock.

It has no limit on the size of a message, no TLS and no drain of its own, so it listens on loopback only, and drain is
done here: new calls are answered UNAVAILABLE, running ones finish, then it is closed.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import pygrpc_native

from hangtag.codes import CODES

from .bursts import BurstPredictor
from .errors import ServingError
from .grpc_front import INTERNAL, GrpcOptions, cut
from .grpc_service import PREDICT, Method
from .health import WATCH, watch
from .models import Models
from .recorder import Recorder
from .tensor_protos import Encode

log = logging.getLogger("hangtag.serving")

_BURST = 64  # calls that one thread takes at once
_READERS = 2
_SLOW_SECONDS = 0.02  # while a burst takes longer, bursts go to the pool: a slow model must not stop a quick one
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
        self._front = pygrpc_native.NativeGrpcFront(options.address, [*((name, False) for name in names), *streams])
        self._predictor = BurstPredictor(models, encode, recorder, self._respond, self._fail)
        self._pool = ThreadPoolExecutor(options.threads, thread_name_prefix="grpc")
        self._running, self._stopping = 0, False
        self._idle = threading.Condition()
        self._seconds = 0.0  # a moving average of how long a burst takes
        self._readers = [
            threading.Thread(target=self._read, name=f"grpc-{number}", daemon=True) for number in range(_READERS)
        ]

    def start(self) -> None:
        """Accept calls."""
        self._front.start()
        for reader in self._readers:
            reader.start()

    def stop(self, grace: float) -> None:
        """Refuse new calls, let running ones finish for `grace` seconds, then cut them."""
        with self._idle:
            self._stopping = True
            self._idle.wait_for(lambda: self._running == 0, grace)
        self._front.close()
        for reader in self._readers:
            reader.join(1)
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _read(self) -> None:
        while (events := self._front.recv_batch(_BURST)) is not None:
            calls = [event for event in events if event[0] == pygrpc_native.EVENT_CALL]
            if not self._enter(len(calls)):
                for call in calls:
                    self._front.fail(call[1], CODES.index("UNAVAILABLE"), _STOPPING)
                continue
            predicts = []
            for _, number, method, body, _ in calls:
                if method == 0:
                    predicts.append((number, body))
                else:
                    self._pool.submit(self._answer, number, method, body)
            if predicts and self._seconds > _SLOW_SECONDS:
                for predict in predicts:
                    self._pool.submit(self._predict, [predict])
            elif predicts:
                self._predict(predicts)

    def _predict(self, calls: list[tuple[int, bytes]]) -> None:
        begun = time.perf_counter()
        try:
            self._predictor.answer(calls)
        except Exception:
            log.exception("a burst of gRPC calls failed")
        finally:
            self._leave(len(calls))
            self._seconds += (min(time.perf_counter() - begun, 1.0) - self._seconds) / 8

    def _answer(self, number: int, method: int, body: bytes) -> None:
        try:
            if method == self._watch:
                self._front.stream_send(number, watch(body))  # and never a second message
            else:
                self._respond(number, self._methods[method](body))
        except ServingError as error:
            self._fail(number, error)
        except Exception:
            log.exception("a gRPC request failed")
            self._fail(number, ServingError("INTERNAL", INTERNAL))
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
