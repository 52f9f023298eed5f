"""The threaded client."""

from __future__ import annotations

import math
import time
import warnings
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from . import config
from .core.chunking import LINGER, Gatherer
from .core.retry import NOT_READY, POLL
from .core.session import Progress
from .core.validation import Parcel
from .errors import DeadlineExceeded, HangtagError
from .model import ModelMetadata, Reply, VersionStatus
from .results import Classification
from .tls import TLS
from .transports.thread_runner import Sender

if TYPE_CHECKING:
    import grpc
    import numpy as np
    import requests


class Client:
    """Class names from a model behind TensorFlow Serving.

    >>> with Client("localhost:8500", model="fashion") as client:
    ...     client.classify(images[:2]).labels.tolist()
    ['Ankle boot', 'Pullover']

    `target` is ``host:port`` for gRPC (``grpcs://host:port`` with TLS, ``unix:/path``, or ``dns:///name:port``, whose
    addresses are called in turn), or ``http://host:port`` and ``https://host:port`` for REST. `version` or
    `version_label` picks a version, neither means the newest. `labels` replaces the model's own class names. `timeout`
    is in seconds and covers a whole call with all its chunks and `retries`. A call of many images goes out in chunks of
    `batch_size` (None: a good size for the protocol), `concurrency` at a time. `tls` names certificate files. `headers`
    go with every request. `gzip_above` compresses REST requests larger than so many bytes. `channel` (a grpc.Channel)
    or `session` (a requests.Session) is used instead of one of the client's own, and not closed by it.

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
        tls: TLS | None = None,
        headers: Mapping[str, str] | None = None,
        gzip_above: int | None = None,
        channel: grpc.Channel | None = None,
        session: requests.Session | None = None,
    ) -> None:
        self._settings, self._conversation = config.check(
            target,
            model=model,
            version=version,
            version_label=version_label,
            signature=signature,
            labels=labels,
            language=language,
            timeout=timeout,
            retries=retries,
            batch_size=batch_size,
            concurrency=concurrency,
            tls=tls,
            headers=headers,
            gzip_above=gzip_above,
            channel=channel,
            session=session,
        )
        self._sender = Sender(self._settings)

    # ---- the calls

    def classify(self, images: Any, *, prepare: str | None = None, progress: Progress | None = None) -> Classification:
        """Class names for one image or any number of them, all answered by one version of the model.

        `images`: uint8 [N, H, W] (or [N, H, W, 3]), floats 0..1 or whole floats 0..255 of that shape, one image
        without the batch dimension, paths or bytes of PNG and JPEG files, PIL images, or a list of one kind of these.
        Shape and dtype are checked against the model before anything is sent. ``prepare="photo"`` first makes each
        photograph look like Fashion-MNIST. `progress` is called with the images done and their total.

        >>> result = client.classify(images[0])
        >>> result[0].label, result.model_version
        ('Ankle boot', 1)
        """
        return self._sender.run(self._conversation.classify(images, prepare, progress))

    def classify_stream(self, items: Iterable[Any], *, prepare: str | None = None) -> Iterator[Classification]:
        """As ``map(client.classify, items)`` would: one result for each item, in order, in bounded memory.

        An item is anything that `classify` takes, one image or a batch. Small items travel together and several
        requests are under way at once, so a few items are read ahead; a source that takes its time gets each result
        before it is asked for the next item. `timeout` counts for each request. Whether float images run to 1 or to
        255 is decided by the first item.

        >>> [result[0].label for result in client.classify_stream(images[:3])]
        ['Ankle boot', 'Pullover', 'Trouser']
        """
        gatherer = Gatherer(self._conversation, prepare)
        waiting: deque[tuple[Parcel, list[Future[Reply]]]] = deque()

        def gathered() -> Iterator[tuple[list[Parcel], bool]]:
            """What is full after each item, and whether somebody waits for all the answers."""
            asked = time.monotonic()
            try:
                for item in items:
                    slow = time.monotonic() - asked > LINGER
                    full = self._sender.run(gatherer.put(item))
                    yield (full + gatherer.flush() if slow else full), slow
                    asked = time.monotonic()
            except Exception:  # of the source, or of one item: what came before it is answered before it is told
                yield gatherer.flush(), True
                raise
            yield gatherer.flush(), True

        def cancel() -> None:
            for _, futures in waiting:
                for future in futures:
                    future.cancel()

        def receive() -> Iterator[Classification]:
            parcel, futures = waiting[0]
            replies: list[Reply] = []
            try:
                for future in futures:
                    replies.append(future.result())
            except HangtagError:
                cancel()  # what has not begun need not
                whole = parcel.begin(len(replies))
                if whole.items:
                    yield from self._sender.run(self._conversation.settle(whole, replies))
                raise
            waiting.popleft()
            yield from self._sender.run(self._conversation.settle(parcel, replies))

        try:
            for parcels, wanted in gathered():
                for parcel in parcels:
                    waiting.append((parcel, self._sender.submit(self._conversation.calls(parcel))))
                while waiting and (
                    wanted
                    or sum(len(futures) for _, futures in waiting) > 2 * self._settings.concurrency
                    or all(future.done() for future in waiting[0][1])
                ):
                    yield from receive()
        finally:
            cancel()

    def predict(self, inputs: Mapping[str, Any], *, signature: str | None = None) -> dict[str, np.ndarray]:
        """Any signature of any model: arrays by input name in, arrays by output name out, in one request.

        Strings are object arrays of bytes, bfloat16 comes as float32. `signature` None is the client's own. What does
        not fit the signature's names, dtypes and fixed dimensions is InvalidInput.

        >>> client.predict({"index": [9, 0]}, signature="labels")["class_name"].tolist()
        [b'Ankle boot', b'T-shirt/top']
        """
        return self._sender.run(self._conversation.predict(inputs, signature))

    def labels(self) -> list[str]:
        """The class names in label order, from the model's `labels` signature; one call, remembered per version.

        >>> client.labels()[:3]
        ['T-shirt/top', 'Trouser', 'Pullover']
        """
        return list(self._sender.run(self._conversation.class_names()))

    def status(self) -> tuple[VersionStatus, ...]:
        """The state of every version that the server has known, newest first.

        >>> client.status()[0].state
        'AVAILABLE'
        """
        return self._sender.run(self._conversation.status())

    def metadata(self) -> ModelMetadata:
        """Version and signatures of the model version that would answer now.

        >>> str(client.metadata().signatures["serving_default"].inputs["images"])
        'uint8 [?, 28, 28]'
        """
        return self._sender.run(self._conversation.metadata())

    def ready(self) -> bool:
        """Whether the server answers and has a version loaded that would serve this client's calls.

        >>> client.ready()
        True
        """
        try:
            self._sender.run(self._conversation.metadata(), retries=0)
        except NOT_READY:
            return False
        return True

    def wait_ready(self, timeout: float = 60.0) -> ModelMetadata:
        """Wait until `ready`, at most `timeout` seconds; raises DeadlineExceeded with what was wrong last.

        >>> client.wait_ready(30).version
        1
        """
        end = time.monotonic() + config.check_seconds(timeout, least=-math.inf)  # with no time left it looks once
        while True:
            left = max(end - time.monotonic(), 0.001)
            try:
                return self._sender.run(self._conversation.metadata(), min(left, self._settings.timeout), retries=0)
            except NOT_READY as error:
                if time.monotonic() + POLL >= end:
                    spec = self._conversation.spec
                    raise DeadlineExceeded(f"{spec} is not ready after {timeout:g} s: {error}") from error
            time.sleep(POLL)

    # ---- the ending

    def close(self) -> None:
        """Free connections and threads. Closing twice does nothing.

        >>> client.close()
        """
        self._sender.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        sender: Sender | None = getattr(self, "_sender", None)  # there is none after a refused argument
        if sender is not None and sender.opened:
            warnings.warn(f"{self!r} was left open: use `with` or close()", ResourceWarning, stacklevel=2, source=self)
            self.close()

    def __repr__(self) -> str:
        return f"<Client of {self._conversation.spec} at {self._settings.target}>"
