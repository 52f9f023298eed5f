"""`classify_stream`, for both clients: small items share requests, several requests run at once, results keep order.

A generator that does no I/O: it yields what the client has to do, and is sent the outcome.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Generator, Sequence
from typing import Any, NamedTuple, Protocol

from ..errors import InvalidInput, ModelNotFound
from ..model import Reply
from ..results import Classification
from . import chunking
from .calls import Call, Calls, Flow
from .chunking import RequestGroup
from .image_input import read
from .session import Session
from .validation import Plan

LINGER = 0.02
"""Seconds. A source that takes longer over an item is not waited for: what is gathered is sent at once."""

_REQUESTS = 4  # gathered before they are sent: items are cut between them, so only the last is less than full


class Pending(Protocol):
    """A request under way: a Future or a Task."""

    def done(self) -> bool:
        """Whether it has ended."""


class Next(NamedTuple):
    """Send me the next item of the source, or `END`."""


class Start(NamedTuple):
    """Start these calls; send me a Pending for each."""

    calls: Sequence[Call[Reply]]


class Wait(NamedTuple):
    """Wait for these; send me the replies up to the first failure, and that failure or None."""

    pending: Sequence[Any]


class Emit(NamedTuple):
    """Give this result to the caller."""

    result: Classification


END: Any = object()
Steps = Generator[Next | Start | Wait | Emit | Calls[Any], Any, None]


def stream(session: Session, prepare: str | None, key: str | None, concurrency: int) -> Steps:
    """The steps of one stream. An error of the source or of an item is raised after the results before it."""
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
    """The results of a group; if one of its requests failed, of the items before that request."""
    replies, error = yield Wait(pending)
    if isinstance(error, ModelNotFound):
        group, replies, error = *(yield from session.ask_again(group, error)), None
    results = yield from session.results(group if error is None else group.begin(len(replies)), replies)
    for result in results:
        yield Emit(result)
    if error is not None:
        raise error


class Gatherer:
    """Collects the items of a stream into groups of full requests; it holds at most a few requests' worth of images."""

    def __init__(self, session: Session, prepare: str | None, key: str | None) -> None:
        self._session = session
        self._prepare = prepare
        self._spec = session.options.choose(key)
        self._unit: bool | None = None
        self._open: list[Plan] = []
        self._held = 0  # images in `_open`
        self._items = self._images = 0

    def put(self, item: Any) -> Flow[list[RequestGroup]]:
        """Take one item; returns the groups that are full now."""
        try:
            plan = yield from self._session.plan(read(item, self._prepare), self._spec, self._unit)
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
        """What has been gathered, as one group, or none."""
        plans, self._open, self._held = self._open, [], 0
        if not plans:
            return []
        first = self._images
        for plan in plans:
            self._count(plan)
        arrays = [plan.array for plan in plans]
        rows = min(plan.rows for plan in plans)  # of files: fewer, if they are large
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
