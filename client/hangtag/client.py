"""The threaded client."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn, Self

from .config.options import Options, check_seconds, takes
from .core.calls import Progress
from .core.retry import NOT_READY, POLL, Waiting
from .core.session import Session
from .core.streaming import stream
from .model import ModelMetadata, VersionStatus
from .results import Classification
from .transports.thread_runner import ThreadRunner

if TYPE_CHECKING:
    import numpy as np


class Client:
    """Class names from a model behind TensorFlow Serving.

    >>> with Client("localhost:8500", model="fashion") as client:
    ...     client.classify(images[:2]).labels.tolist()
    ['Ankle boot', 'Pullover']

    - `target`: for gRPC ``host:port``, ``grpcs://host:port`` (TLS), ``unix:/path``, or ``dns:///name:port``, which
      calls all addresses of the name in turn; for REST ``http://host:port`` or ``https://host:port``.
    - `model`: the model's name on the server.
    - `version` (a number) or `version_label`: which version answers; by default the newest. With weighted labels,
      ``version_label={"stable": 0.95, "canary": 0.05}``, each call goes to one of them, at random or by its `key`.
    - `signature`: the signature that `classify` calls.
    - `labels`: class names in label order, instead of the model's own: a list, or the path of a text or JSON file.
    - `language`: "en" or "zh", for the names of Fashion-MNIST.
    - `pixels`, `scores` and `output` describe a model that does not describe itself. `pixels`: the pixel values that
      it takes ("0..1", "0..255", "-1..1", "imagenet" or "caffe"). `scores`: what its scores are ("probabilities",
      "logits", or "sigmoid" for classes that do not exclude each other). `output`: the output that holds the scores.
    - `timeout`: seconds for a whole call, including DNS, all chunks and retries.
    - `retries`: how often a request is sent again after a temporary failure. A request that the server refuses
      because of load is sent again until the timeout.
    - `batch_size`: images in a request; None chooses a good size for the protocol. `concurrency`: requests at a time.
    - `tls`: the certificate files, as a `TLS`.
    - `headers`: sent with every request (gRPC metadata, HTTP headers).
    - `gzip_above`: compress REST requests of more bytes than this.
    - `channel` (a grpc.Channel) or `session` (a requests.Session): used instead of the client's own, and not closed.

    The client connects on the first call. Many threads may share one client; after a fork, make a new one.
    """

    @takes(Options)
    def __init__(self, options: Options) -> None:
        self._options = options
        self._session = Session(options)
        self._runner = ThreadRunner(options)

    # ---- the calls

    def classify(
        self, images: Any, *, prepare: str | None = None, progress: Progress | None = None, key: str | None = None
    ) -> Classification:
        """Class names for one or more images. One version of the model answers the whole call.

        `images`: uint8 [N, H, W] or [N, H, W, 3], or floats of that shape (0..1, or whole numbers 0..255); one image
        without the batch dimension; paths or bytes of image files; PIL images; or a list of one of these kinds.
        Shape and dtype are checked against the model before anything is sent. ``prepare="photo"`` first makes each
        photograph look like Fashion-MNIST. `progress` is called with the number of images done and the total. With
        weighted version labels, all calls with the same `key` go to the same label.

        >>> result = client.classify(images[0])
        >>> result[0].label, result.model_version
        ('Ankle boot', 1)
        """
        return self._runner.run(self._session.classify(images, prepare, progress, key))

    def classify_stream(
        self, items: Iterable[Any], *, prepare: str | None = None, key: str | None = None
    ) -> Iterator[Classification]:
        """As ``map(client.classify, items)`` would: one result for each item, in order, in bounded memory.

        An item is anything that `classify` takes: one image or a batch. Small items share requests, and several
        requests run at once, so a few items are read ahead. If the source is slow, each result comes before the next
        item is read. The `timeout` applies to each request. The first item with floats decides whether the stream's
        floats are 0..1 or 0..255.

        >>> [result[0].label for result in client.classify_stream(images[:3])]
        ['Ankle boot', 'Pullover', 'Trouser']
        """
        return self._runner.stream(stream(self._session, prepare, key, self._options.concurrency), items)

    def predict(
        self, inputs: Mapping[str, Any], *, signature: str | None = None, key: str | None = None
    ) -> dict[str, np.ndarray]:
        """Call any signature of any model with one request; `inputs` and the result are arrays by name.

        Strings are object arrays of bytes; bfloat16 outputs come as float32. `signature` defaults to the client's.
        Raises InvalidInput if the inputs do not fit the signature's names, dtypes and fixed dimensions.

        >>> client.predict({"index": [9, 0]}, signature="labels")["class_name"].tolist()
        [b'Ankle boot', b'T-shirt/top']
        """
        return self._runner.run(self._session.predict(inputs, signature, key))

    def labels(self) -> list[str]:
        """The class names in label order, from the model's `labels` signature. Each version is asked once.

        >>> client.labels()[:3]
        ['T-shirt/top', 'Trouser', 'Pullover']
        """
        return list(self._runner.run(self._session.class_names()))

    def status(self) -> tuple[VersionStatus, ...]:
        """The state of every version that the server knows, newest first.

        >>> client.status()[0].state
        'AVAILABLE'
        """
        return self._runner.run(self._session.status())

    def metadata(self) -> ModelMetadata:
        """Version and signatures of the model version that would answer now.

        >>> str(client.metadata().signatures["serving_default"].inputs["images"])
        'uint8 [?, 28, 28]'
        """
        return self._runner.run(self._session.metadata())

    def ready(self) -> bool:
        """Whether the server answers and has a version loaded that would serve this client's calls.

        >>> client.ready()
        True
        """
        try:
            self._runner.run(self._session.ready(), retries=0)
        except NOT_READY:
            return False
        return True

    def wait_ready(self, timeout: float = 60.0) -> ModelMetadata:
        """Wait at most `timeout` seconds until `ready`; raises DeadlineExceeded with the last error.

        >>> client.wait_ready(30).version
        1
        """
        waiting = Waiting(check_seconds(timeout, least=-math.inf), self._options.timeout)
        while True:
            try:
                return self._runner.run(self._session.ready(), waiting.seconds(), retries=0)
            except NOT_READY as error:
                waiting.failed(self._session.spec, error)
            time.sleep(POLL)

    # ---- closing

    def close(self) -> None:
        """Free connections and threads. Closing twice does nothing.

        >>> client.close()
        """
        self._runner.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        runner: ThreadRunner | None = getattr(self, "_runner", None)  # missing if the constructor raised
        if runner is not None and runner.opened:
            warnings.warn(f"{self!r} was not closed: use `with` or close()", ResourceWarning, stacklevel=2, source=self)
            self.close()

    def __reduce__(self) -> NoReturn:
        raise TypeError("a client holds connections and cannot be pickled: create one in each process")

    def __repr__(self) -> str:
        return f"<Client of {self._session.spec} at {self._options.server}>"
