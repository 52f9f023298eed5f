"""A small model server made of functions, which may misbehave on purpose."""

from __future__ import annotations

import gzip
import json
import math
import re
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

import grpc
import numpy as np

from hangtag.model import ModelSpec
from hangtag.protocol import dtypes, protobuf, tensors
from hangtag.protocol.grpc_codec import model_spec, read_model_spec

Tensor = tuple[str, list[int]]  # dtype name and shape, -1 for an open dimension


@dataclass
class Signature:
    """What a signature takes and gives, and the function that does it."""

    inputs: Mapping[str, Tensor]
    outputs: Mapping[str, Tensor]
    run: Callable[..., dict[str, np.ndarray]]


class Refused(Exception):
    """Raised by a hook to answer a call with a status."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code, self.text = code, text


@dataclass
class Model:
    """A model server's one model. `hook` is called with the number of each Predict and may raise Refused.

    `version` gives the newest version, by the number of Predicts so far; `versions` has the signatures of those that
    do not have `signatures`; `labels` and `unloaded` are version labels and versions that are not served any more.
    """

    signatures: Mapping[str, Signature]
    name: str = "fashion"
    version: Callable[[int], int] = lambda number: 1
    hook: Callable[[int], None] = lambda number: None
    versions: Mapping[int, Mapping[str, Signature]] = field(default_factory=dict)
    labels: Mapping[str, int] = field(default_factory=dict)
    unloaded: set[int] = field(default_factory=set)
    predicts: int = 0
    requests: list[dict[str, str]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def predict(self, name: str, inputs: dict[str, np.ndarray], version: int | None) -> tuple[dict, int]:
        with self._lock:
            number, self.predicts = self.predicts, self.predicts + 1
        self.hook(number)
        if version in self.unloaded:
            raise Refused("NOT_FOUND", f"Servable not found for request: Specific({self.name}, {version})")
        answered = self.version(number) if version is None else version
        return self.of(answered)[name or "serving_default"].run(**inputs), answered

    def of(self, version: int) -> Mapping[str, Signature]:
        """The signatures of a version."""
        return self.versions.get(version, self.signatures)

    def asked(self, spec: ModelSpec) -> int | None:
        """The version that a request names, by number or label; raises Refused."""
        version = spec.version
        if spec.version_label is not None:
            if spec.version_label not in self.labels:
                raise Refused("INVALID_ARGUMENT", f"Unrecognized servable version label: {spec.version_label}")
            version = self.labels[spec.version_label]
        if version in self.unloaded:
            raise Refused("NOT_FOUND", f"Servable not found for request: Specific({self.name}, {version})")
        return version


def _first_pixel() -> Mapping[str, Signature]:
    """Pixels to probabilities that depend on nothing but the image: class = first pixel modulo 10."""

    def run(images: np.ndarray) -> dict[str, np.ndarray]:
        classes = images.reshape(len(images), math.prod(images.shape[1:]))[:, 0] % 10
        return {"probabilities": (0.91 * np.eye(10) + 0.01)[classes.astype(int)].astype("f4")}

    def names(index: np.ndarray) -> dict[str, np.ndarray]:
        return {"class_name": np.array([f"class {n}".encode() for n in index], object)}

    return {
        "serving_default": Signature(
            {"images": ("DT_UINT8", [-1, 28, 28])}, {"probabilities": ("DT_FLOAT", [-1, 10])}, run
        ),
        "normalized_images": Signature(
            {"images": ("DT_FLOAT", [-1, 28, 28])},
            {"probabilities": ("DT_FLOAT", [-1, 10])},
            lambda images: run((images * 255).round()),
        ),
        "labels": Signature({"index": ("DT_INT64", [-1])}, {"class_name": ("DT_STRING", [-1])}, names),
    }


FIRST_PIXEL = _first_pixel()
"""A model that answers class = first pixel modulo 10, named "class 0" to "class 9"."""


@contextmanager
def model_server(model: Model, protocol: str, **options: Any) -> Iterator[str]:
    """Serve `model` over one protocol; yields the target."""
    with (_grpc_server if protocol == "grpc" else _rest_server)(model, **options) as target:
        yield target


@contextmanager
def _grpc_server(model: Model, *, address: str = "127.0.0.1:0", credentials: Any = None) -> Iterator[str]:
    pool = ThreadPoolExecutor(16)
    server = grpc.server(pool, handlers=[_Handler(model)], options=[("grpc.max_receive_message_length", -1)])
    port = server.add_secure_port(address, credentials) if credentials else server.add_insecure_port(address)
    server.start()
    try:
        yield address if address.startswith("unix:") else f"127.0.0.1:{port}"
    finally:
        server.stop(0).wait()
        pool.shutdown()


class _Handler(grpc.GenericRpcHandler):
    def __init__(self, model: Model) -> None:
        self._model = model

    def service(self, details: Any) -> Any:
        method = details.method.rsplit("/", 1)[1]
        headers = dict(details.invocation_metadata)
        return grpc.unary_unary_rpc_method_handler(lambda body, context: self._answer(method, body, context, headers))

    def _answer(self, method: str, body: bytes, context: Any, headers: dict[str, str]) -> bytes:
        model = self._model
        model.requests.append(headers | {"method": method})
        spec, inputs = ModelSpec(""), {}
        for number, _, value in protobuf.fields(memoryview(body)):
            if number == 1:
                spec = read_model_spec(value)
            elif number == 2 and method == "Predict":
                key, content = protobuf.map_entry(value)
                inputs[key] = tensors.decode(content)
        try:
            if method == "GetModelMetadata":
                return _metadata(model, model.asked(spec))
            if method == "GetModelStatus":
                return protobuf.block(
                    1, protobuf.number(1, model.version(model.predicts)) + protobuf.number(2, 30)
                )  # AVAILABLE
            outputs, version = model.predict(spec.signature, inputs, model.asked(spec))
        except Refused as refused:
            context.abort(grpc.StatusCode[refused.code], refused.text)
        entries = [
            protobuf.block(1, protobuf.block(1, key.encode()) + protobuf.block(2, tensors.encode(value)))
            for key, value in outputs.items()
        ]
        return b"".join(entries) + protobuf.block(2, model_spec(ModelSpec(spec.name, version)))


def _metadata(model: Model, version: int | None) -> bytes:
    signatures = b""
    shown = model.version(model.predicts) if version is None else version
    for name, signature in model.of(shown).items():
        sides = [
            protobuf.block(side, protobuf.block(1, key.encode()) + protobuf.block(2, _tensor_info(*spec)))
            for side, specs in ((1, signature.inputs), (2, signature.outputs))
            for key, spec in specs.items()
        ]
        signatures += protobuf.block(1, protobuf.block(1, name.encode()) + protobuf.block(2, b"".join(sides)))
    packed = protobuf.block(2, signatures)
    spec = model_spec(ModelSpec(model.name, shown))
    return protobuf.block(1, spec) + protobuf.block(2, protobuf.block(1, b"signature_def") + protobuf.block(2, packed))


def _tensor_info(dtype: str, shape: list[int]) -> bytes:
    dims = b"".join(protobuf.block(2, protobuf.number(1, size)) for size in shape)
    return protobuf.number(2, dtypes.BY_NAME[dtype].number) + protobuf.block(3, dims)


@contextmanager
def _rest_server(model: Model, *, context: ssl.SSLContext | None = None) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        wbufsize = -1  # head and body of a small response are sent together

        def log_message(self, *args: Any) -> None:
            pass

        def do_GET(self) -> None:
            model.requests.append({key.lower(): value for key, value in self.headers.items()} | {"path": self.path})
            try:
                self._send(200, _rest_metadata(model, model.asked(_spec_of(self.path))))
            except Refused as refused:
                self._send(_STATUSES[refused.code], {"error": refused.text})

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            model.requests.append({key.lower(): value for key, value in self.headers.items()} | {"path": self.path})
            document = json.loads(body)
            name = document.get("signature_name") or "serving_default"
            try:
                rows = "instances" in document
                signature = model.signatures[name]
                values = {next(iter(signature.inputs)): document["instances"]} if rows else document["inputs"]
                inputs = {key: _array(value, signature.inputs[key][0]) for key, value in values.items()}
                outputs, _ = model.predict(name, inputs, model.asked(_spec_of(self.path)))
            except Refused as refused:
                self._send(_STATUSES[refused.code], {"error": refused.text})
            else:
                lists = {key: _listed(value) for key, value in outputs.items()}
                if len(lists) == 1:
                    (shown,) = lists.values()
                elif rows:
                    shown = [dict(zip(lists, row, strict=True)) for row in zip(*lists.values(), strict=True)]
                else:
                    shown = lists
                self._send(200, {"predictions" if rows else "outputs": shown})

        def _send(self, status: int, document: Any) -> None:
            body = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    class Server(ThreadingHTTPServer):
        request_queue_size = 128

    server = Server(("127.0.0.1", 0), Handler)
    server.handle_error = lambda *_: None  # a client that goes away, or whose certificate is refused, is part of a test
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield f"{'http' if context is None else 'https'}://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


_STATUSES = {"RESOURCE_EXHAUSTED": 429, "UNAVAILABLE": 503, "INVALID_ARGUMENT": 400, "NOT_FOUND": 404}


def _spec_of(path: str) -> ModelSpec:
    found = re.search(r"/v1/models/([^/:]+)(?:/versions/(\d+))?(?:/labels/([^/:]+))?(?:/metadata|:predict)?$", path)
    name, version, label = found.groups()
    return ModelSpec(unquote(name), version and int(version), label and unquote(label))


def _array(value: Any, dtype: str) -> np.ndarray:
    return np.array(value, dtypes.BY_NAME[dtype].numpy)


def _listed(array: np.ndarray) -> Any:
    if array.dtype == object:
        return np.array([item.decode() for item in array.ravel()], object).reshape(array.shape).tolist()
    return array.tolist()


def _rest_metadata(model: Model, version: int | None) -> dict[str, Any]:
    def side(specs: Mapping[str, Tensor]) -> dict[str, Any]:
        return {
            key: {"name": "", "dtype": dtype, "tensor_shape": {"dim": [{"size": str(n)} for n in shape]}}
            for key, (dtype, shape) in specs.items()
        }

    shown = model.version(model.predicts) if version is None else version
    return {
        "model_spec": {"name": model.name, "version": str(shown)},
        "metadata": {
            "signature_def": {
                "signature_def": {
                    name: {"inputs": side(signature.inputs), "outputs": side(signature.outputs)}
                    for name, signature in model.of(shown).items()
                }
            }
        },
    }


def busy(number: int) -> None:
    """A hook: the C++ server with all its threads taken."""
    raise Refused("RESOURCE_EXHAUSTED", "Server Threadpool Exhausted")
