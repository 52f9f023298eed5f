"""TensorFlow Serving's REST API as a function from a request to an answer, whatever HTTP library carries it.

Semantics and texts: tensorflow_serving/model_servers/http_rest_api_{util,handler}.cc, recorded on 2.20.0.
"""

from __future__ import annotations

import json
import logging
import re
from typing import NamedTuple
from urllib.parse import unquote

import orjson

from hangtag.extras import require
from hangtag.model import ModelSpec

from . import json_documents
from .errors import ServingError, invalid
from .grpc_service import signature_map
from .json_tensors import excerpt
from .models import Models

log = logging.getLogger("hangtag.serving")

_MODEL = r"/v1/models/([^/:]+)(?:/versions/(\d+)|/labels/([^/:]+))?"
_POST = re.compile(rf"{_MODEL}:(classify|regress|predict)", re.IGNORECASE)
_GET = re.compile(r"/v1/models(?:/([^/:]+))?(?:/versions/(\d+)|/labels/([^/:]+))?(?:/(metadata))?", re.IGNORECASE)

_HTTP = {
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

_NOT_FOUND_PAGE = b"""<HTML><HEAD>
<TITLE>404 Not Found</TITLE>
</HEAD><BODY>
<H1>Not Found</H1>
</BODY></HTML>
"""


class Answer(NamedTuple):
    """Status, body and its type."""

    status: int
    body: bytes
    content_type: str = "application/json"


def respond(models: Models, verb: str, path: str, body: bytes) -> Answer:
    """Answer one request; `path` includes the query string, which the C++ server matches too."""
    if path[:4].lower() != "/v1/":
        return Answer(404, _NOT_FOUND_PAGE, "text/html")
    try:
        return Answer(200, _route(models, verb, path, body))
    except ServingError as error:
        return _refusal(error)
    except Exception:
        log.exception("a REST request failed")
        return _refusal(ServingError("INTERNAL", "internal error; the server's log has the reason"))


def _refusal(error: ServingError) -> Answer:
    document = json.dumps({"error": error.message}, indent=4, ensure_ascii=False)
    return Answer(_HTTP.get(error.code, 500), document.encode("utf-8", "replace") + b"\n")


def _route(models: Models, verb: str, path: str, body: bytes) -> bytes:
    if verb == "POST" and (match := _POST.fullmatch(path)):
        name, version, label, action = match.groups()
        if action == "predict":  # the verb, unlike the path, is case-sensitive
            return _predict(models, _spec(name, version, label), body)
    elif verb == "GET" and (match := _GET.fullmatch(path)):
        name, version, label, metadata = match.groups()
        if name is None:
            raise invalid("Missing model name in request.")
        return (_metadata if metadata else _status)(models, _spec(name, version, label))
    raise invalid(f"Malformed request: {verb} {path}")


def _spec(name: str, version: str | None, label: str | None) -> ModelSpec:
    number = None if version is None else int(version)
    if number is not None and number >= 2**63:
        raise invalid(f"Failed to convert version: {version} to numeric.")
    return ModelSpec(unquote(name), number, None if label is None else unquote(label))


def _predict(models: Models, spec: ModelSpec, body: bytes) -> bytes:
    document = json_documents.parse(body)
    signature_name = document.get("signature_name", "")
    if not isinstance(signature_name, str):
        raise invalid(
            f"JSON Value: {excerpt(document)} not formatted correctly. 'signature_name' key must be a string value."
        )
    with models.use(spec) as servable:
        signature = servable.signature(signature_name)
        if signature is None:
            raise invalid(f'Serving signature name: "{signature_name}" not found in signature def')
        inputs, as_rows = json_documents.read_inputs(document, signature.inputs)
        outputs = sorted(signature.outputs)
        arrays = servable.run(signature_name, inputs, outputs)
        return json_documents.write_outputs(dict(zip(outputs, arrays, strict=True)), as_rows)


def _status(models: Models, spec: ModelSpec) -> bytes:
    entries = [
        {
            "version": str(version.number),
            "state": version.state,
            "status": {"error_code": version.error_code, "error_message": version.error_message},
        }
        for version in models.status(spec)
    ]
    return orjson.dumps({"model_version_status": entries}, option=orjson.OPT_INDENT_2) + b"\n"


def _metadata(models: Models, spec: ModelSpec) -> bytes:
    json_format = require("google.protobuf.json_format", extra="serving", what="hangtag serve")
    with models.use(spec) as servable:
        found = json_format.MessageToDict(
            signature_map(servable), preserving_proto_field_name=True, always_print_fields_with_no_presence=True
        )
        document = {
            "model_spec": {"name": servable.name, "signature_name": "", "version": str(servable.version)},
            "metadata": {"signature_def": found},
        }
    return orjson.dumps(document, option=orjson.OPT_INDENT_2) + b"\n"
