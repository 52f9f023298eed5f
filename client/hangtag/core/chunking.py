"""A stream of items made into parcels: small items are gathered until some requests are full, large ones are cut."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from ..errors import InvalidInput
from ..photo import prepared
from ..protocol.tensors import Stack
from .image_input import collect
from .session import Conversation
from .steps import Flow
from .validation import Parcel, Plan

LINGER = 0.02
"""Seconds. A source that takes longer over an item is not waited for: what is gathered goes out at once."""

_REQUESTS = 4  # gathered before they are sent: items are cut between them, so only the last is less than full


class Gatherer:
    """Holds at most a few requests' worth of images."""

    def __init__(self, conversation: Conversation, prepare: str | None) -> None:
        self._conversation = conversation
        self._prepare = prepare
        self._unit: bool | None = None
        self._open: list[Plan] = []
        self._held = 0  # images in `_open`
        self._items = self._images = 0

    def put(self, item: Any) -> Flow[list[Parcel]]:
        """Take one item; returns the parcels that are full now."""
        try:
            plan = self._conversation.plan_like(item) if self._prepare is None else None
            if plan is None:
                plan = yield from self._conversation.plan(collect(prepared(item, self._prepare)), self._unit)
        except InvalidInput as error:
            raise InvalidInput(f"item {self._items} of the stream: {error}", code=error.code) from error
        self._items += 1
        self._unit = plan.unit if plan.unit is not None else self._unit
        done = []
        large = len(plan.array) >= plan.rows
        is_full = self._held + len(plan.array) > _REQUESTS * plan.rows
        if self._open and (large or is_full or not _together(self._open[0], plan)):
            done += self.flush()
        if large:
            done.append(Parcel(plan, plan.chunks(), [plan.array], self._count(plan)))
        else:
            self._open.append(plan)
            self._held += len(plan.array)
        return done

    def flush(self) -> list[Parcel]:
        """What has been gathered, as one parcel, or none."""
        plans, self._open, self._held = self._open, [], 0
        if not plans:
            return []
        first = self._images
        for plan in plans:
            self._count(plan)
        arrays = [plan.array for plan in plans]
        rows = min(plan.rows for plan in plans)  # of files: fewer, if they are large
        chunks = [{plans[0].input_name: chunk} for chunk in _chunks(arrays, rows)]
        return [Parcel(plans[0], chunks, arrays, first)]

    def _count(self, plan: Plan) -> int:
        first, self._images = self._images, self._images + len(plan.array)
        return first


def _together(one: Plan, other: Plan) -> bool:
    """Whether the images of both can go in one request."""
    return (
        one.signature_name == other.signature_name
        and one.array.dtype == other.array.dtype
        and one.array.shape[1:] == other.array.shape[1:]
    )


def _chunks(arrays: list[np.ndarray], rows: int) -> Iterator[np.ndarray | Stack]:
    """The images of `arrays`, `rows` at a time; there is at least one array, and one chunk, be it empty."""
    full = [array for array in arrays if array.size] or arrays[:1]
    for pieces in _pieces(full, rows):
        if len(pieces) == 1:
            yield pieces[0]
        elif pieces[0].dtype.kind in "OSU":
            yield np.concatenate(pieces)
        else:
            yield Stack(pieces)  # not copied together: writing the request does that


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
