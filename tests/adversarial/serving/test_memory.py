"""Requests that ask the server for far more memory than they bring: each is refused, and memory does not grow.

Bounds are relative to what was sent, or to what an ordinary request takes. Linux only: /proc says how much there was.
"""

from __future__ import annotations

import base64
import gzip
import os
import struct
import sys
from itertools import count, islice
from pathlib import Path

import grpc
import pytest
import requests

from hangtag.model import ModelSpec
from hangtag.protocol import protobuf
from hangtag.protocol.grpc_codec import predict_request
from support import Server, eventually

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

ROUNDS = int(os.environ.get("HANGTAG_ADVERSARIAL_ROUNDS", "40"))
MIB = 1 << 20
SERVICE = "/tensorflow.serving.PredictionService/"
PREDICT, CLASSIFY = SERVICE + "Predict", SERVICE + "Classify"


def resident(server: Server, key: str = "VmRSS") -> int:
    """Bytes that the server holds now (VmRSS), or held at most since `forget_peak` (VmHWM)."""
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith(key)) << 10


@pytest.fixture
def growth(server: Server):
    """A function that says by how much memory has grown at its peak since the test began."""
    Path(f"/proc/{server.process.pid}/clear_refs").write_text("5")
    before = resident(server)
    return lambda: resident(server, "VmHWM") - before


def tensor(dtype: int, shape: list[int], values: bytes) -> bytes:
    dims = b"".join(protobuf.block(2, protobuf.number(1, size)) for size in shape)
    return protobuf.number(1, dtype) + protobuf.block(2, dims) + values


def request(signature: str, alias: str, content: bytes, model: str = "fashion") -> bytes:
    spec = protobuf.block(1, protobuf.text(1, model) + protobuf.text(3, signature))
    return spec + protobuf.block(2, protobuf.block(1, alias.encode()) + protobuf.block(2, content))


def refused(server: Server, body: bytes, method: str = PREDICT) -> tuple[grpc.StatusCode, str]:
    options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    with grpc.insecure_channel(server.grpc, options) as channel, pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary(method)(body, timeout=120)
    return caught.value.code(), caught.value.details()


ONE = protobuf.varint(7)


USUAL = [(4, 7, ONE), (9, 10, ONE), (1, 5, b"\0\0\0\1"), (7, 8, b"a"), (10, 11, b"\1"), (14, 13, ONE), (19, 13, ONE)]
RARE = [(11, 7, ONE), (12, 7, ONE), (13, 7, ONE), (15, 7, ONE), (16, 7, ONE), (18, 12, b"\0" * 16), (29, 7, ONE)]


@pytest.mark.parametrize(("dtype", "field", "value"), [*USUAL, *RARE])
def test_one_value_for_a_billion_elements(server, growth, dtype, field, value):
    """Of every dtype, rare ones and quantised ones too."""
    body = request("", "images", tensor(dtype, [10**9], protobuf.block(field, value)))
    assert refused(server, body) == (grpc.StatusCode.INVALID_ARGUMENT, "tensor parsing error: images")
    assert growth() < 16 * MIB


def test_a_few_bytes_do_not_become_many_class_names(server, growth):
    body = request("labels", "index", tensor(9, [8_000_000], protobuf.block(10, protobuf.varint(3))))
    assert refused(server, body)[0] is grpc.StatusCode.INVALID_ARGUMENT
    assert growth() < 16 * MIB


SPEC = protobuf.block(1, protobuf.text(1, "fashion") + protobuf.text(3, "classify"))
FIELDS = {
    "model_spec": (PREDICT, lambda many: SPEC + many(1)),
    "inputs": (PREDICT, lambda many: SPEC + many(2)),
    "output_filter": (PREDICT, lambda many: SPEC + many(3)),
    "unknown": (PREDICT, lambda many: SPEC + many(9)),
    "float_val": (PREDICT, lambda many: request("float32", "x", tensor(1, [MIB], many(5)), "types")),
    "string_val": (PREDICT, lambda many: request("float32", "x", tensor(7, [MIB], many(8)), "types")),
    "examples": (CLASSIFY, lambda many: SPEC + protobuf.block(2, protobuf.block(1, many(1)))),
    "metadata_field": (SERVICE + "GetModelMetadata", lambda many: SPEC + many(2)),
}


@pytest.mark.parametrize(("method", "make"), FIELDS.values(), ids=FIELDS)
def test_very_many_empty_fields(server, growth, method, make):
    """Two bytes each, of which every object in memory takes fifty times as much."""
    body = make(lambda field: protobuf.block(field, b"") * (4 * MIB))
    code, _ = refused(server, body, method)
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert growth() < 20 * len(body)


def test_a_context_in_very_many_pieces_is_read_in_time(server):
    """If each piece copied all before it, this would take an hour."""
    context = protobuf.block(2, protobuf.block(1, b"")) * MIB
    body = SPEC + protobuf.block(2, protobuf.block(2, context + protobuf.block(1, b"")))
    code, _ = refused(server, body, CLASSIFY)
    assert code is grpc.StatusCode.INVALID_ARGUMENT


LONG = MIB // 2
BODIES = {
    "numbers and a bool": b'{"instances":[' + b"0," * (LONG // 2) + b"true]}",
    "floats and a bool": b'{"instances":[' + b"0.1," * (LONG // 4) + b"true]}",
    "small rows": b'{"instances":[' + b"[1]," * (LONG // 4) + b"[1]]}",
    "small rows and a bool": b'{"instances":[' + b"[1]," * (LONG // 4) + b"true]}",
    "empty objects": b'{"instances":[' + b"{}," * (LONG // 3) + b"{}]}",
    "empty strings": b'{"instances":[' + b'"",' * (LONG // 3) + b'""]}',
    "an unused list": b'{"instances":[1],"x":[' + b"0," * (LONG // 2) + b"0]}",
    "one long number": b'{"instances":[' + b"9" * LONG + b"]}",
    "a long fraction": b'{"instances":[0.' + b"9" * LONG + b"]}",
    "deep": b'{"instances":' + b"[" * LONG,
}


@pytest.mark.parametrize("server", ["native"], indirect=True)
@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_json_that_grows_when_it_is_read(server, growth, body):
    """Sent gzipped, a few KiB each. What it takes is bounded by what it is, uncompressed."""
    headers = {"Content-Encoding": "gzip"}
    url = f"{server.rest}/v1/models/fashion:predict"
    response = requests.post(url, data=gzip.compress(body), headers=headers, timeout=240)
    assert response.status_code == 400
    assert growth() < 100 * len(body)
    assert requests.get(f"{server.rest}/v1/models/fashion", timeout=60).status_code == 200


def test_a_long_string_is_not_repeated_for_many_elements(server, growth):
    """TensorFlow copies it for each of them."""
    body = request("raw", "x", tensor(7, [100_000], protobuf.block(8, b"a" * MIB)), "types")
    assert refused(server, body) == (grpc.StatusCode.INVALID_ARGUMENT, "tensor parsing error: x")
    assert growth() < 16 * MIB


def test_a_context_is_not_repeated_for_many_examples(server, growth):
    """It is put before each of them."""
    examples = protobuf.block(1, b"") * 100_000 + protobuf.block(2, b"a" * MIB)
    code, text = refused(server, SPEC + protobuf.block(2, protobuf.block(2, examples)), CLASSIFY)
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert "--max_tensor_bytes" in text
    assert growth() < 64 * MIB


def jpeg(width: int, height: int) -> bytes:
    frame = struct.pack(">BHHB", 8, height, width, 1) + b"\1\x11\0"
    return b"\xff\xd8\xff\xe0\0\4ab\xff\xc0" + struct.pack(">H", len(frame) + 2) + frame + b"\0" * 600


def png(width: int, height: int) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", width, height) + b"\0" * 40


def gif(frames: int, width: int, height: int) -> bytes:
    """With a screen of one pixel, an extension, and frames whose data is one byte."""
    frame = b"\x2c" + struct.pack("<HHHHB", 0, 0, width, height, 0x80) + bytes(6) + b"\x02\x01\x00\x00"
    return (
        b"GIF89a"
        + struct.pack("<HHBBB", 1, 1, 0x80, 0, 0)
        + bytes(6)
        + b"\x21\xfe\x02hi\x00"
        + frame * frames
        + b"\x3b"
    )


def example(image: bytes) -> bytes:
    """A serialized tf.Example with one feature, `image`."""
    feature = protobuf.block(1, protobuf.block(1, image))
    return protobuf.block(1, protobuf.block(1, protobuf.block(1, b"image") + protobuf.block(2, feature)))


IMAGES = {
    "jpeg": [jpeg(22_000, 22_000)],
    "png": [png(22_000, 22_000)],
    "gif": [b"GIF89a" + struct.pack("<HH", 60_000, 60_000)],
    "frames of a gif": [gif(20, 3000, 3000)],
    "many": [jpeg(7000, 7000)] * 100,
}


@pytest.mark.parametrize("images", IMAGES.values(), ids=IMAGES)
def test_image_headers_that_claim_too_much(server, images):
    """In any encoding: string_val, tensor_content, base64."""
    values = b"".join(protobuf.block(8, image) for image in images)
    content = b"".join(map(protobuf.varint, map(len, images))) + b"".join(images)
    for carried in (values, protobuf.block(4, content)):
        code, text = refused(server, request("raw", "x", tensor(7, [len(images)], carried), "types"))
        assert code is grpc.StatusCode.INVALID_ARGUMENT
        assert text.startswith("An image says that it has ")
    document = {"signature_name": "raw", "instances": [{"b64": base64.b64encode(image).decode()} for image in images]}
    response = requests.post(f"{server.rest}/v1/models/types:predict", json=document, timeout=60)
    assert response.status_code == 400
    assert "max_image_pixels" in response.json()["error"]


@pytest.mark.parametrize("method", [CLASSIFY, PREDICT])
def test_images_in_examples_that_claim_too_much(server, method):
    serialized = example(jpeg(22_000, 22_000))
    if method == CLASSIFY:
        body = SPEC + protobuf.block(2, protobuf.block(1, protobuf.block(1, serialized)))
    else:
        body = request("classify", "inputs", tensor(7, [1], protobuf.block(8, serialized)))
    code, text = refused(server, body, method)
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert text.startswith("An image says that it has ")


def test_images_in_examples_as_json_that_claim_too_much(server):
    image = {"b64": base64.b64encode(jpeg(22_000, 22_000)).decode()}
    document = {"signature_name": "classify", "examples": [{"image": image}]}
    response = requests.post(f"{server.rest}/v1/models/fashion:classify", json=document, timeout=60)
    assert response.status_code == 400
    assert "max_image_pixels" in response.json()["error"]


def test_ordinary_images_pass(server):
    document = {"signature_name": "raw", "instances": [{"b64": base64.b64encode(jpeg(4000, 3000)).decode()}]}
    assert requests.post(f"{server.rest}/v1/models/types:predict", json=document, timeout=60).status_code == 200


def test_refused_requests_are_freed_at_once(server):
    """And not when the garbage collector runs, which it does not while no request comes."""
    before = resident(server)
    for _ in range(10):
        assert refused(server, predict_request(ModelSpec("x" * 2 * MIB), {}))[0] is grpc.StatusCode.NOT_FOUND
    eventually(lambda: resident(server) - before < 32 * MIB, "the memory of the requests")


def test_long_and_many_model_names_do_not_fill_the_metrics(server):
    with grpc.insecure_channel(server.grpc) as channel:
        call, names = channel.unary_unary(PREDICT), count()

        def kept() -> int:
            """Bytes by which memory has grown with four times as many requests, of a MiB each, as the bound has MiB."""
            before = resident(server)
            for number in islice(names, 4 * ROUNDS):
                with pytest.raises(grpc.RpcError):
                    call(predict_request(ModelSpec(f"{number}" + "x" * MIB), {}), timeout=60)
            return resident(server) - before

        # Until every thread has the memory that requests of this size pass through; names would be kept each time.
        eventually(lambda: kept() < ROUNDS * MIB, "memory to grow no more", patience=60)
    metrics = requests.get(f"{server.rest}/monitoring/prometheus/metrics", timeout=60)
    assert len(metrics.content) < MIB
