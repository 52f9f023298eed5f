"""The examples in the docstrings of the public surface, run against a real server."""

from __future__ import annotations

import asyncio
import doctest
import threading
from collections.abc import Iterator
from functools import cached_property
from http.server import BaseHTTPRequestHandler, HTTPServer

import numpy as np
import pytest

import hangtag
from fake_server import FIRST_PIXEL, Model, busy, model_server
from hangtag import AsyncClient, Client, async_client, errors
from hangtag import client as client_module
from hangtag.cli import compare
from hangtag.plots import predictions


class WebPage(BaseHTTPRequestHandler):
    """The same page for every path."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"<html>It works!</html>")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def places(server) -> Iterator[dict[str, str]]:
    """The targets that the examples name, and where the tests have such a server."""
    with model_server(Model(FIRST_PIXEL, hook=busy), "grpc") as busy_one, HTTPServer(("127.0.0.1", 0), WebPage) as web:
        threading.Thread(target=web.serve_forever, args=(0.02,), daemon=True).start()
        yield {
            "localhost:8500": server.grpc,
            "http://localhost:8501": server.rest,
            "busy.example.org:8500": busy_one,
            "http://www.example.org": f"http://127.0.0.1:{web.server_port}",
        }
        web.shutdown()


@pytest.mark.parametrize(
    "module", [hangtag, client_module, async_client, errors, compare, predictions], ids=lambda module: module.__name__
)
def test_every_example_does_what_it_shows(module, server, images, places, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

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
            for step in example.examples:
                for named, place in places.items():
                    step.source = step.source.replace(f'"{named}', f'"{place}')
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
