"""Servers that answer a constant, so that only the client's cost shows: gRPC on pygrpc-native, REST on uvloop.

    python benchmarks/servers.py grpc|rest [HEIGHT WIDTH [3]]

Prints its port. An answer has one row of ten probabilities for each image that was asked about. Images are of 28 x 28
pixels, or over gRPC of the size given.
"""

from __future__ import annotations

import asyncio
import json
import math
import sys
from functools import lru_cache

import numpy as np

from hangtag.fashion_mnist import CLASS_NAMES
from hangtag.model import ModelSpec
from hangtag.protocol import dtypes, protobuf, tensors
from hangtag.protocol.grpc_codec import model_spec

ROW = np.array([0.01, 0.01, 0.02, 0.01, 0.03, 0.01, 0.01, 0.05, 0.05, 0.8], "f4")
SHAPE = ([int(size) for size in sys.argv[2:]] if __name__ == "__main__" else []) or [28, 28]
PIXELS = math.prod(SHAPE)
PREDICT = "/tensorflow.serving.PredictionService/Predict"
METADATA = "/tensorflow.serving.PredictionService/GetModelMetadata"
SPEC = protobuf.block(2, model_spec(ModelSpec("fashion", 1, None, "serving_default")))


def output(name: str, tensor: bytes) -> bytes:
    return protobuf.block(1, protobuf.block(1, name.encode()) + protobuf.block(2, tensor)) + SPEC


@lru_cache
def probabilities(images: int) -> bytes:
    """As the C++ server sends them: packed float_val."""
    array = np.tile(ROW, (images, 1))
    return output(
        "probabilities", tensors.head(dtypes.of_array(array), array.shape) + protobuf.block(5, array.tobytes())
    )


def predict(body: bytes) -> bytes:
    images = len(body) // PIXELS  # the rest of the request is shorter than one image
    if images:
        return probabilities(images)
    return output("class_name", tensors.encode(np.array([name.encode() for name in CLASS_NAMES], object)))


def info(number: int, shape: list[int]) -> bytes:
    dims = b"".join(protobuf.block(2, protobuf.number(1, size)) for size in shape)
    return protobuf.number(2, number) + protobuf.block(3, dims)


def signature(inputs: tuple[str, bytes], outputs: tuple[str, bytes]) -> bytes:
    return b"".join(
        protobuf.block(side, protobuf.block(1, name.encode()) + protobuf.block(2, content))
        for side, (name, content) in ((1, inputs), (2, outputs))
    )


def metadata(body: bytes) -> bytes:
    named = {
        "serving_default": signature(("images", info(4, [-1, *SHAPE])), ("probabilities", info(1, [-1, 10]))),
        "labels": signature(("index", info(9, [-1])), ("class_name", info(7, [-1]))),
    }
    found = b"".join(
        protobuf.block(1, protobuf.block(1, name.encode()) + protobuf.block(2, content))
        for name, content in named.items()
    )
    spec = protobuf.block(1, model_spec(ModelSpec("fashion", 1)))
    return spec + protobuf.block(2, protobuf.block(1, b"signature_def") + protobuf.block(2, protobuf.block(2, found)))


def serve_grpc() -> None:
    from pygrpc_native import NativeGrpcFront

    methods = [predict, metadata]
    front = NativeGrpcFront("127.0.0.1:0", [(PREDICT, False), (METADATA, False)])
    front.start()
    print(front.bound_port, flush=True)
    while events := front.recv_batch(64):
        for _, call, method, body, _ in events:
            front.respond(call, methods[method](body))


def http(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body


@lru_cache
def rest_answer(images: int) -> bytes:
    row = "[" + ", ".join(f"{value:.6g}" for value in ROW) + "]"
    return http(('{\n    "predictions": [' + ", ".join([row] * images) + "\n    ]\n}").encode())


def rest_metadata() -> bytes:
    def tensor(dtype: str, *shape: int) -> dict[str, object]:
        return {"name": "", "dtype": dtype, "tensor_shape": {"dim": [{"size": str(size)} for size in shape]}}

    default = {
        "inputs": {"images": tensor("DT_UINT8", -1, 28, 28)},
        "outputs": {"probabilities": tensor("DT_FLOAT", -1, 10)},
    }
    found = {"signature_def": {"signature_def": {"serving_default": default}}}
    return http(json.dumps({"model_spec": {"name": "fashion", "version": "1"}, "metadata": found}).encode())


counted: dict[int, int] = {}  # images by the length of the body: what has been counted once is not counted again


class Rest(asyncio.BufferedProtocol):
    """Just enough of HTTP/1.1: a head with Content-Length, then the body, which is hardly looked at."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.held = bytearray(1 << 24)
        self.view = memoryview(self.held)
        self.filled = self.head = self.body = 0

    def get_buffer(self, sizehint: int) -> memoryview:
        return self.view[self.filled :]

    def buffer_updated(self, count: int) -> None:
        self.filled += count
        if not self.head:
            self.head = self.held.find(b"\r\n\r\n", 0, self.filled) + 4
            if self.head < 4:
                self.head = 0
                return
            if self.held.startswith(b"GET"):
                self.transport.write(rest_metadata())
                self.filled = self.head = 0
                return
            self.body = int(bytes(self.held[: self.head]).lower().partition(b"content-length:")[2].split(b"\r\n")[0])
        if self.filled < self.head + self.body:
            return
        images = counted.get(self.body)
        if images is None:  # every image ends with two brackets
            images = counted[self.body] = self.held.count(b"]]", self.head, self.filled)
        self.transport.write(rest_answer(images))
        self.filled = self.head = self.body = 0


async def serve_rest() -> None:
    server = await asyncio.get_running_loop().create_server(Rest, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    if sys.argv[1] == "grpc":
        serve_grpc()
    else:
        import uvloop

        uvloop.run(serve_rest())
