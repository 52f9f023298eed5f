"""A client that is closed while its calls are under way: they end at once, and say why."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import pytest

from fake_server import FIRST_PIXEL, Model, model_server
from hangtag import AsyncClient, Client, InvalidInput
from support import PATIENCE

PICTURES = np.zeros((400, 28, 28), np.uint8)
OPTIONS = {"batch_size": 10, "timeout": PATIENCE, "labels": ["x"] * 10}


@contextmanager
def waiting_server(protocol: str) -> Iterator[tuple[str, threading.Event, threading.Event]]:
    """A server that answers no Predict before it may; yields target, "a Predict came" and "answer now"."""
    came, may_answer = threading.Event(), threading.Event()

    def hook(number: int) -> None:
        came.set()
        may_answer.wait(PATIENCE)

    with model_server(Model(FIRST_PIXEL, hook=hook), protocol) as target:
        try:
            yield target, came, may_answer
        finally:
            may_answer.set()


CALLS = {
    "classify": lambda client: client.classify(PICTURES),
    "stream": lambda client: list(client.classify_stream(PICTURES)),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_closing_from_another_thread_ends_the_calls_under_way(protocol, call):
    """Requests that have not begun are never sent, and no call waits for them."""
    with waiting_server(protocol) as (target, came, may_answer), ThreadPoolExecutor(1) as other:
        client = Client(target, **OPTIONS)
        called = other.submit(call, client)
        assert came.wait(PATIENCE)
        client.close()
        may_answer.set()
        with pytest.raises(InvalidInput, match=r"the client (is|was) closed"):
            called.result(PATIENCE / 2)


def test_a_grpc_call_of_one_request_ends_when_its_client_is_closed():
    with waiting_server("grpc") as (target, came, _), ThreadPoolExecutor(1) as other:
        client = Client(target, **OPTIONS)
        called = other.submit(client.classify, PICTURES[:1])
        assert came.wait(PATIENCE)
        client.close()
        with pytest.raises(InvalidInput, match="the client was closed during the call"):
            called.result(PATIENCE / 2)


def test_closing_just_before_the_requests_are_handed_to_the_threads(monkeypatch):
    with model_server(Model(FIRST_PIXEL), "grpc") as target, Client(target, **OPTIONS) as client:
        runner = client._runner
        workers = runner._workers

        def at_the_worst_moment() -> ThreadPoolExecutor:
            pool = workers()
            client.close()
            return pool

        monkeypatch.setattr(runner, "_workers", at_the_worst_moment)
        with pytest.raises(InvalidInput, match="the client was closed during the call"):
            client.classify(PICTURES)


@pytest.mark.parametrize("count", [1, len(PICTURES)])
def test_closing_from_another_task_ends_the_calls_under_way(protocol, count):
    async def main(target: str, came: threading.Event) -> None:
        client = AsyncClient(target, **OPTIONS)
        called = asyncio.create_task(client.classify(PICTURES[:count]))
        assert await asyncio.to_thread(came.wait, PATIENCE)
        await client.close()
        with pytest.raises(InvalidInput, match=r"the client (is|was) closed"):
            await asyncio.wait_for(called, PATIENCE / 2)

    with waiting_server(protocol) as (target, came, _):
        asyncio.run(main(target, came))


def test_a_task_that_is_cancelled_stays_cancelled_when_the_client_is_closed_too(protocol):
    async def main(target: str, came: threading.Event) -> None:
        client = AsyncClient(target, **OPTIONS)
        called = asyncio.create_task(client.classify(PICTURES[:1]))
        assert await asyncio.to_thread(came.wait, PATIENCE)
        called.cancel()
        await client.close()
        with pytest.raises(asyncio.CancelledError):
            await called

    with waiting_server(protocol) as (target, came, _):
        asyncio.run(main(target, came))
