"""What both clients are told, checked once."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Integral, Real
from types import UnionType
from typing import Any

from .core.session import Conversation
from .errors import InvalidInput
from .fashion_mnist import check_language
from .model import ModelSpec
from .target import Target, parse_target
from .tls import TLS

_HEADER_NAME, _HEADER_VALUE = re.compile(r"[\w.-]+", re.ASCII), re.compile(r"[ -~]*")
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")

_LONGEST = 1e9  # seconds, 31 years: somewhere above it the clocks of gRPC and of sockets run over
_VERSIONS = 1 << 63  # int64 in model.proto


@dataclass(frozen=True, slots=True)
class Settings:
    """How requests travel. `timeout` is in seconds, `gzip_above` in bytes; `channel` and `session` are the caller's."""

    target: Target
    timeout: float
    retries: int
    concurrency: int
    headers: tuple[tuple[str, str], ...] = field(repr=False)
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
    _check_kind(str, "a string", model=model, signature=signature)
    _check_kind(str | None, "a string", version_label=version_label)
    _check_kind(Integral, "a whole number", retries=retries, concurrency=concurrency)
    _check_kind(Integral | None, "a whole number", version=version, batch_size=batch_size, gzip_above=gzip_above)
    _check_kind(Iterable | None, "a list of class names", labels=labels)
    _check_kind(TLS | None, "a hangtag.TLS", tls=tls)
    _check_kind(Mapping | None, "a dict of strings", headers=headers)
    names = None if labels is None else tuple(labels)
    if isinstance(labels, str) or not all(isinstance(name, str) for name in names or ()):
        raise InvalidInput("labels is no list of class names: give a list of strings")
    if version is not None and version_label is not None:
        raise InvalidInput("give version or version_label, not both")
    if version is not None and not 0 <= version < _VERSIONS:
        raise InvalidInput(f"version is {version}: versions are counted from 0, and are less than 2 ** 63")
    if not model:
        raise InvalidInput("the model name is empty")
    if retries < 0 or concurrency < 1 or (batch_size is not None and batch_size < 1):
        raise InvalidInput("retries must be at least 0, concurrency and batch_size at least 1")
    if where.protocol == "grpc" and (gzip_above is not None or session is not None):
        raise InvalidInput("gzip_above and session are for REST targets, http://host:port")
    if where.protocol == "rest" and channel is not None:
        raise InvalidInput("channel is for gRPC targets, host:port")
    if tls is not None and (channel is not None or session is not None):
        raise InvalidInput("tls is set on your own channel or session, not beside it")
    if tls is not None and where.address.startswith("http://"):
        raise InvalidInput(f"{where} is not encrypted: tls needs https://")
    sent = tuple(_header(key, value, where.protocol) for key, value in (headers or {}).items())
    settings = Settings(
        target=where,
        timeout=check_seconds(timeout),
        retries=retries,
        concurrency=concurrency,
        headers=sent,
        tls=tls,
        gzip_above=gzip_above,
        channel=channel,
        session=session,
    )
    conversation = Conversation(
        protocol=where.protocol,
        spec=ModelSpec(model, version, version_label, signature),
        labels=names,
        language=check_language(language),
        batch_size=batch_size,
    )
    return settings, conversation


def check_seconds(timeout: float, *, least: float = 0) -> float:
    """`timeout`, or InvalidInput for what is no time to wait: NaN, an infinity, `least` or less, no number at all."""
    if not (isinstance(timeout, Real) and least < timeout <= _LONGEST):
        raise InvalidInput(f"timeout is {timeout!r}: give seconds, more than 0 and at most {_LONGEST:g}")
    return float(timeout)  # a float32 would round the clock it is added to


def _check_kind(kind: type | UnionType, words: str, **given: object) -> None:
    for name, value in given.items():
        if not isinstance(value, kind):
            raise InvalidInput(f"{name} is of type {type(value).__name__}: give {words}")
        if isinstance(value, str) and _LONE_SURROGATE.search(value):
            raise InvalidInput(f"{name} is {value!r}, which cannot be sent: it has half of a character")


def _header(name: str, value: str, protocol: str) -> tuple[str, str]:
    """What is sent of a header; the value, which may be a secret, is in no error."""
    if not (isinstance(name, str) and isinstance(value, str)):
        raise InvalidInput(f"header {name!r} cannot be sent: names and values are strings")
    if not (_HEADER_NAME.fullmatch(name) and _HEADER_VALUE.fullmatch(value)):
        raise InvalidInput(f"header {name!r} cannot be sent: names and values are printable ASCII, on one line")
    if protocol == "grpc" and name.lower().endswith("-bin"):
        raise InvalidInput(f"header {name!r} cannot be sent: gRPC keeps names in -bin for bytes")
    return name, value.strip()
