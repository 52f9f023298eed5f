"""The threaded client: sends what a Conversation says, within a deadline, with retries."""

from __future__ import annotations

import threading
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar

from .conversation import Conversation, Flow, Step
from .errors import DeadlineExceeded, HangtagError, InvalidInput, ModelNotFound, ServerBusy, ServerUnavailable
from .exchange import Exchange
from .fashion_mnist import check_language
from .model import ModelMetadata, ModelSpec, VersionStatus
from .results import Classification
from .retry import Deadline, pause_before_retry
from .target import Target, parse_target

if TYPE_CHECKING:
    import numpy as np

T = TypeVar("T")

_POLL = 0.1  # seconds between two looks of wait_ready


class Transport(Protocol):
    """Carries one exchange."""

    def send(self, exchange: Exchange[Any], timeout: float) -> bytes:
        """The body of the answer; raises a HangtagError."""

    def close(self) -> None:
        """Free the connections."""


class Client:
    """Class names from a model behind TensorFlow Serving.

    >>> with Client("localhost:8500", model="fashion") as client:        # doctest: +SKIP
    ...     client.classify(images).labels
    array(['Ankle boot', 'Pullover', …])

    `target` is ``host:port`` for gRPC or ``http://host:port`` for REST. `version` or `version_label` picks a version,
    neither means the newest. `labels` replaces the model's own class names. `timeout` is in seconds and covers a whole
    call with all its chunks and `retries`. A call of many images goes out in chunks of `batch_size` (None: a good size
    for the protocol), `concurrency` at a time. `headers` go with every request.

    No connection is made before the first call. One client may be used from many threads; after a fork, make a new one.
    """

    def __init__(
        self,
        target: str,
        *,
        model: str = "fashion",
        version: int | None = None,
        version_label: str | None = None,
        signature: str = "serving_default",
        labels: Sequence[str] | None = None,
        language: str = "en",
        timeout: float = 10.0,
        retries: int = 2,
        batch_size: int | None = None,
        concurrency: int = 4,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self._transport: Transport | None = None  # first, for __del__ after a refused argument
        self._pool: ThreadPoolExecutor | None = None
        self._lock = threading.Lock()
        self._closed = False
        self._target = parse_target(target)
        if version is not None and version_label is not None:
            raise InvalidInput("give version or version_label, not both")
        if not model:
            raise InvalidInput("the model name is empty")
        if not timeout > 0:
            raise InvalidInput(f"timeout is {timeout}: give seconds, more than 0")
        if retries < 0 or concurrency < 1 or (batch_size is not None and batch_size < 1):
            raise InvalidInput("retries must be at least 0, concurrency and batch_size at least 1")
        self._timeout, self._retries, self._concurrency = timeout, retries, concurrency
        self._headers = tuple((headers or {}).items())
        self._conversation = Conversation(
            protocol=self._target.protocol,
            spec=ModelSpec(model, version, version_label, signature),
            labels=None if labels is None else tuple(labels),
            language=check_language(language),
            batch_size=batch_size,
        )

    # ---- the calls

    def classify(self, images: Any) -> Classification:
        """Class names for one image or any number of them.

        `images`: uint8 [N, H, W] (or [N, H, W, 3]), floats 0..1 or whole floats 0..255 of that shape, one image
        without the batch dimension, paths or bytes of PNG and JPEG files, PIL images, or a list of one kind of these.
        Shape and dtype are checked against the model before anything is sent.
        """
        return self._run(self._conversation.classify(images), self._timeout, self._retries)

    def predict(self, inputs: Mapping[str, Any], *, signature: str | None = None) -> dict[str, np.ndarray]:
        """Any signature of any model: arrays by input name in, arrays by output name out, in one request.

        Strings are object arrays of bytes. `signature` None is the client's own.
        """
        return self._run(self._conversation.predict(inputs, signature), self._timeout, self._retries)

    def labels(self) -> list[str]:
        """The class names in label order, from the model's `labels` signature; one call, remembered per version."""
        return list(self._run(self._conversation.class_names(), self._timeout, self._retries))

    def status(self) -> tuple[VersionStatus, ...]:
        """The state of every version that the server has known, newest first."""
        return self._run(self._conversation.status(), self._timeout, self._retries)

    def metadata(self) -> ModelMetadata:
        """Version and signatures of the model version that would answer now."""
        return self._run(self._conversation.metadata(), self._timeout, self._retries)

    def ready(self) -> bool:
        """Whether the server answers and has a version loaded that would serve this client's calls."""
        try:
            self._run(self._conversation.metadata(), self._timeout, 0)
        except (ServerUnavailable, ServerBusy, ModelNotFound, DeadlineExceeded):
            return False
        return True

    def wait_ready(self, timeout: float = 60.0) -> ModelMetadata:
        """Wait until `ready`, at most `timeout` seconds; raises DeadlineExceeded with what was wrong last."""
        end = time.monotonic() + timeout
        while True:
            left = max(end - time.monotonic(), 0.001)
            try:
                return self._run(self._conversation.metadata(), min(left, self._timeout), 0)
            except (ServerUnavailable, ServerBusy, ModelNotFound, DeadlineExceeded) as error:
                if time.monotonic() + _POLL >= end:
                    spec = self._conversation.spec
                    raise DeadlineExceeded(f"{spec} is not ready after {timeout:g} s: {error}") from error
            time.sleep(_POLL)

    # ---- the sending

    def _run(self, flow: Flow[T], timeout: float, retries: int) -> T:
        """Drive a conversation: send what it yields, give it the answers."""
        deadline = Deadline(timeout)
        try:
            step = next(flow)
            while True:
                step = flow.send(self._carry_out(step, deadline, retries))
        except StopIteration as done:
            result: T = done.value
            return result

    def _carry_out(self, step: Step, deadline: Deadline, retries: int) -> Any:
        if isinstance(step, Exchange):
            return self._attempt(step, deadline, retries)
        if len(step) <= 1 or self._concurrency == 1:
            return [self._make_and_attempt(make, deadline, retries) for make in step]
        return self._side_by_side(step, deadline, retries)

    def _side_by_side(self, step: list[Callable[[], Exchange[Any]]], deadline: Deadline, retries: int) -> list[Any]:
        pool = self._workers()
        futures = [pool.submit(self._make_and_attempt, make, deadline, retries) for make in step]
        try:
            return [future.result() for future in futures]
        finally:
            for future in futures:  # after a failure: what has not begun need not
                future.cancel()

    def _make_and_attempt(self, make: Callable[[], Exchange[T]], deadline: Deadline, retries: int) -> T:
        return self._attempt(make(), deadline, retries)

    def _attempt(self, exchange: Exchange[T], deadline: Deadline, retries: int) -> T:
        transport = self._open()
        attempt = 0
        while True:
            attempt += 1
            try:
                return exchange.answer(transport.send(exchange, deadline.remaining()))
            except HangtagError as error:
                time.sleep(pause_before_retry(error, attempt, retries, deadline))

    def _open(self) -> Transport:
        if self._transport is None or self._closed:
            with self._lock:
                if self._closed:
                    raise InvalidInput("the client is closed")
                if self._transport is None:
                    self._transport = _connect(self._target, self._headers, self._concurrency)
        return self._transport

    def _workers(self) -> ThreadPoolExecutor:
        with self._lock:
            if self._closed:
                raise InvalidInput("the client is closed")
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self._concurrency, thread_name_prefix="hangtag")
            return self._pool

    # ---- the ending

    def close(self) -> None:
        """Free connections and threads. Closing twice does nothing."""
        with self._lock:
            self._closed = True
            transport, self._transport = self._transport, None
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=False, cancel_futures=True)
        if transport is not None:
            transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if self._transport is not None:
            warnings.warn(f"{self!r} was left open: use `with` or close()", ResourceWarning, stacklevel=2, source=self)
            self.close()

    def __repr__(self) -> str:
        return f"<Client of {self._conversation.spec} at {self._target}>"


def _connect(target: Target, headers: Sequence[tuple[str, str]], connections: int) -> Transport:
    if target.protocol == "grpc":
        from .transport_grpc import GrpcTransport

        return GrpcTransport(target, headers)
    from .transport_rest import RestTransport

    return RestTransport(target, headers, connections)
