"""TensorFlow Serving's REST API as a function from request to response, independent of the HTTP server.

Semantics and texts: tensorflow_serving/model_servers/http_rest_api_{util,handler}.cc and http_server.cc, recorded on
2.20.0.
"""

from __future__ import annotations

import json
import logging
import re
import threading
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import unquote

import orjson

from hangtag.model import ModelSpec
from hangtag.optional import require

from ..errors import INTERNAL, ServingError, invalid
from ..json import examples
from ..json import outputs as json_outputs
from ..json.inputs import read_inputs
from ..json.parser import MAX_DEPTH
from ..json.request import parse_document
from ..limits import DEFAULT, Budget, Limits
from ..models.registry import Models
from ..request_log import Note, Recorder
from . import classify
from .grpc_model_service import signature_map
from .predict import check_inputs, check_method

log = logging.getLogger("hangtag.serving")

_MODEL = r"/v1/models/([^/:]+)(?:/versions/(\d+)|/labels/([^/:]+))?"
_POST = re.compile(rf"{_MODEL}:(classify|regress|predict)", re.IGNORECASE | re.ASCII)
_GET = re.compile(
    r"/v1/models(?:/([^/:]+))?(?:/versions/(\d+)|/labels/([^/:]+))?(?:/(metadata))?", re.IGNORECASE | re.ASCII
)
_CHARACTER = r"[\w\-.~!$&'()*+,;=:@/]|%[0-9a-fA-F]{2}"  # RFC 3986: the characters of a path
_URI = re.compile(rf"(?:{_CHARACTER})*(?:\?(?:{_CHARACTER}|\?)*)?(?:#(?:{_CHARACTER}|\?)*)?", re.ASCII)
_MAX_INFLATED = 2  # gzipped bodies that are handled at a time, because each may become 100 MiB
_METHODS = frozenset(("GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH"))

_HTTP = {
    "OK": 200,
    "CANCELLED": 499,
    "INVALID_ARGUMENT": 400,
    "DEADLINE_EXCEEDED": 504,
    "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409,
    "PERMISSION_DENIED": 403,
    "UNAUTHENTICATED": 401,
    "RESOURCE_EXHAUSTED": 429,
    "FAILED_PRECONDITION": 400,
    "ABORTED": 409,
    "OUT_OF_RANGE": 400,
    "UNIMPLEMENTED": 501,
    "UNAVAILABLE": 503,
}


class Answer(NamedTuple):
    """An HTTP response: status, body and content type."""

    status: int
    body: bytes
    content_type: str = "application/json"


@dataclass(frozen=True)
class RestOptions:
    """Options of the REST API. `metrics_path` is None if metrics are off. Sizes are in bytes."""

    metrics_path: str | None = None
    cors: bool = False
    max_inflated_bytes: int = 100 << 20
    max_json_depth: int = MAX_DEPTH
    limits: Limits = DEFAULT


class RestService:
    """Answers REST requests. Any thread may call `respond`."""

    def __init__(self, models: Models, recorder: Recorder, options: RestOptions = RestOptions()) -> None:
        self._models, self._recorder, self._options = models, recorder, options
        self.max_json_depth = options.max_json_depth
        self._inflating = threading.BoundedSemaphore(_MAX_INFLATED)

    @property
    def cors(self) -> bool:
        """Whether every response has the headers that let any web page read it."""
        return self._options.cors

    def respond(self, verb: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """The response to a request. `path` includes the query, undecoded; the names in `headers` are lower case."""
        if verb not in _METHODS:
            return _page(501, "Not Implemented")
        if not _URI.fullmatch(path):
            return _page(400, "Bad Request")
        metrics_path = self._options.metrics_path
        if metrics_path is not None and path.split("?")[0] == metrics_path:
            if "?" in path:
                text = f"Unexpected path: {path}. Should be {metrics_path}"
                return Answer(400, text.encode("utf-8", "replace"), "text/plain")
            return Answer(200, self._recorder.metrics.text(), "text/plain")
        if path[:4].lower() != "/v1/":
            return _page(404, "Not Found")
        if verb == "OPTIONS":
            origin = headers.get("origin", "")
            return Answer(200 if "http://" in origin or "https://" in origin else 400, b"")
        try:
            if "gzip" in headers.get("content-encoding", ""):
                with self._inflating:
                    return Answer(200, self._route(verb, path, self._inflate(body)))
            return Answer(200, self._route(verb, path, body))
        except ServingError as error:
            return refusal(error)
        except Exception:
            log.exception("a REST request failed")
            return refusal(ServingError("INTERNAL", INTERNAL))

    def _inflate(self, body: bytes) -> bytes:
        """The decompressed body; empty if it cannot be decompressed, as in C++."""
        inflater = zlib.decompressobj(zlib.MAX_WBITS | 16)
        try:
            inflated = inflater.decompress(body, self._options.max_inflated_bytes)
        except zlib.error:
            return b""
        return inflated if inflater.eof else b""

    def _route(self, verb: str, path: str, body: bytes) -> bytes:
        if verb == "POST" and (match := _POST.fullmatch(path)):
            name, version, label, action = match.groups()
            spec = _spec(name, version, label)
            if action == "predict":  # lower case only, although the rest of the path ignores case
                return self._recorded(spec, action, body, self._predict)
            if action in ("classify", "regress"):
                return self._recorded(spec, action, body, self._classify_or_regress)
        elif verb == "GET" and (match := _GET.fullmatch(path)):
            name, version, label, metadata = match.groups()
            if name is None:
                raise invalid("Missing model name in request.")
            spec = _spec(name, version, label)
            # Only lower case, as above: `/Metadata` returns the status.
            return self._recorded(spec, "", b"", self._metadata if metadata == "metadata" else self._status)
        raise invalid(f"Malformed request: {verb} {path}")

    def _recorded(self, spec: ModelSpec, api: str, body: bytes, answer: _Action) -> bytes:
        with self._recorder.note(api, "REST", len(body), spec.name) as note:
            return answer(spec, body, note)

    def _predict(self, spec: ModelSpec, body: bytes, note: Note) -> bytes:
        budget = Budget(self._options.limits)
        document, name = parse_document(body, self.max_json_depth, budget)
        with self._models.use(spec) as servable:
            note.signature = name
            signature = servable.signature(name)
            if signature is None:
                raise invalid(f'Serving signature name: "{name}" not found in signature def')
            if not signature.inputs:
                raise invalid(f"Failed to get input map for signature: {name or 'DEFAULT'}")
            note.servable = servable
            inputs, as_rows = read_inputs(document, signature.inputs, budget)
            check_method(servable, signature)
            check_inputs(signature, inputs.keys())
            outputs = sorted(signature.outputs)
            arrays = servable.run(name, inputs, outputs, budget=budget)
            return json_outputs.predictions(dict(zip(outputs, arrays, strict=True)), as_rows, budget)

    def _classify_or_regress(self, spec: ModelSpec, body: bytes, note: Note) -> bytes:
        budget = Budget(self._options.limits)
        note.signature, serialized = examples.read(body, self.max_json_depth, budget)
        content = memoryview(serialized)
        with self._models.use(spec) as servable:
            note.servable = servable
            if note.api == "classify":
                return json_outputs.classifications(classify.classify(servable, note.signature, content, budget))
            return json_outputs.regressions(classify.regress(servable, note.signature, content, budget))

    def _status(self, spec: ModelSpec, body: bytes, note: Note) -> bytes:
        entries = [
            {
                "version": str(version.number),
                "state": version.state,
                "status": {"error_code": version.error_code, "error_message": version.error_message},
            }
            for version in self._models.status(spec)
        ]
        return orjson.dumps({"model_version_status": entries}, option=orjson.OPT_INDENT_2) + b"\n"

    def _metadata(self, spec: ModelSpec, body: bytes, note: Note) -> bytes:
        json_format = require("google.protobuf.json_format", extra="serving", what="hangtag serve")
        with self._models.use(spec) as servable:
            signatures = json_format.MessageToDict(
                signature_map(servable), preserving_proto_field_name=True, always_print_fields_with_no_presence=True
            )
            document = {
                "model_spec": {"name": servable.name, "signature_name": "", "version": str(servable.version)},
                "metadata": {"signature_def": signatures},
            }
        return orjson.dumps(document, option=orjson.OPT_INDENT_2) + b"\n"


_Action = Callable[[ModelSpec, bytes, Note], bytes]


class _EmptyBody(ServingError):
    """An error that the C++ server sends with an empty body."""


def _spec(name: str, version: str | None, label: str | None) -> ModelSpec:
    digits = "" if version is None else version.lstrip("0")
    number = None if version is None else int(digits[:20] or "0")  # 20 digits are enough to be too many
    if number is not None and number >= 2**63:
        raise _EmptyBody("INVALID_ARGUMENT", "")
    return ModelSpec(unquote(name), number, None if label is None else unquote(label))


def refusal(error: ServingError) -> Answer:
    """The response for an error."""
    status = _HTTP.get(error.code, 500)
    if isinstance(error, _EmptyBody):
        return Answer(status, b"")
    document = json.dumps({"error": error.message}, indent=4, ensure_ascii=False)
    return Answer(status, document.encode("utf-8", "replace") + b"\n")


def too_large(limit: int) -> Answer:
    """The response to a body over the limit; the C++ server has no such limit."""
    document = json.dumps({"error": f"The request is larger than {limit} bytes"}, indent=4)
    return Answer(413, document.encode() + b"\n")


def _page(status: int, reason: str) -> Answer:
    """The HTML page that the C++ server sends; it comes from libevent."""
    html = f"<HTML><HEAD>\n<TITLE>{status} {reason}</TITLE>\n</HEAD><BODY>\n<H1>{reason}</H1>\n</BODY></HTML>\n"
    return Answer(status, html.encode(), "text/html")
