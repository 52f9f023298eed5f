"""The two clients are one surface."""

from __future__ import annotations

import asyncio
import gc
import inspect
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import hangtag
from both_clients import opened
from fake_server import FIRST_PIXEL, Model, model_server
from hangtag import AsyncClient, Client, InvalidInput, MissingExtra

OWN_TO_ASYNC = {"__aenter__": "__enter__", "__aexit__": "__exit__"}


def public(kind: type) -> dict[str, object]:
    members = {name: member for name, member in vars(kind).items() if not name.startswith("_") or name == "__init__"}
    return members | {OWN_TO_ASYNC.get(name, name): member for name, member in vars(kind).items() if "er__" in name}


def test_both_clients_have_one_surface():
    """The same methods, parameters, kinds and defaults; every one is awaited or iterated in AsyncClient."""
    sync, asynchronous = public(Client), public(AsyncClient)
    assert sync.keys() == asynchronous.keys()
    for name in sync.keys() - {"__enter__"}:
        ours, theirs = (inspect.signature(side[name]).parameters for side in (sync, asynchronous))
        assert list(ours) == list(theirs), name
        for parameter in ours:
            assert (ours[parameter].kind, ours[parameter].default) == (
                theirs[parameter].kind,
                theirs[parameter].default,
            )
        if not name.startswith("_"):
            assert inspect.iscoroutinefunction(asynchronous[name]) or inspect.isasyncgenfunction(asynchronous[name])


def test_public_names_are_sorted_and_real():
    names = [name for name in hangtag.__all__ if name != "__version__"]
    assert set(dir(hangtag)) >= set(names)
    for name in names:
        assert getattr(hangtag, name).__name__ == name
        assert getattr(hangtag, name).__doc__
    with pytest.raises(AttributeError, match="no attribute 'Clown'"):
        hangtag.Clown  # noqa: B018 - the access is the test


def test_both_clients_give_the_same_answers(server, images, kind, protocol):
    """Against the real server: every call, over either protocol."""
    with (
        opened("sync", server.grpc, timeout=60) as reference,
        opened(kind, server.target(protocol), timeout=60) as client,
    ):
        expected = reference.classify(images[:1000])
        result = client.classify(images[:1000])
        assert np.allclose(result.probabilities, expected.probabilities, atol=1e-6)
        assert (result.labels == expected.labels).all()
        streamed = list(client.classify_stream(np.split(images[:1000], range(70, 1000, 70))))
        assert [len(part) for part in streamed] == [70] * 14 + [20]
        assert np.allclose(np.concatenate([part.probabilities for part in streamed]), expected.probabilities, atol=1e-6)
        assert client.labels() == reference.labels()
        assert client.status() == reference.status()
        ours, theirs = client.metadata(), reference.metadata()
        assert (ours.version, ours.signatures["serving_default"]) == (1, theirs.signatures["serving_default"])
        assert client.ready()
        assert client.wait_ready().version == 1
        top = client.predict({"images": images[:3]}, signature="top_classes")
        assert (
            top["classes"].tolist()
            == reference.predict({"images": images[:3]}, signature="top_classes")["classes"].tolist()
        )


def test_a_closed_client_says_so_and_closing_twice_does_nothing(server, kind, protocol):
    with opened(kind, server.target(protocol), timeout=60) as client:
        assert client.ready()
        client.close()
        client.close()
        with pytest.raises(InvalidInput, match="the client is closed"):
            client.labels()


def test_what_is_left_open_is_named_in_a_resource_warning(server):
    client = Client(server.grpc, timeout=60)
    client.labels()
    with pytest.warns(ResourceWarning, match="Client of fashion at .* was not closed"):  # noqa: PT031
        del client
        gc.collect()


def test_an_async_client_left_open_is_named_in_a_resource_warning(server):
    async def forget():
        client = AsyncClient(server.grpc, timeout=60)
        await client.labels()

    with pytest.warns(ResourceWarning, match="AsyncClient of fashion .* was not closed"):  # noqa: PT031
        asyncio.run(forget())
        gc.collect()


def test_one_client_serves_many_threads(server, images, protocol):
    with Client(server.target(protocol), timeout=60) as client, ThreadPoolExecutor(16) as pool:
        expected = client.classify(images[:64]).indices
        results = list(pool.map(lambda index: client.classify(images[index]).indices[0], range(64)))
        assert results == expected.tolist()


def test_one_async_client_serves_many_tasks(server, images, protocol):
    async def main():
        async with AsyncClient(server.target(protocol), timeout=60) as client:
            expected = await client.classify(images[:64])
            results = await asyncio.gather(*(client.classify(images[index]) for index in range(64)))
            assert [result.indices[0] for result in results] == expected.indices.tolist()

    asyncio.run(main())


def test_an_async_client_says_that_it_belongs_to_another_event_loop(protocol):
    async def many(client):
        return len(await client.classify(np.zeros((100, 28, 28), np.uint8)))

    with model_server(Model(FIRST_PIXEL), protocol) as target, asyncio.Runner() as first, asyncio.Runner() as second:
        client = AsyncClient(target, batch_size=10)
        assert first.run(many(client)) == 100
        with pytest.raises(InvalidInput, match="belongs to the event loop of its first call"):
            second.run(many(client))
        first.run(client.close())


def test_a_stream_may_be_asynchronous():
    async def source():
        for number in range(5):
            await asyncio.sleep(0)
            yield np.full((2, 28, 28), number, np.uint8)

    async def main(target):
        async with AsyncClient(target) as client:
            return [result.labels.tolist() async for result in client.classify_stream(source())]

    with model_server(Model(FIRST_PIXEL), "grpc") as target:
        assert asyncio.run(main(target)) == [[f"class {n}"] * 2 for n in range(5)]


def test_rest_without_aiohttp_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "aiohttp", None)
    missing = pytest.raises(MissingExtra, match=r"pip install 'hangtag\[aio\]'")
    with opened("async", "http://127.0.0.1:1") as client, missing:
        client.labels()
