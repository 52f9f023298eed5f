"""How images are divided into requests: large batches are cut, small ones share a request."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate
from typing import NamedTuple

import numpy as np

from ..images.input import Encoded, Pixels
from ..model import ModelMetadata, ModelSpec
from ..protocol.tensors import Stack
from .scores import class_count, is_ranked
from .validation import Plan

GRPC_ROWS = 800
"""Images in a gRPC request. More than about 600 gain little, and the memory of a call grows with the number."""

_GRPC_BYTES = 2 << 20  # below the message limit of 4 MiB that many proxies and servers have
_REST_VALUES = 640  # 64 images of 10 classes: TensorFlow Serving's HTTP server stalls 40 ms on responses over 16 KiB


class RequestGroup(NamedTuple):
    """Requests that one version of the model must answer.

    `chunks` has the images of each request, and `items` the same images by the caller's items. `spec` is the servable
    and signature to call. `first` is the position of the first image in the caller's input.
    """

    spec: ModelSpec
    plan: Plan
    chunks: Sequence[np.ndarray | Stack]
    items: Sequence[np.ndarray]
    first: int = 0

    def begin(self, count: int) -> RequestGroup:
        """The first `count` requests, with the items that are completely in them."""
        chunks = self.chunks[:count]
        rows = sum(map(len, chunks))
        whole = [item for item, end in zip(self.items, accumulate(map(len, self.items)), strict=True) if end <= rows]
        return self._replace(chunks=chunks, items=whole)

    def again(self, plan: Callable[[Pixels | Encoded], Plan]) -> RequestGroup:
        """The same items, with new plans."""
        batches = [Encoded(item.tolist()) if item.dtype == object else Pixels(item) for item in self.items]
        plans = [plan(batch) for batch in batches]
        chunks = [chunk for made in plans for chunk in split(made.array, made.rows)]
        return self._replace(plan=plans[0], chunks=chunks, items=[made.array for made in plans])


def with_rows(plan: Plan, model: ModelMetadata, protocol: str, batch_size: int | None) -> Plan:
    """`plan` with its images per request: the model's fixed number, the caller's, or a good one for the protocol."""
    rows = plan.rows or batch_size
    if not rows and protocol == "rest":
        ranked = is_ranked(plan.signature)
        classes = class_count(model, plan.signature_name, None if ranked else plan.output_name) or 10
        values = 2 * classes if ranked else classes  # a class name is about as long as two numbers
        rows = max(1, _REST_VALUES // values)
    elif not rows:
        array = plan.array
        row_bytes = sum(map(len, array)) / max(1, len(array)) if array.dtype == object else array[:1].nbytes
        rows = max(1, min(GRPC_ROWS, int(_GRPC_BYTES // max(1, row_bytes))))
    return plan._replace(rows=rows)


def split(array: np.ndarray, rows: int) -> list[np.ndarray]:
    """`array` in chunks of at most `rows` images, without a copy; an empty array gives no chunk."""
    return [array[start : start + rows] for start in range(0, len(array), rows)]


def share(arrays: Sequence[np.ndarray], rows: int) -> Iterator[np.ndarray | Stack]:
    """The images of all `arrays` in chunks of `rows`."""
    for pieces in _pieces([array for array in arrays if array.size], rows):
        if len(pieces) == 1:
            yield pieces[0]
        elif pieces and pieces[0].dtype.kind in "OSU":
            yield np.concatenate(pieces)
        elif pieces:
            yield Stack(pieces)  # encoding the request makes the only copy


def _pieces(arrays: Iterable[np.ndarray], rows: int) -> Iterator[list[np.ndarray]]:
    pieces: list[np.ndarray] = []
    room = rows
    for array in arrays:
        while len(array) > room:
            yield [*pieces, array[:room]] if room else pieces
            array, pieces, room = array[room:], [], rows
        pieces.append(array)
        room -= len(array)
    yield pieces
