"""From a server's status to an exception: the one place that knows what each code and text means.

Codes and texts: tensorflow_serving/model_servers/{grpc_status_util,http_rest_api_util}.cc, recorded on 2.20.0.
"""

from __future__ import annotations

from ..errors import (
    DeadlineExceeded,
    HangtagError,
    InvalidInput,
    ModelNotFound,
    ServerBusy,
    ServerError,
    ServerUnavailable,
    UnknownSignature,
)
from ..protocol.rest_codec import parse

_BY_CODE: dict[str, type[HangtagError]] = {
    "DEADLINE_EXCEEDED": DeadlineExceeded,
    "FAILED_PRECONDITION": ServerError,
    "INVALID_ARGUMENT": InvalidInput,
    "NOT_FOUND": ModelNotFound,
    "OUT_OF_RANGE": InvalidInput,
    "RESOURCE_EXHAUSTED": ServerBusy,
    "UNAVAILABLE": ServerUnavailable,
}

# http_rest_api_util.cc folds several codes into one HTTP status; 400 is INVALID_ARGUMENT unless the text says more.
# 401, 403 and 502 come from what stands before the server.
_BY_HTTP = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ABORTED",
    413: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    501: "UNIMPLEMENTED",
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}

# Texts that say more than their code does.
_BY_TEXT: tuple[tuple[str, type[HangtagError]], ...] = (
    ("Serving signature key", UnknownSignature),  # gRPC, FAILED_PRECONDITION
    ("Serving signature name", UnknownSignature),  # REST, 400
    ("No signature was found with the name", UnknownSignature),
    ("Unrecognized servable version label", ModelNotFound),  # INVALID_ARGUMENT on both doors
    ("message larger than max", InvalidInput),  # RESOURCE_EXHAUSTED, though no load is meant
    ("Sent message larger", InvalidInput),
    ("batch scheduling queue", ServerBusy),  # UNAVAILABLE, though the server is there
)

# Words of gRPC, sockets and aiohttp that have one likely cause, and what to do about it.
_ADVICE = (
    ("Failed parsing HTTP/2", "that port speaks HTTP/1: a target for REST begins with http://"),
    ("onnection refused", "nothing listens there: is the server running, on this port?"),
    ("Connect call failed", "nothing listens there: is the server running, on this port?"),
    ("reset by peer", "if that is a gRPC port, leave out http://"),
    ("Bad status line", "if that is a gRPC port, leave out http://"),
)


def no_answer(where: str, words: str, code: str | None = None) -> ServerUnavailable:
    """The error for a connection that did not come about, or broke; `words` are those of whoever tried."""
    words = " ".join(words.split())  # aiohttp's come in several lines
    advice = next((f" ({advice})" for text, advice in _ADVICE if text in words), "")
    return ServerUnavailable(f"no answer from {where}: {words}{advice}", code=code)


def from_status(code: str, words: str, where: str) -> HangtagError:
    """The error for a gRPC status name and the server's words; `where` is the target, for the reader."""
    kind = next((kind for text, kind in _BY_TEXT if text in words), _BY_CODE.get(code, ServerError))
    if kind is ServerUnavailable:
        return no_answer(where, words, code)
    return kind(f"{where} says {code}: {words}", code=code)


def from_http(status: int, body: bytes, where: str) -> HangtagError:
    """The error for an HTTP status and its body."""
    code = _BY_HTTP.get(status, "INTERNAL")
    try:
        words = str(parse(body)["error"])
    except (ValueError, TypeError, KeyError, RecursionError):
        # Not TensorFlow Serving's own error document: a proxy's page, or no TensorFlow Serving at all.
        words = " ".join(body[:200].decode("utf-8", "replace").split()) or "no text"
        kind = _BY_CODE.get(code, ServerError) if status in (429, 502, 503, 504) else ServerError
        return kind(f"{where} answers HTTP {status}, which is no TensorFlow Serving answer: {words}", code=code)
    return from_status(code, words, where)
