"""The options of both clients, and their checks."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from functools import wraps
from hashlib import sha256
from inspect import Parameter, Signature, signature
from numbers import Integral, Real
from os import PathLike
from types import UnionType
from typing import Any, Concatenate, ParamSpec, TypeVar

from ..contract import RANGES, SCORES, SERVING_DEFAULT
from ..errors import InvalidInput
from ..fashion_mnist import check_language
from ..model import ModelSpec
from .class_names import read_class_names
from .target import TLS, Target, parse_target

_LONGEST = 1e9  # seconds, 31 years: much longer timeouts overflow the clocks of gRPC and of sockets
_VERSIONS = 1 << 63  # versions are int64 in model.proto

_HEADER_NAME, _HEADER_VALUE = re.compile(r"[\w.-]+", re.ASCII), re.compile(r"[ -~]*")
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Options:
    """The arguments of Client and AsyncClient, with their defaults. Raises InvalidInput for a bad value.

    The constructor reads a file of class names, but does not connect.
    """

    target: str = field(repr=False)  # it may hold a password
    _: KW_ONLY
    model: str = "fashion"
    version: int | None = None
    version_label: str | Mapping[str, float] | None = None
    signature: str = SERVING_DEFAULT
    labels: Sequence[str] | str | PathLike[str] | None = None
    language: str = "en"
    pixels: str | None = None
    scores: str | None = None
    output: str | None = None
    timeout: float = 10.0
    retries: int = 2
    batch_size: int | None = None
    concurrency: int = 4
    tls: TLS | None = None
    headers: Mapping[str, str] | None = field(default=None, repr=False)
    gzip_above: int | None = None
    channel: Any = None
    session: Any = None

    names: tuple[str, ...] | None = field(init=False, repr=False)  # of `labels`
    server: Target = field(init=False)
    weights: dict[str, float] = field(init=False)
    """The weights of version labels, without weights of 0."""
    servable: ModelSpec = field(init=False)
    """The servable that calls ask for; if labels have weights, the label with the greatest."""
    sent_headers: tuple[tuple[str, str], ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        server = parse_target(self.target)
        _check_kind(str, "a string", model=self.model, signature=self.signature)
        _check_kind(str | Mapping | None, "a string, or weights by label", version_label=self.version_label)
        if isinstance(self.version_label, Mapping):
            _check_weights(self.version_label)
        _check_kind(Integral, "a whole number", retries=self.retries, concurrency=self.concurrency)
        for name in ("version", "batch_size", "gzip_above"):
            _check_kind(Integral | None, "a whole number", **{name: getattr(self, name)})
        _check_kind(TLS | None, "a hangtag.TLS", tls=self.tls)
        _check_kind(Mapping | None, "a dict of strings", headers=self.headers)
        _check_kind(str | None, "a string", output=self.output)
        _check_choice("pixels", self.pixels, RANGES)
        _check_choice("scores", self.scores, SCORES)
        names = None if self.labels is None else read_class_names(self.labels)
        if self.version is not None and self.version_label is not None:
            raise InvalidInput("give version or version_label, not both")
        if self.version is not None and not 0 <= self.version < _VERSIONS:
            raise InvalidInput(f"version is {self.version}: versions are counted from 0, and are less than 2 ** 63")
        if not self.model:
            raise InvalidInput("the model name is empty")
        if self.retries < 0 or self.concurrency < 1 or (self.batch_size is not None and self.batch_size < 1):
            raise InvalidInput("retries must be at least 0, concurrency and batch_size at least 1")
        if server.protocol == "grpc" and (self.gzip_above is not None or self.session is not None):
            raise InvalidInput("gzip_above and session are for REST targets, http://host:port")
        if server.protocol == "rest" and self.channel is not None:
            raise InvalidInput("channel is for gRPC targets, host:port")
        if self.tls is not None and (self.channel is not None or self.session is not None):
            raise InvalidInput("tls cannot be used together with your own channel or session: set TLS there")
        if self.tls is not None and server.address.startswith("http://"):
            raise InvalidInput(f"{server} is not encrypted: tls needs https://")
        check_language(self.language)
        sent = tuple(_header(name, value, server.protocol) for name, value in (self.headers or {}).items())
        label = self.version_label
        weights = (
            {name: float(weight) for name, weight in label.items() if weight} if isinstance(label, Mapping) else {}
        )
        if not isinstance(label, str):
            label = max(weights, key=weights.__getitem__, default=None)
        checked = {
            "names": names,
            "timeout": check_seconds(self.timeout),
            "server": server,
            "sent_headers": sent,
            "weights": weights,
            "servable": ModelSpec(self.model, self.version, label, self.signature),
        }
        for name, value in checked.items():
            object.__setattr__(self, name, value)  # a frozen dataclass allows no other way

    def choose(self, key: str | None) -> ModelSpec:
        """The servable that one call asks for: with weighted labels, a random one by weight, or one by `key`.

        Keys use weighted rendezvous hashing: when a label's weight grows, only keys that move to this label change.
        Source: Schindelhauer and Schomaker, "Weighted distributed hash tables", SPAA 2005.

        >>> options = Options("host", version_label={"stable": 0.5, "canary": 0.5})
        >>> options.choose("user-42") == options.choose("user-42")
        True
        """
        if key is not None and not isinstance(key, str):
            raise InvalidInput(f"key is of type {type(key).__name__}: give a string")
        if not self.weights:
            return self.servable
        if key is None:
            (label,) = random.choices(list(self.weights), list(self.weights.values()))
        else:
            label = min(self.weights, key=lambda name: -math.log(_fraction(f"{name}\n{key}")) / self.weights[name])
        return self.servable._replace(version_label=label)


def _fraction(text: str) -> float:
    """A pseudo-random number above 0 and at most 1 for `text`; the same in every process."""
    return (int.from_bytes(sha256(text.encode("utf-8", "surrogatepass")).digest()[:8], "big") + 1) / (1 << 64)


Arguments = ParamSpec("Arguments")
Client = TypeVar("Client")


def takes(
    options: Callable[Arguments, Options],
) -> Callable[[Callable[[Client, Options], None]], Callable[Concatenate[Client, Arguments], None]]:
    """Decorate a constructor that takes Options, so that callers and type checkers see their fields as arguments."""

    def decorate(init: Callable[[Client, Options], None]) -> Callable[Concatenate[Client, Arguments], None]:
        @wraps(init)
        def constructor(self: Client, /, *arguments: Arguments.args, **named: Arguments.kwargs) -> None:
            init(self, options(*arguments, **named))

        own = Parameter("self", Parameter.POSITIONAL_OR_KEYWORD)
        parameters = [own, *signature(options).parameters.values()]
        constructor.__signature__ = Signature(parameters, return_annotation=None)  # type: ignore[attr-defined]
        return constructor

    return decorate


def check_seconds(timeout: float, *, least: float = 0) -> float:
    """`timeout` as a float; raises InvalidInput unless it is a number above `least` and at most 1e9."""
    if not (isinstance(timeout, Real) and least < timeout <= _LONGEST):
        raise InvalidInput(f"timeout is {timeout!r}: give seconds, more than 0 and at most {_LONGEST:g}")
    return float(timeout)  # adding a float32 to a clock would round the clock


def _check_weights(weights: Mapping[str, float]) -> None:
    """Raise InvalidInput unless the weights of version labels are finite, not negative, and not all 0."""
    for label, weight in weights.items():
        _check_kind(str, "strings as labels", version_label=label)
        if not (label and isinstance(weight, Real) and math.isfinite(weight) and weight >= 0):
            raise InvalidInput(f"version_label gives {label!r} the weight {weight!r}: give finite numbers, 0 or more")
    if not sum(weights.values()) > 0:
        raise InvalidInput("version_label has no weight above 0: at least one label must get calls")


def _check_kind(kind: type | UnionType, what: str, **given: object) -> None:
    for name, value in given.items():
        if not isinstance(value, kind):
            raise InvalidInput(f"{name} is of type {type(value).__name__}: give {what}")
        if isinstance(value, str) and _LONE_SURROGATE.search(value):
            raise InvalidInput(f"{name} is {value!r}, which cannot be sent: it is not valid Unicode")


def _check_choice(name: str, value: object, choices: Sequence[str]) -> None:
    if value is not None and value not in choices:
        raise InvalidInput(f"{name} is {value!r}: give one of {', '.join(map(repr, choices))}")


def _header(name: str, value: str, protocol: str) -> tuple[str, str]:
    """The header to send; raises InvalidInput without showing the value, which may be a secret."""
    if not (isinstance(name, str) and isinstance(value, str)):
        raise InvalidInput(f"header {name!r} cannot be sent: names and values must be strings")
    if not (_HEADER_NAME.fullmatch(name) and _HEADER_VALUE.fullmatch(value)):
        raise InvalidInput(f"header {name!r} cannot be sent: names and values must be printable ASCII, on one line")
    if protocol == "rest" and name.lower() in ("content-length", "transfer-encoding"):
        raise InvalidInput(f"header {name!r} cannot be sent: it would contradict the length of the request")
    if protocol == "grpc" and name.lower().endswith("-bin"):
        raise InvalidInput(f"header {name!r} cannot be sent: in gRPC, names that end in -bin are for bytes")
    return name, value.strip()
