"""An encoded request with the function that decodes its response. Codecs make it, transports send it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

from ..errors import BadResponse, server_text

T = TypeVar("T")

MAX_RESPONSE = 1 << 28
"""The limit in bytes of a response whose size the signature does not tell: open dimensions or strings."""

MAX_DESCRIPTION = 1 << 22
"""The limit in bytes of metadata and of a status, and of everything in a response except the numbers of its outputs."""

# What the decoders raise for malformed bytes. WireError and JSON's own errors are ValueErrors; json raises
# RecursionError for deeply nested brackets.
_UNREADABLE = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError, MemoryError)


class Request(NamedTuple, Generic[T]):
    """HTTP's `method` and `path` (for gRPC the full method name), the body, and how its response is read.

    `read` turns the body of the response into a value. A body of more than `limit` bytes is refused unread.
    """

    method: str
    path: str
    body: bytes | bytearray
    read: Callable[[bytes], T]
    limit: int

    def decode(self, body: bytes) -> T:
        """The value in the body of a response; raises BadResponse if it cannot be read."""
        if len(body) > self.limit:
            raise too_large(self.path, self.limit)
        try:
            return self.read(body)
        except _UNREADABLE as error:
            reason = f"it has no {error}" if isinstance(error, KeyError) else error or type(error).__name__
            raise BadResponse(f"the response to {self.path} cannot be read: {server_text(str(reason))}") from error


def too_large(path: str, limit: int) -> BadResponse:
    """The error for a response of more than `limit` bytes."""
    return BadResponse(f"the response to {path} is larger than the {limit:,} bytes that the request can require")
