"""Every error that Hangtag raises, and how a server's status becomes one of them, over gRPC and REST alike.

    HangtagError
    ├── ServerUnavailable   no server answers at the target, or the connection broke
    ├── DeadlineExceeded    the call's time ran out                       (also TimeoutError)
    ├── ModelNotFound       no such model, version or version label is being served
    ├── InvalidInput        the images or arguments cannot be right       (also ValueError)
    ├── UnknownSignature    the model has no signature of that name
    ├── ServerBusy          the server is overloaded; the same call may succeed later
    ├── ServerError         the server failed, or refused for another reason
    ├── BadResponse         the answer is not what TensorFlow Serving sends
    └── MissingExtra        an optional part of Hangtag is not installed  (also ImportError)

The message of an error that comes from the server contains the server's text: on one line, without control characters,
and at most 1,000 characters. The tests run these examples:

    >>> with Client("localhost:8500", model="shoes") as client:
    ...     client.labels()
    Traceback (most recent call last):
    hangtag.errors.ModelNotFound: ...Servable not found for request: Latest(shoes)
"""

from __future__ import annotations

import re


class HangtagError(Exception):
    """Base of all errors.

    >>> try:
    ...     client.predict({"images": images[:1]}, signature="explain")
    ... except HangtagError as error:
    ...     print(error.code)
    FAILED_PRECONDITION

    `code` is the server's status (``"NOT_FOUND"``), or None if the error did not come from a server. `images` are the
    positions of the images in the failed chunk of a larger call, else None.
    """

    exit_code = 1
    """The exit code of the command line: 1 the work failed, 2 bad usage or bad input."""

    retryable = False
    """Whether the same call may succeed later. Sending it again is safe, because a request changes nothing."""

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.images: range | None = None

    def __str__(self) -> str:
        message = super().__str__()
        if self.images is None:
            return message
        return f"{message} (images {self.images.start} to {self.images.stop - 1})"


class ServerUnavailable(HangtagError):
    """No server answers at the target, or the connection broke before the response was complete.

    >>> with Client("localhost:1", retries=0) as client:
    ...     client.status()
    Traceback (most recent call last):
    hangtag.errors.ServerUnavailable: no answer from localhost:1: ...
    """

    retryable = True


class DeadlineExceeded(HangtagError, TimeoutError):
    """The call did not finish within its timeout, which includes retries.

    >>> with Client("localhost:1") as client:
    ...     client.wait_ready(0.1)
    Traceback (most recent call last):
    hangtag.errors.DeadlineExceeded: fashion is not ready after 0.1 s: no answer from localhost:1: ...
    """


class ModelNotFound(HangtagError):
    """The server serves no such model, version or version label.

    >>> with Client("localhost:8500", version=99) as client:
    ...     client.labels()
    Traceback (most recent call last):
    hangtag.errors.ModelNotFound: ...Servable not found for request: Specific(fashion, 99)
    """


class InvalidInput(HangtagError, ValueError):
    """The images or arguments cannot be right; sending them again will not help.

    >>> client.classify(np.zeros((2, 14, 56), np.uint8))
    Traceback (most recent call last):
    hangtag.errors.InvalidInput: images of shape (2, 14, 56): fashion takes [N, 28, 28], or one image [28, 28]
    """

    exit_code = 2


class UnknownSignature(HangtagError):
    """The model has no signature of that name.

    >>> client.predict({"images": images[:1]}, signature="explain")
    Traceback (most recent call last):
    hangtag.errors.UnknownSignature: fashion version 1 has no signature 'explain'; it has classify, encoded_images, ...
    """


class ServerBusy(HangtagError):
    """The server refused the call because of load, not because of its content.

    >>> with Client("busy.example.org:8500", timeout=3) as client:
    ...     client.classify(images[:1])  # raised when the timeout leaves no time to try again
    Traceback (most recent call last):
    hangtag.errors.ServerBusy: ... says RESOURCE_EXHAUSTED: Server Threadpool Exhausted
    """

    retryable = True


class ServerError(HangtagError):
    """The server failed, or refused the call for a reason that has no class of its own.

    >>> with Client("http://localhost:8501/elsewhere", retries=0) as client:
    ...     client.status()
    Traceback (most recent call last):
    hangtag.errors.ServerError: ... answers HTTP 404, which is no TensorFlow Serving answer: ...
    """


class BadResponse(HangtagError):
    """The response is not one of TensorFlow Serving.

    >>> with Client("http://www.example.org") as client:  # a web server of another kind
    ...     client.status()
    Traceback (most recent call last):
    hangtag.errors.BadResponse: the response to /v1/models/fashion cannot be read: ...
    """


class MissingExtra(HangtagError, ImportError):
    """The call needs an optional part of Hangtag that is not installed.

    >>> print(MissingExtra("AsyncClient over REST", "aio"))
    AsyncClient over REST needs more than the base install: pip install 'hangtag[aio]'
    """

    exit_code = 2

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what} needs more than the base install: pip install 'hangtag[{extra}]'")
        self.extra = extra


# ---- from a server's status to an error

CODES = (
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
)
"""The canonical status codes in the order of their numbers, which gRPC and TensorFlow share: ``CODES[5]`` is
``"NOT_FOUND"``. Source: google/rpc/code.proto.
"""

# The error for a server's code. Codes and texts: tensorflow_serving/model_servers/{grpc_status_util,
# http_rest_api_util}.cc, recorded on 2.20.0. The client does not cancel its own calls, so CANCELLED comes from a server
# that is stopping.
_BY_CODE: dict[str, type[HangtagError]] = {
    "CANCELLED": ServerUnavailable,
    "DEADLINE_EXCEEDED": DeadlineExceeded,
    "FAILED_PRECONDITION": ServerError,
    "INVALID_ARGUMENT": InvalidInput,
    "NOT_FOUND": ModelNotFound,
    "OUT_OF_RANGE": InvalidInput,
    "RESOURCE_EXHAUSTED": ServerBusy,
    "UNAVAILABLE": ServerUnavailable,
}

# http_rest_api_util.cc maps several codes to one HTTP status; 400 is INVALID_ARGUMENT unless the text says more.
# 401, 403 and 502 come from a proxy in front of the server.
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

# Texts that are more exact than their code.
_BY_TEXT: tuple[tuple[str, type[HangtagError]], ...] = (
    ("CLIENT: Received message larger than max", BadResponse),  # RESOURCE_EXHAUSTED, by our own limit
    ("Decompressed message larger than max", BadResponse),  # the same; it must be the response, as requests are plain
    ("received metadata size exceeds", BadResponse),  # RESOURCE_EXHAUSTED, by grpc's own limit
    ("Serving signature key", UnknownSignature),  # gRPC, FAILED_PRECONDITION
    ("Serving signature name", UnknownSignature),  # REST, 400
    ("No signature was found with the name", UnknownSignature),
    ("Unrecognized servable version label", ModelNotFound),  # INVALID_ARGUMENT over both protocols
    ("message larger than max", InvalidInput),  # RESOURCE_EXHAUSTED, but not because of load
    ("Sent message larger", InvalidInput),
    ("batch scheduling queue", ServerBusy),  # UNAVAILABLE, but the server runs
)

# Texts of gRPC, sockets and aiohttp with one likely cause, and advice.
_ADVICE = (
    ("Failed parsing HTTP/2", "that port speaks HTTP/1: a target for REST begins with http://"),
    ("onnection refused", "nothing listens there: is the server running, on this port?"),
    ("Connect call failed", "nothing listens there: is the server running, on this port?"),
    ("reset by peer", "if that is a gRPC port, leave out http://"),
    ("Bad status line", "if that is a gRPC port, leave out http://"),
)

# A certificate that is not trusted now will not be trusted in a second.
_UNTRUSTED = ("CERTIFICATE_VERIFY_FAILED", "certificate verify failed", "is not in peer certificate")

_LONGEST_TEXT = 1000  # characters of a server's text in a message
_ESCAPES = re.compile(r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?")  # of ECMA-48: CSI, OSC
_CONTROLS = re.compile("[\0-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]+")
_CUT_ERROR = re.compile(r'\s*\{\s*"error"\s*:\s*"')


def server_text(text: str) -> str:
    r"""`text` of a server, fit for a terminal: on one line, no control characters, at most 1,000 characters.

    >>> server_text("\x1b[31mno\n\tsuch\x07 model")
    'no such model'
    """
    plain = _CONTROLS.sub(
        "", re.sub(r"\s*[\n\r\t\v\f\u2028\u2029]\s*", " ", _ESCAPES.sub("", text[: 8 * _LONGEST_TEXT]))
    )
    line = plain.strip()
    return line if len(line) <= _LONGEST_TEXT else f"{line[:_LONGEST_TEXT]}…"


BROKE_OFF = "the answer broke off"
"""The text of `no_answer` for a response that is not complete."""


def no_answer(where: str, text: str, code: str | None = None) -> ServerUnavailable:
    """The error for a connection that failed; `text` comes from the library or the system call that failed."""
    text = " ".join(server_text(text).split())
    advice = next((f" ({advice})" for part, advice in _ADVICE if part in text), "")
    error = ServerUnavailable(f"no answer from {where}: {text}{advice}", code=code)
    if any(part in text for part in _UNTRUSTED):
        error.retryable = False
    return error


def from_status(code: str, text: str, where: str) -> HangtagError:
    """The error for a gRPC status name and the server's text; `where` is the target, for the reader."""
    text = server_text(text)
    kind = next((kind for part, kind in _BY_TEXT if part in text), _BY_CODE.get(code, ServerError))
    if kind is ServerUnavailable or (code == "INTERNAL" and "Received RST_STREAM" in text):  # a proxy lost its server
        return no_answer(where, text, code)
    return kind(f"{where} says {code}: {text}", code=code)


def from_http(status: int, body: bytes, where: str) -> HangtagError:
    """The error for an HTTP status and its body, of which only the beginning may be there."""
    import json  # here, because most clients never need it

    code, text = _BY_HTTP.get(status, "INTERNAL"), body.decode("utf-8", "replace")
    try:
        return from_status(code, str(json.loads(text)["error"]), where)
    except (ValueError, TypeError, KeyError, RecursionError):
        if cut := _CUT_ERROR.match(text):
            return from_status(code, text[cut.end() :], where)
    # Not TensorFlow Serving's error document: the page of a proxy or of another server.
    kind = _BY_CODE.get(code, ServerError) if status in (429, 502, 503, 504) else ServerError
    shown = " ".join(server_text(text[:200]).split()) or "no text"
    return kind(f"{where} answers HTTP {status}, which is no TensorFlow Serving answer: {shown}", code=code)
