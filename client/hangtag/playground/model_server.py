"""Calls the model server for the page, with one client of the SDK for each protocol, model and version in use."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import aiohttp
import numpy as np

from ..async_client import AsyncClient
from ..config.target import parse_target
from ..errors import HangtagError, InvalidInput, UnknownSignature
from ..fashion_mnist import CLASS_NAMES, CLASS_NAMES_ZH
from . import metrics
from .images import Row

_TOP = 10  # classes in a response
_PROBE = {"timeout": 2.0, "retries": 0}  # options for reading the server's state
_MOST_CLIENTS, _LARGEST_SIDE = 24, 4096  # the latter: pixels of an image that a model may take


class Choice(NamedTuple):
    """The selection on the page: at most one of `version` and `label`; neither means the newest version."""

    protocol: str
    model: str
    version: int | None = None
    label: str | None = None


def choose(protocol: str, model: str, which: str) -> Choice:
    """Parse a selection: `which` is "newest", "version:3" or "label:stable".

    >>> choose("grpc", "fashion", "version:3").version
    3
    """
    kind, _, value = which.partition(":")
    if kind == "version" and re.fullmatch(r"\d{1,18}", value, re.ASCII):
        return Choice(protocol, model, version=int(value))
    if kind == "label" and value:
        return Choice(protocol, model, label=value)
    if which != "newest":
        raise InvalidInput(f"{which!r} is not a version: use newest, version:NUMBER or label:NAME")
    return Choice(protocol, model)


def both_protocols(targets: Sequence[str], *, encrypted: bool = False) -> dict[str, str]:
    """The targets by protocol. One on TensorFlow Serving's port 8500 or 8501 implies a target on the other port.

    >>> both_protocols(["localhost"])
    {'grpc': 'localhost', 'rest': 'http://localhost:8501'}
    """
    by_protocol: dict[str, str] = {}
    for text in targets:
        target = parse_target(text)
        if target.protocol in by_protocol:
            raise InvalidInput("give at most one --target for gRPC and one for REST")
        by_protocol[target.protocol] = text
    secure = target.secure or encrypted
    named = re.fullmatch(r"(?:https?://)?([^/:@]+|\[[^]@]+\]):850[01]", target.address)
    if named and target.address.endswith(":8500" if target.protocol == "grpc" else ":8501"):
        by_protocol.setdefault("grpc", f"{'grpcs://' if secure else ''}{named[1]}:8500")
        by_protocol.setdefault("rest", f"http{'s' if secure else ''}://{named[1]}:8501")
    return by_protocol


class ModelServer:
    """All calls of the page. It belongs to the event loop of its first call."""

    def __init__(
        self, targets: Mapping[str, str], *, models: Sequence[str], labels: Sequence[str], timeout: float, **trust: Any
    ) -> None:
        self.models = list(models)
        self._targets, self._labels, self._options = dict(targets), list(labels), {"timeout": timeout, **trust}
        self._clients: dict[tuple[Choice, bool], AsyncClient] = {}
        self._session: aiohttp.ClientSession | None = None
        for protocol in self._targets:
            self._connect(Choice(protocol, self.models[0]))  # checks the flags before the page is served

    def _connect(self, choice: Choice, **options: Any) -> AsyncClient:
        if choice.protocol not in self._targets:
            raise InvalidInput(f"no target for {choice.protocol!r}: start the playground with another --target")
        which: dict[str, Any] = {"model": choice.model, "version": choice.version, "version_label": choice.label}
        return AsyncClient(self._targets[choice.protocol], **which, **self._options | options)

    async def client(self, choice: Choice, *, probe: bool = False) -> AsyncClient:
        """The client of `choice`; with a short timeout if it is a `probe`."""
        key = (choice, probe)
        client = self._clients.pop(key, None) or self._connect(choice, **(_PROBE if probe else {}))
        self._clients[key] = client  # in the order of last use, because the first ones are closed first
        while len(self._clients) > _MOST_CLIENTS:
            await self._clients.pop(next(iter(self._clients))).close()
        return client

    async def row(self, choice: Choice) -> Row:
        """The shape of one image in the model's input; raises HangtagError."""
        model = await (await self.client(choice)).metadata()
        signature = model.signatures.get("serving_default")
        if signature is None or len(signature.inputs) != 1:
            raise UnknownSignature(f"{model.name} version {model.version} has no default signature with one input")
        (spec,) = signature.inputs.values()
        row = (spec.shape or ())[1:]
        if len(row) not in (2, 3) or any((side or 0) > _LARGEST_SIDE for side in row):
            raise InvalidInput(f"{model.name} takes {spec}, which is not a batch of images")
        return row

    async def class_names(self, choice: Choice) -> list[str]:
        """The model's class names; [] if it does not provide them."""
        try:
            return await (await self.client(choice)).labels()
        except UnknownSignature:
            return []

    async def classify(self, choice: Choice, pixels: np.ndarray) -> dict[str, Any]:
        """The result for one image [H, W, …]: best classes, version, and the milliseconds of the call."""
        client = await self.client(choice)
        await self.class_names(choice)  # fetched once per version, and not part of the measured time
        start = time.perf_counter()
        result = await client.classify(pixels[np.newaxis])
        milliseconds = (time.perf_counter() - start) * 1000
        version = result.model_version or (await client.metadata()).version  # REST responses do not have it
        names, scores = result.class_names, result.probabilities[0]
        best = (-scores).argsort(kind="stable")[:_TOP].tolist()
        top = [{"index": at, "name": names[at], "score": float(scores[at])} for at in best]
        return {"version": version, "protocol": choice.protocol, "milliseconds": milliseconds, "top": top}

    async def state(self, model: str) -> dict[str, Any]:
        """The state of the server and of one model, for the page. If the server does not answer, it has the errors."""
        looks = await asyncio.gather(*(self._look(protocol, model) for protocol in self._targets), self._metrics(model))
        summary = looks.pop()
        errors = {name: look for name, look in zip(self._targets, looks, strict=True) if isinstance(look, HangtagError)}
        good = [name for name in self._targets if name not in errors]
        return {
            "targets": {name: str(parse_target(target)) for name, target in self._targets.items()},
            "errors": {name: str(error) for name, error in errors.items()},
            "reachable": bool(good),
            "models": self.models if summary is None else sorted({*self.models, *summary["models"]}),
            "versions": next((look for look in looks if not isinstance(look, HangtagError)), []),
            "labels": await self._labelled(Choice(good[0], model)) if good else {},
            "metrics": summary,
            "chinese": dict(zip(CLASS_NAMES, CLASS_NAMES_ZH, strict=True)),
        }

    async def _look(self, protocol: str, model: str) -> Any:
        """The states of the model's versions, or a HangtagError."""
        try:
            statuses = await (await self.client(Choice(protocol, model), probe=True)).status()
        except HangtagError as error:
            return error
        return [{"version": one.version, "state": one.state, "error": one.error_message} for one in statuses]

    async def _labelled(self, choice: Choice) -> dict[str, int]:
        """The version behind each label; TensorFlow Serving has no call that lists labels."""
        known = {}
        for label in self._labels:
            try:
                client = await self.client(choice._replace(label=label), probe=True)
                known[label] = (await client.metadata()).version
            except HangtagError:
                continue  # no such label, or its version is not loaded
        return known

    async def _metrics(self, model: str) -> dict[str, Any] | None:
        """The server's metrics; None if it has none, which is TensorFlow Serving's default."""
        if "rest" not in self._targets:
            return None
        if self._session is None:
            tls = self._options.get("tls")
            connector = aiohttp.TCPConnector(ssl=True if tls is None else tls.context())
            self._session = aiohttp.ClientSession(connector=connector, headers=self._options.get("headers"))
        url = parse_target(self._targets["rest"]).address + "/monitoring/prometheus/metrics"
        content, timeout = b"", aiohttp.ClientTimeout(total=2)
        try:
            async with self._session.get(url, timeout=timeout, allow_redirects=False) as answer:
                async for piece in answer.content.iter_any():
                    content += piece
                    if answer.status != 200 or len(content) > metrics.MAX_BYTES:
                        return None
            return metrics.summarize(content.decode("utf-8", "replace"), model)
        except (aiohttp.ClientError, OSError, ValueError, KeyError):
            return None

    async def close(self) -> None:
        """Close all connections."""
        for client in self._clients.values():
            await client.close()
        if self._session is not None:
            await self._session.close()
