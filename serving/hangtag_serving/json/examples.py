"""Converts the JSON of :classify and :regress to an Input message of tf.Examples.

Semantics and texts: tensorflow_serving/util/json_tensor.cc, recorded on 2.20.0.
Field numbers: tensorflow_serving/apis/input.proto, tensorflow/core/example/{example,feature}.proto.
"""

from __future__ import annotations

import struct
from typing import Any

from hangtag.protocol import protobuf

from ..errors import ServingError, invalid
from ..limits import Budget
from .excerpts import excerpt
from .inputs import from_base64, is_base64, json_type
from .parser import MISSING, Object
from .request import parse_document

_BYTES, _FLOATS, _INTS = 1, 2, 3  # Feature.kind
_KINDS = {_BYTES: "bytes", _FLOATS: "float", _INTS: "int64"}


def read(body: bytes, max_depth: int, budget: Budget) -> tuple[str, bytes]:
    """The name of the signature, which may be empty, and a serialized Input."""
    document, signature_name = parse_document(body, max_depth, budget)
    context = document.find(b"context")
    head = b"" if context is MISSING else protobuf.block(2, _example(context))
    examples = document.find(b"examples")
    if examples is MISSING:  # the C++ server also says "classify" for regress
        raise _wrong(document, "When method is classify, key 'examples' is expected and was not found")
    if not isinstance(examples, list):
        raise _wrong(document, "Expecting 'examples' value to be an list/array")
    if not examples:
        raise _wrong(document, "'examples' value is an empty array")
    listed = b"".join(protobuf.block(1, _example(example)) for example in examples)
    return signature_name, protobuf.block(1 if context is MISSING else 2, listed + head)


def _wrong(document: Object, text: str) -> ServingError:
    return invalid(f"JSON Value: {excerpt(document)} {text}")


def _example(value: Any) -> bytes:
    if not isinstance(value, Object):
        raise invalid(f"Example must be JSON object but got JSON {json_type(value)}")
    features = {}
    for key, content in value.members:  # here the last of equal names counts
        name = key.decode("utf-8", "replace")
        items = content if isinstance(content, list) else [content]
        features[key] = _feature(name, items)
    entries = b"".join(
        protobuf.block(1, protobuf.block(1, key) + protobuf.block(2, feature)) for key, feature in features.items()
    )
    return protobuf.block(1, entries)


def _feature(name: str, items: list[Any]) -> bytes:
    kind = 0
    values: list[Any] = []
    for item in items:
        own = _kind(name, item)
        if kind not in (0, own):
            raise invalid(f"Unexpected element type in feature: {name} expecting type: {_KINDS[kind]}")
        kind = own
        if kind == _INTS and item >= 2**63:
            raise invalid(f"Feature: {name} has uint64_t element. Only int64_t is supported.")
        values.append(from_base64(item) if isinstance(item, Object) else item)
    if not kind:
        return b""
    if kind == _BYTES:
        return protobuf.block(kind, b"".join(protobuf.block(1, value) for value in values))
    if kind == _FLOATS:
        return protobuf.block(kind, protobuf.block(1, b"".join(map(_float32, values))))
    return protobuf.block(kind, protobuf.block(1, b"".join(protobuf.varint(int(value)) for value in values)))


def _kind(name: str, item: Any) -> int:
    if isinstance(item, bytes) or is_base64(item):
        return _BYTES
    if isinstance(item, float):
        return _FLOATS
    if isinstance(item, int):  # true and false count as 1 and 0
        return _INTS
    raise invalid(f"Feature: {name} has element with unexpected JSON type: {json_type(item)}")


def _float32(value: float) -> bytes:
    try:
        return struct.pack("<f", value)
    except OverflowError:  # a C++ cast gives infinity
        return struct.pack("<f", float("inf") if value > 0 else float("-inf"))
