"""The playground's HTTP server: checks each request, calls the model server, and responds with JSON."""

from __future__ import annotations

import asyncio
import base64
import ipaddress
import json
import random
import socket
from collections.abc import Awaitable, Callable
from functools import partial
from importlib.resources import files
from typing import Any
from urllib.parse import urlsplit

from aiohttp import web

from ..errors import HangtagError, InvalidInput
from . import images
from .model_server import Choice, ModelServer, choose
from .samples import Samples

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data: blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}
_TYPES = {"css": "text/css", "html": "text/html", "js": "text/javascript", "json": "text/json", "svg": "image/svg+xml"}
_UPLOAD_SECONDS = 60.0
_EVALUATE_BATCH = 250
_SHOWN = 28  # test images on the page

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def application(servers: ModelServer, samples: Samples | None, host: str = "127.0.0.1") -> web.Application:
    """The web application. `host` is the address that it listens on, which is allowed as a Host header."""
    names = {"localhost", host.lower(), socket.gethostname().lower()}

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            if not _is_own(request.host, names):
                return _refusal(403, "this host name does not belong to the playground: open it as localhost", "Host")
            if request.method == "POST" and urlsplit(request.headers.get("Origin", "")).netloc != request.host:
                return _refusal(403, "this request comes from another page: reload the playground", "Origin")
            return await handler(request)
        except HangtagError as error:
            return _refusal(400 if isinstance(error, InvalidInput) else 502, str(error), type(error).__name__)
        except web.HTTPException as error:
            too_large = f"this file is larger than {images.MAX_BYTES // 1_000_000} MB"
            return _refusal(error.status, too_large if error.status == 413 else error.reason, "Request")
        except TimeoutError:
            return _refusal(408, f"the upload took longer than {_UPLOAD_SECONDS:g} seconds", "Timeout")
        except Exception as error:
            if isinstance(error, ConnectionResetError):  # the page was closed
                raise
            request.app.logger.exception("%s %s failed", request.method, request.path)
            return _refusal(500, "the playground failed: its terminal shows why", "Internal")

    app = web.Application(middlewares=[check], client_max_size=images.MAX_BYTES)
    handlers = _Handlers(servers, samples)
    for file in files(__package__).joinpath("static").iterdir():
        if kind := _TYPES.get(file.name.rpartition(".")[2]):
            path = "/" if file.name == "index.html" else f"/{file.name}"
            app.router.add_get(path, partial(_static, file.read_bytes(), kind))
    app.router.add_get("/api/state", handlers.state)
    app.router.add_get("/api/samples", handlers.samples)
    app.router.add_get(r"/api/samples/{index:\d{1,8}}.png", handlers.sample)
    app.router.add_post("/api/classify", handlers.classify)
    app.router.add_post("/api/evaluate", handlers.evaluate)

    app.on_response_prepare.append(_add_headers)
    app.on_cleanup.append(lambda app: servers.close())
    return app


class _Handlers:
    def __init__(self, servers: ModelServer, samples: Samples | None) -> None:
        self._servers = servers
        self._samples = samples or Samples("", [], None)
        self._decoding = asyncio.Semaphore(2)  # images in memory at once
        self._evaluating = asyncio.Semaphore(2)

    async def state(self, request: web.Request) -> web.Response:
        """Respond with the server's state, versions and counters for `model`."""
        return web.json_response(await self._servers.state(request.query.get("model") or self._servers.models[0]))

    async def samples(self, request: web.Request) -> web.Response:
        """Respond with some random test images."""
        truth, total = self._samples.truth, len(self._samples.images)
        chosen = random.sample(range(total), min(_SHOWN, total))
        items = [{"sample": at, "truth": truth[at] if truth else None} for at in chosen]
        known = {"name": self._samples.name, "count": total, "labelled": truth is not None}
        return web.json_response(known | {"items": items})

    async def sample(self, request: web.Request) -> web.Response:
        """Respond with one test image as PNG."""
        image = await self._read_sample(int(request.match_info["index"]))
        png = await asyncio.to_thread(images.as_png, image)
        return web.Response(body=png, content_type="image/png", headers={"Cache-Control": "max-age=600"})

    async def classify(self, request: web.Request) -> web.Response:
        """Prepare one image, the body or test image `sample`, and classify it with one or two versions."""
        choices, mode = _choices(request), request.query.get("prepare", "auto")
        async with asyncio.timeout(_UPLOAD_SECONDS):
            data = await request.read()
        rows = await asyncio.gather(*map(self._servers.row, choices))
        async with self._decoding:
            if "sample" in request.query:
                image = await self._read_sample(_integer(request, "sample", 0))
            else:
                image = await asyncio.to_thread(images.read_upload, data)
            prepared = [await asyncio.to_thread(images.prepare, image, row, mode) for row in rows]
        pixels, how = prepared[0]
        results = await asyncio.gather(
            *(self._servers.classify(one, made) for one, (made, _) in zip(choices, prepared, strict=True))
        )
        shown = f"data:image/png;base64,{base64.b64encode(images.as_png(pixels)).decode()}"
        return web.json_response({"pixels": shown, "shape": pixels.shape, "prepared": how, "results": results})

    async def evaluate(self, request: web.Request) -> web.StreamResponse:
        """Classify the first `count` test images; each batch gives a line of JSON as soon as it is done."""
        samples, choices = self._samples, _choices(request)
        names = await self._servers.class_names(choices[0])
        total = min(_integer(request, "count", len(samples.images)), len(samples.images))
        if total and samples.truth is None:
            raise InvalidInput("the test images have no labels: give labelled ones with --images")
        if self._evaluating.locked():
            return _refusal(429, "two evaluations are running already: wait for one of them", "Busy")
        async with self._evaluating:
            row, clients = await self._servers.row(choices[0]), [await self._servers.client(one) for one in choices]
            response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
            await response.prepare(request)
            await _line(response, {"total": total, "names": names})
            try:
                for start in range(0, total, _EVALUATE_BATCH):
                    stop = min(start + _EVALUATE_BATCH, total)
                    batch = await asyncio.to_thread(samples.batch, start, stop, row)
                    results = await asyncio.gather(*(client.classify(batch) for client in clients))
                    truth, predicted = samples.truths(start, stop, names), [one.indices.tolist() for one in results]
                    await _line(response, {"start": start, "truth": truth, "predicted": predicted})
            except (HangtagError, OSError) as error:  # too late for an HTTP error status
                await _line(response, {"error": str(error), "kind": type(error).__name__})
            return response

    async def _read_sample(self, index: int) -> Any:
        if not 0 <= index < len(self._samples.images):
            raise InvalidInput("there is no such test image")
        try:
            return await asyncio.to_thread(self._samples.read, index)
        except OSError as error:
            raise InvalidInput(f"this test image cannot be read: {error.strerror or error}") from error


def _choices(request: web.Request) -> list[Choice]:
    """The one or two versions that the request selects."""
    model, protocol = request.query.get("model", ""), request.query.get("protocol", "grpc")
    which = [request.query.get("which", "newest"), *filter(None, [request.query.get("other")])]
    return [choose(protocol, model, one) for one in which]


def _integer(request: web.Request, name: str, default: int) -> int:
    text = request.query.get(name, str(default))
    if not (text.isascii() and text.isdecimal() and len(text) < 9):
        raise InvalidInput(f"{name}={text[:20]!r} is not a whole number")
    return int(text)


def _is_own(host: str, names: set[str]) -> bool:
    """Whether this Host header is one of ours. A page that uses DNS rebinding sends its own host name."""
    try:
        name = (urlsplit(f"//{host}").hostname or "").lower()
        return name in names or bool(ipaddress.ip_address(name))
    except ValueError:
        return False


def _refusal(status: int, message: str, kind: str) -> web.Response:
    return web.json_response({"error": " ".join(message.split()), "kind": kind}, status=status)


async def _add_headers(request: web.Request, response: web.StreamResponse) -> None:
    response.headers.update({name: value for name, value in HEADERS.items() if name not in response.headers})


async def _line(response: web.StreamResponse, document: dict[str, Any]) -> None:
    await response.write(json.dumps(document).encode() + b"\n")


async def _static(content: bytes, kind: str, request: web.Request) -> web.Response:
    return web.Response(body=content, content_type=kind, charset="utf-8")
