"""Helpers for tensorflow-serving-api's messages, which several gRPC methods use."""

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

_PARSED_BYTES = 24  # memory that protobuf may need for each byte of a message


@cache
def api(name: str) -> Any:
    """A module of tensorflow-serving-api."""
    return require(f"tensorflow_serving.apis.{name}", extra="serving", what="hangtag serve")


def checked_spec(spec: ModelSpec | None) -> ModelSpec:
    """`spec`; raises ServingError if it is missing or names no model."""
    if spec is None:
        raise invalid("Missing ModelSpec")
    if not spec.name:
        raise invalid("ModelSpec has no name specified.")
    return spec


def fill_spec(message: Any, servable: Servable, signature_name: str) -> None:
    """Write the version and the signature that answered into a ModelSpec message."""
    message.name = servable.name
    message.version.value = servable.version
    message.signature_name = signature_name or "serving_default"


def parse(message: Any, body: bytes, budget: Budget) -> Any:
    """Parse a request message; raises ServingError if it is malformed or may need too much memory."""
    budget.take(_PARSED_BYTES * len(body))
    try:
        return message.FromString(body)
    except Exception as error:  # protobuf's DecodeError, whose module depends on the implementation
        raise unreadable(error) from error


def unreadable(error: Exception) -> ServingError:
    """The error for a malformed message. The C++ server sends no text for it."""
    log.debug("a request is not a protobuf message: %s", error)
    return ServingError("INTERNAL", "")


def read_spec(content: memoryview, budget: Budget) -> ModelSpec:
    """A serialized ModelSpec."""
    return spec_of(parse(api("model_pb2").ModelSpec, bytes(content), budget))


def to_bytes(message: Any) -> bytes:
    """A serialized message, typed."""
    serialized: bytes = message.SerializeToString()
    return serialized


def spec_of(message: Any) -> ModelSpec:
    """A ModelSpec message as the client's ModelSpec."""
    version = message.version.value if message.HasField("version") else None
    label = message.version_label if message.WhichOneof("version_choice") == "version_label" else None
    return ModelSpec(message.name, version, label, message.signature_name)
