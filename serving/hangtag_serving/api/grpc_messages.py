"""tensorflow-serving-api's messages, read and written the same way by every method that uses them."""

from __future__ import annotations

import logging
from functools import cache
from typing import Any

from hangtag.model import ModelSpec
from hangtag.optional import require

from ..errors import ServingError, invalid
from ..limits import Budget
from ..models.servable import Servable

log = logging.getLogger("hangtag.serving")

_PARSED_BYTES = 24  # that a byte of a message may take once protobuf has parsed it


@cache
def api(name: str) -> Any:
    """A module of tensorflow-serving-api."""
    return require(f"tensorflow_serving.apis.{name}", extra="serving", what="hangtag serve")


def checked_spec(spec: ModelSpec | None) -> ModelSpec:
    """The spec, which must be there and name a model."""
    if spec is None:
        raise invalid("Missing ModelSpec")
    if not spec.name:
        raise invalid("ModelSpec has no name specified.")
    return spec


def fill_spec(message: Any, servable: Servable, signature_name: str) -> None:
    """Write which version and signature answered."""
    message.name = servable.name
    message.version.value = servable.version
    message.signature_name = signature_name or "serving_default"


def parse(message: Any, body: bytes, budget: Budget) -> Any:
    """A request message; ServingError if the bytes are none, or may take too much memory as objects."""
    budget.take(_PARSED_BYTES * len(body))
    try:
        return message.FromString(body)
    except Exception as error:  # protobuf's DecodeError, whose home differs between its implementations
        raise unreadable(error) from error


def unreadable(error: Exception) -> ServingError:
    """For bytes that are no message. The C++ server says nothing more about it."""
    log.debug("a request that is no protobuf message: %s", error)
    return ServingError("INTERNAL", "")


def read_spec(content: memoryview, budget: Budget) -> ModelSpec:
    """A serialized ModelSpec."""
    return spec_of(parse(api("model_pb2").ModelSpec, bytes(content), budget))


def to_bytes(message: Any) -> bytes:
    """A message, serialized."""
    serialized: bytes = message.SerializeToString()
    return serialized


def spec_of(message: Any) -> ModelSpec:
    """A ModelSpec message as the plain tuple."""
    version = message.version.value if message.HasField("version") else None
    label = message.version_label if message.WhichOneof("version_choice") == "version_label" else None
    return ModelSpec(message.name, version, label, message.signature_name)
