"""The examples in the docstrings of the public surface, run against a real server."""

from __future__ import annotations

import asyncio
import doctest
from functools import cached_property

import numpy as np
import pytest

import hangtag
from hangtag import AsyncClient, Client, aio, errors
from hangtag import client as client_module


@pytest.mark.parametrize("module", [hangtag, client_module, aio, errors], ids=lambda module: module.__name__)
def test_every_example_does_what_it_shows(module, server, images):
    async def with_client(use):
        async with AsyncClient(server.grpc, timeout=60) as opened:
            return await use(opened)

    finder, runner = doctest.DocTestFinder(), doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    for example in finder.find(module):
        with Client(server.grpc, timeout=60) as opened:
            example.globs |= {
                "client": opened,
                "Client": Client,
                "images": images,
                "asyncio": asyncio,
                "np": np,
                "with_client": with_client,
            }
            for step in example.examples:  # the examples name the port that a user's server has
                step.source = step.source.replace("localhost:8500", server.grpc)
                step.source = step.source.replace("http://localhost:8501", server.rest)
            runner.run(example)
    assert runner.tries > 0
    assert runner.failures == 0


@pytest.mark.parametrize("name", [name for name in hangtag.__all__ if name != "__version__"])
def test_every_public_name_and_method_has_an_example(name):
    """Those of other modules run with the tests of all modules, by --doctest-modules."""
    kind = getattr(hangtag, name)
    assert ">>>" in kind.__doc__
    for base in kind.__mro__:
        if base.__module__.startswith("hangtag"):
            for member, value in vars(base).items():
                if not member.startswith("_") and (callable(value) or isinstance(value, property | cached_property)):
                    assert ">>>" in (value.__doc__ or ""), member
