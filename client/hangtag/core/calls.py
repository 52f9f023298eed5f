"""What a session and a runner exchange: calls to be sent, and the flows that yield them."""

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

    `images` are the positions, in the caller's input, of the images it carries.
    """

    encode: Callable[[], Request[T]]
    images: range = range(0)


class Calls(NamedTuple, Generic[T]):
    """Calls to be sent, several at a time; their replies are expected in order. `progress` is called with images."""

    calls: Sequence[Call[T]]
    progress: Callable[[int], None] | None = None


Flow = Generator[Calls[Any], Any, T]
"""Yields calls, is sent the list of their replies (or thrown their error), returns the result."""


class Codec(Protocol):
    """How requests are encoded and responses decoded: the modules `grpc_codec` and `rest_codec`."""

    def predict(
        self, spec: ModelSpec, inputs: Inputs, signature: Signature, output: str | None = None
    ) -> Request[Reply]:
        """Predict. With `output`, the server is asked for that output alone where the protocol can say so."""

    def metadata(self, spec: ModelSpec) -> Request[ModelMetadata]:
        """GetModelMetadata."""

    def status(self, spec: ModelSpec) -> Request[tuple[VersionStatus, ...]]:
        """GetModelStatus."""


def codec_of(protocol: str) -> Codec:
    """The codec of "grpc" or "rest". Imported when the first request is encoded: a client needs one of the two."""
    if protocol == "grpc":
        from ..protocol import grpc_codec

        return grpc_codec
    from ..protocol import rest_codec

    return rest_codec


class ImageCount:
    """Adds up the images that are done, and calls `progress` with the sum."""

    def __init__(self, progress: Progress, total: int) -> None:
        self._progress, self._done, self._total = progress, 0, total

    def add(self, images: int) -> None:
        """So many more are done."""
        self._done += images
        self._progress(self._done, self._total)
