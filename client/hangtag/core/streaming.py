"""`classify_stream` of both clients: small items share requests, several requests run at once, results keep order.

The generator does no I/O: it yields the next step for the runner, and receives the outcome.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Generator, Sequence
from typing import Any, NamedTuple, Protocol

from ..errors import InvalidInput, ModelNotFound
from ..images.input import read
from ..model import Reply
from ..photo import prepared
from ..results import Classification
from . import chunking
from .calls import Call, Calls, Flow
from .chunking import RequestGroup
from .session import Session
from .validation import Plan

LINGER = 0.02
"""Seconds. If the source takes longer than this for an item, the collected images are sent without waiting further."""

_REQUESTS = 4  # collected before they are sent; images are divided among them, so only the last one is not full


class Pending(Protocol):
    """A running request: a Future or a Task."""

    def done(self) -> bool:
        """Whether the request has ended."""


class Next(NamedTuple):
    """Read an item; the outcome is the item, or `END`."""


class Start(NamedTuple):
    """Start these calls; the outcome is a Pending for each."""

    calls: Sequence[Call[Reply]]


class Wait(NamedTuple):
    """Wait for these; the outcome is the replies up to the first failure, and that failure or None."""

    pending: Sequence[Any]


class Emit(NamedTuple):
    """Give this result to the caller."""

    result: Classification


END: Any = object()
Steps = Generator[Next | Start | Wait | Emit | Calls[Any], Any, None]


def stream(session: Session, prepare: str | None, key: str | None, concurrency: int) -> Steps:
    """The steps of one stream. An error of the source or of an item is raised after the earlier results."""
    gatherer = Gatherer(session, prepare, key)
    waiting: deque[tuple[RequestGroup, Sequence[Pending]]] = deque()
    failure: Exception | None = None
    over = slow = False
    while not over:
        asked = time.monotonic()
        groups: list[RequestGroup] = []
        try:
            item = yield Next()
            slow = time.monotonic() - asked > LINGER
            over = item is END
            if not over:
                groups = yield from gatherer.put(item)
        except Exception as error:
            failure, over = error, True
        if over or slow:
            groups += gatherer.flush()
        for group in groups:
            waiting.append((group, (yield Start(session.calls(group)))))
        while waiting and (
            over
            or slow
            or sum(len(pending) for _, pending in waiting) > 2 * concurrency
            or all(call.done() for call in waiting[0][1])
        ):
            yield from _receive(session, *waiting.popleft())
    if failure is not None:
        raise failure


def _receive(session: Session, group: RequestGroup, pending: Sequence[Pending]) -> Steps:
    """The results of a group. If one of its requests failed, the results of the items before it, then the error."""
    replies, error = yield Wait(pending)
    if isinstance(error, ModelNotFound):
        group, replies, error = *(yield from session.ask_again(group, error)), None
    results = yield from session.results(group if error is None else group.begin(len(replies)), replies)
    for result in results:
        yield Emit(result)
    if error is not None:
        raise error


class Gatherer:
    """Collects the items of a stream into groups of full requests; it holds the images of a few requests at most."""

    def __init__(self, session: Session, prepare: str | None, key: str | None) -> None:
        self._session = session
        self._prepare = prepare
        self._spec = session.options.choose(key)
        self._unit: bool | None = None
        self._open: list[Plan] = []
        self._held = 0  # images in `_open`
        self._items = self._images = 0

    def put(self, item: Any) -> Flow[list[RequestGroup]]:
        """Add an item; returns the groups that are full now."""
        try:
            plan = yield from self._session.plan(read(prepared(item, self._prepare)), self._spec, self._unit)
        except InvalidInput as error:
            raise InvalidInput(f"item {self._items} of the stream: {error}", code=error.code) from error
        self._items += 1
        self._unit = plan.unit if plan.unit is not None else self._unit
        done = []
        large = len(plan.array) >= plan.rows
        is_full = self._held + len(plan.array) > _REQUESTS * plan.rows
        if self._open and (large or is_full or not _alike(self._open[0], plan)):
            done += self.flush()
        if large:
            chunks = chunking.split(plan.array, plan.rows)
            done.append(RequestGroup(self._spec, plan, chunks, [plan.array], self._count(plan)))
        else:
            self._open.append(plan)
            self._held += len(plan.array)
        return done

    def flush(self) -> list[RequestGroup]:
        """The collected images as one group; an empty list if there are none."""
        plans, self._open, self._held = self._open, [], 0
        if not plans:
            return []
        first = self._images
        for plan in plans:
            self._count(plan)
        arrays = [plan.array for plan in plans]
        rows = min(plan.rows for plan in plans)  # plans for large files have fewer rows
        return [RequestGroup(self._spec, plans[0], list(chunking.share(arrays, rows)), arrays, first)]

    def _count(self, plan: Plan) -> int:
        first, self._images = self._images, self._images + len(plan.array)
        return first


def _alike(one: Plan, other: Plan) -> bool:
    """Whether the images of both can share a request."""
    return (
        one.version == other.version
        and one.signature_name == other.signature_name
        and one.array.dtype == other.array.dtype
        and one.array.shape[1:] == other.array.shape[1:]
    )
