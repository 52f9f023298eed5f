"""What both clients are told, checked once."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .conversation import Conversation
from .errors import InvalidInput
from .fashion_mnist import check_language
from .model import ModelSpec
from .target import Target, parse_target
from .tls import TLS

_HEADER_NAME, _HEADER_VALUE = re.compile(r"[\w.-]+", re.ASCII), re.compile(r"[ -~]*")


@dataclass(frozen=True, slots=True)
class Settings:
    """How requests travel. `timeout` is in seconds, `gzip_above` in bytes; `channel` and `session` are the caller's."""

    target: Target
    timeout: float
    retries: int
    concurrency: int
    headers: tuple[tuple[str, str], ...]
    tls: TLS | None
    gzip_above: int | None
    channel: Any
    session: Any


def check(
    target: str,
    *,
    model: str,
    version: int | None,
    version_label: str | None,
    signature: str,
    labels: Sequence[str] | None,
    language: str,
    timeout: float,
    retries: int,
    batch_size: int | None,
    concurrency: int,
    tls: TLS | None,
    headers: Mapping[str, str] | None,
    gzip_above: int | None,
    channel: Any,
    session: Any,
) -> tuple[Settings, Conversation]:
    """The two halves of a client; raises InvalidInput. Nothing is read or connected yet."""
    where = parse_target(target)
    if version is not None and version_label is not None:
        raise InvalidInput("give version or version_label, not both")
    if version is not None and version < 0:
        raise InvalidInput(f"version is {version}: versions are counted from 0")
    if not model:
        raise InvalidInput("the model name is empty")
    if not timeout > 0:
        raise InvalidInput(f"timeout is {timeout}: give seconds, more than 0")
    if retries < 0 or concurrency < 1 or (batch_size is not None and batch_size < 1):
        raise InvalidInput("retries must be at least 0, concurrency and batch_size at least 1")
    if isinstance(labels, str):
        raise InvalidInput("labels is a string: give a list of class names")
    if where.protocol == "grpc" and (gzip_above is not None or session is not None):
        raise InvalidInput("gzip_above and session are for REST targets, http://host:port")
    if where.protocol == "rest" and channel is not None:
        raise InvalidInput("channel is for gRPC targets, host:port")
    if tls is not None and (channel is not None or session is not None):
        raise InvalidInput("tls is set on your own channel or session, not beside it")
    if tls is not None and where.address.startswith("http://"):
        raise InvalidInput(f"{where} is not encrypted: tls needs https://")
    for key, value in (headers or {}).items():
        if not (_HEADER_NAME.fullmatch(key) and _HEADER_VALUE.fullmatch(value)):  # the value may be a secret
            raise InvalidInput(f"header {key!r} cannot be sent: names and values are printable ASCII, on one line")
    settings = Settings(
        target=where,
        timeout=timeout,
        retries=retries,
        concurrency=concurrency,
        headers=tuple((headers or {}).items()),
        tls=tls,
        gzip_above=gzip_above,
        channel=channel,
        session=session,
    )
    conversation = Conversation(
        protocol=where.protocol,
        spec=ModelSpec(model, version, version_label, signature),
        labels=None if labels is None else tuple(labels),
        language=check_language(language),
        batch_size=batch_size,
    )
    return settings, conversation
