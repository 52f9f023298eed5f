"""Answers that no server should send: BadResponse, and never anything else, a hang, or memory without bound."""

from __future__ import annotations

import tracemalloc
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hangtag import BadResponse, HangtagError
from hangtag.errors import from_http
from hangtag.model import ModelSpec, Signature, TensorSpec
from hangtag.protocol import grpc_codec, protobuf, rest_codec, tensors
from hangtag.protocol.request import Request
from recorded_responses import recordings

SPEC = ModelSpec("fashion")
OUTPUTS = Signature({}, {"y": TensorSpec("", "DT_FLOAT", (None, None))})
TWO_OUTPUTS = Signature({}, {"product": TensorSpec("", "DT_STRING", (None,)), "sum": TensorSpec("", "DT_DOUBLE", None)})
INPUT = {"x": np.zeros((1, 2), "f4")}

GRPC_READERS = {
    "Predict": [grpc_codec.predict(SPEC, INPUT, OUTPUTS)],
    "GetModelMetadata": [grpc_codec.metadata(SPEC)],
    "GetModelStatus": [grpc_codec.status(SPEC)],
}
REST_READERS = {
    "Predict": [rest_codec.predict(SPEC, INPUT, OUTPUTS), rest_codec.predict(SPEC, INPUT, TWO_OUTPUTS)],
    "GetModelMetadata": [rest_codec.metadata(SPEC)],
    "GetModelStatus": [rest_codec.status(SPEC)],
}
SEEDS = [(request, r.body) for r in recordings("grpc") if r.ok for request in GRPC_READERS[r.call]]
SEEDS += [(request, r.body) for r in recordings("rest") if r.ok for request in REST_READERS[r.call]]

JSON_SCRAPS = [
    b"[",
    b"]",
    b"{",
    b"}",
    b'"',
    b"null",
    b"NaN",
    b"-1",
    b"1e999",
    b"9" * 400,
    b'"b64"',
    b"\\ud800",
    b"\xff",
]
WIRE_SCRAPS = [b"\xff" * 9 + b"\x01", b"\xff" * 11, b"\x0a\x00", b"\x12\x7f", b"\x00", b"\x1b", b"\x80", b"\x08\x63"]


@st.composite
def mutations(draw: st.DrawFn) -> tuple[Request, bytes]:
    """A recorded answer, a few times cut, spliced, overwritten or stuffed."""
    request, body = draw(st.sampled_from(SEEDS))
    _, other = draw(st.sampled_from(SEEDS))
    for _ in range(draw(st.integers(1, 4))):
        at, length = draw(st.integers(0, len(body))), draw(st.integers(0, 12))
        scrap = draw(st.one_of(st.binary(max_size=4), st.sampled_from(JSON_SCRAPS + WIRE_SCRAPS)))
        body = draw(
            st.sampled_from(
                [body[:at], body[at:], body[:at] + scrap + body[at + length :], body[:at] + other[:length] + body[at:]]
            )
        )
    return request, body


@given(mutations())
@settings(max_examples=1000, deadline=None)
def test_a_mutated_answer_is_read_or_is_a_bad_response(mutation):
    request, body = mutation
    with suppress(BadResponse):
        request.decode(body)


@given(st.sampled_from(SEEDS), st.binary(max_size=200), st.sampled_from([400, 404, 429, 500, 502, 503]))
@settings(max_examples=300, deadline=None)
def test_noise_is_read_or_is_a_bad_response(seed, noise, status):
    """As an answer, and as the body of a refusal."""
    request, _ = seed
    with suppress(BadResponse):
        request.decode(noise)
    assert isinstance(from_http(status, noise, "there"), HangtagError)


def output(name: str, tensor: bytes) -> bytes:
    return protobuf.block(1, protobuf.block(1, name.encode()) + protobuf.block(2, tensor))


def tensor(dtype: int, dims: list[int], rest: bytes = b"", times: int = 1) -> bytes:
    """A TensorProto with these dimensions, `times` in a row, and the fields of `rest`."""
    shape = b"".join(protobuf.block(2, protobuf.number(1, size)) for size in dims)
    return protobuf.number(1, dtype) + protobuf.block(2, shape * times) + rest


GRPC_BOMBS = {
    "product of dimensions": output("y", tensor(1, [2**62], times=200)),
    "a million dimensions": output("y", tensor(1, [2**62], times=1_000_000)),
    "dimensions beside a zero": output("y", tensor(1, [0] + [2**40] * 30)),
    "too many for numpy": output("y", tensor(1, [1] * 100, protobuf.block(4, b"\0" * 4))),
    "negative dimension": output("y", tensor(1, [-5])),
    "one value for a billion": output("y", tensor(1, [10**9], protobuf.block(5, b"\0\0\0\0"))),
    "no value for a billion": output("y", tensor(1, [10**9])),
    "strings for a billion": output("y", tensor(7, [10**9], protobuf.block(8, b"x"))),
    "many fills that would each pass": b"".join(output(f"{n}", tensor(2, [8_000_000])) for n in range(1000)),
    "resource": output("y", tensor(20, [1], protobuf.block(4, b"1234"))),
    "content too short": output("y", tensor(1, [3], protobuf.block(4, b"\0" * 11))),
    "cut half a complex": output("y", tensor(8, [1], protobuf.block(9, b"\0" * 4))),
    "varint without end": output("y", tensor(3, [1], protobuf.block(7, b"\xff" * 1000))),
    "a group": b"\x0b\x0c",
    "a name that is not UTF-8": protobuf.block(1, protobuf.block(1, b"\xff") + protobuf.block(2, tensor(1, []))),
}


@pytest.mark.parametrize("body", GRPC_BOMBS.values(), ids=GRPC_BOMBS.keys())
def test_a_few_bytes_cannot_make_us_allocate_without_bound(body):
    """What it takes stays under the documented bound for filled tensors and a small multiple of what arrived."""
    peak = peak_of(GRPC_READERS["Predict"][0], body)
    assert peak < 3 * tensors.MAX_FILLED_BYTES + 64 * len(body)


def test_a_deeply_nested_message_costs_nothing():
    """The codec follows no nesting that it does not know."""
    body = b""
    for _ in range(2000):
        body = protobuf.block(1, body)
    with pytest.raises(BadResponse):
        GRPC_READERS["Predict"][0].decode(body)


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b'{"predictions": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"a":' * 50_000,
        b'{"predictions": [' + b"9" * 100_000 + b"]}",
        b'{"predictions": [[1, 2], [3]]}',
        b'{"predictions": {"y": 1}}',
        b'{"outputs": null}',
        b"null",
        b"5",
        b"",
    ],
    ids=lambda body: body[:24].decode(),
)
def test_hostile_documents(body):
    """Deep, huge and ragged JSON, for every reader of REST."""
    for request in [request for group in REST_READERS.values() for request in group]:
        with pytest.raises(BadResponse):
            request.decode(body)
    assert isinstance(from_http(500, body, "there"), HangtagError)


def test_what_a_document_lacks_is_named():
    with pytest.raises(BadResponse, match=r"cannot be read: it has no 'model_version_status'$"):
        rest_codec.status(SPEC).decode(b"{}")


def peak_of(request: Request, body: bytes) -> int:
    """Bytes that reading `body` took at the most; it must fail."""
    tracemalloc.start()
    try:
        with pytest.raises(BadResponse):
            request.decode(body)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
