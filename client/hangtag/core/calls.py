"""What a session and a runner exchange: calls to send, and the generators that yield them."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from ..model import ModelMetadata, ModelSpec, Reply, Signature, VersionStatus
from ..protocol.request import Request
from ..protocol.tensors import Inputs

T = TypeVar("T")

Progress = Callable[[int, int], object]
"""Called with the images done and their total."""


class Call(NamedTuple, Generic[T]):
    """A request that is encoded only when it is sent, so that a long list of calls holds no bodies.

    `images` are the positions of its images in the caller's input.
    """

    encode: Callable[[], Request[T]]
    images: range = range(0)


class Calls(NamedTuple, Generic[T]):
    """Calls to send, several at a time; the replies are returned in order.

    `progress` is called with the number of images in each finished call.
    """

    calls: Sequence[Call[T]]
    progress: Callable[[int], None] | None = None


Flow = Generator[Calls[Any], Any, T]
"""A generator that yields calls, receives the list of their replies (or their error), and returns the result."""


class Codec(Protocol):
    """How requests are encoded and responses decoded: the modules `grpc_codec` and `rest_codec`."""

    def predict(
        self, spec: ModelSpec, inputs: Inputs, signature: Signature, output: str | None = None
    ) -> Request[Reply]:
        """Predict. With `output`, the response has only that output, if the protocol allows it."""

    def metadata(self, spec: ModelSpec) -> Request[ModelMetadata]:
        """GetModelMetadata."""

    def status(self, spec: ModelSpec) -> Request[tuple[VersionStatus, ...]]:
        """GetModelStatus."""


def codec_of(protocol: str) -> Codec:
    """The codec of "grpc" or "rest". It is imported here, so that a client loads only the one that it needs."""
    if protocol == "grpc":
        from ..protocol import grpc_codec

        return grpc_codec
    from ..protocol import rest_codec

    return rest_codec


class ImageCount:
    """Counts the finished images, and calls `progress` with the count and the total."""

    def __init__(self, progress: Progress, total: int) -> None:
        self._progress, self._done, self._total = progress, 0, total

    def add(self, images: int) -> None:
        """Count `images` more as done."""
        self._done += images
        self._progress(self._done, self._total)
