"""The examples in the docstrings of the public surface, run against a real server."""

from __future__ import annotations

import asyncio
import doctest
import inspect

import numpy as np
import pytest

import hangtag
from hangtag import AsyncClient, Client, aio
from hangtag import client as client_module


@pytest.mark.parametrize("module", [hangtag, client_module, aio], ids=lambda module: module.__name__)
def test_every_example_does_what_it_shows(module, server, images):
    async def with_client(use):
        async with AsyncClient(server.grpc, timeout=60) as opened:
            return await use(opened)

    finder, runner = doctest.DocTestFinder(), doctest.DocTestRunner()
    for example in finder.find(module):
        with Client(server.grpc, timeout=60) as opened:
            example.globs |= {
                "client": opened,
                "images": images,
                "asyncio": asyncio,
                "np": np,
                "with_client": with_client,
            }
            for step in example.examples:  # the examples name the port that a user's server has
                step.source = step.source.replace("localhost:8500", server.grpc)
            runner.run(example)
    assert runner.tries > 0
    assert runner.failures == 0


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_every_public_method_has_an_example(kind):
    for name, member in inspect.getmembers(kind, callable):
        if not name.startswith("_"):
            assert ">>>" in (member.__doc__ or ""), name
