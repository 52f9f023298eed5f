"""One request, encoded, with the function that decodes its response: what codecs make and transports send."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

from ..errors import BadResponse, server_text

T = TypeVar("T")

MAX_RESPONSE = 1 << 28
"""Bytes of a response whose size the request does not tell: outputs of open dimensions, and strings."""

MAX_DESCRIPTION = 1 << 22
"""Bytes of metadata or of a status; also what any other response may have beside the numbers of its outputs."""

# What malformed bytes raise on their way through the decoders. WireError and JSON's own errors are ValueErrors;
# RecursionError is json's, of a document of ten thousand brackets.
_UNREADABLE = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError, MemoryError)


class Request(NamedTuple, Generic[T]):
    """`method` and `path` are HTTP's; for gRPC the path is the full method name. `limit` is in bytes.

    `read` turns the body of the response into a value. A body of more than `limit` bytes is refused unread.
    """

    method: str
    path: str
    body: bytes | bytearray
    read: Callable[[bytes], T]
    limit: int

    def decode(self, body: bytes) -> T:
        """The value in the body of a response. Any error in it becomes BadResponse."""
        if len(body) > self.limit:
            raise too_large(self.path, self.limit)
        try:
            return self.read(body)
        except _UNREADABLE as error:
            reason = f"it has no {error}" if isinstance(error, KeyError) else error or type(error).__name__
            raise BadResponse(f"the answer to {self.path} cannot be read: {server_text(str(reason))}") from error


def too_large(path: str, limit: int) -> BadResponse:
    """The error for a response of more than `limit` bytes."""
    return BadResponse(f"the answer to {path} is larger than the {limit:,} bytes that the request can require")
