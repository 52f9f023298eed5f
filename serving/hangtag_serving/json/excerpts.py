"""Prints the beginning of a JSON value as the C++ server's errors do, with RapidJSON's PrettyWriter."""

from __future__ import annotations

from contextlib import suppress
from decimal import Decimal
from typing import Any

from .parser import Object

_EXCERPT = 256  # bytes after which an excerpt stops


class _Full(Exception):
    pass


def excerpt(value: Any) -> str:
    """The beginning of a value in RapidJSON's format, with lists on one line.

    It ends after the item that reaches 256 bytes, or before the first NaN or Infinity.

    >>> print(excerpt(Object([(b"a", [1, 2.5])])))
    {
        "a": [1, 2.5]
    }
    """
    out = _Out()
    with suppress(_Full):
        _write(out, value, 0)
    return b"".join(out.parts).decode("utf-8", "replace")


class _Out:
    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.size = 0

    def put(self, text: bytes) -> None:
        self.parts.append(text)
        self.size += len(text)

    def item(self, text: bytes) -> None:
        self.put(text)
        if self.size >= _EXCERPT:
            raise _Full


def _write(out: _Out, value: Any, depth: int) -> None:
    if isinstance(value, Object):
        _write_object(out, value, depth)
    elif isinstance(value, list):
        out.put(b"[")
        for position, item in enumerate(value):
            if position:
                out.put(b", ")
            _write(out, item, depth + 1)
        out.item(b"]")
    elif isinstance(value, bytes):
        out.item(_quoted(value))
    elif isinstance(value, float):
        if value != value or value in (float("inf"), float("-inf")):
            raise _Full
        out.item(_double(value))
    else:
        out.item({None: b"null", True: b"true", False: b"false"}[value] if _is_word(value) else b"%d" % value)


def _is_word(value: Any) -> bool:
    return value is None or isinstance(value, bool)


def _write_object(out: _Out, value: Object, depth: int) -> None:
    out.put(b"{")
    for position, (name, item) in enumerate(value.members):
        out.put((b",\n" if position else b"\n") + b"    " * (depth + 1))
        out.item(_quoted(name))
        out.put(b": ")
        _write(out, item, depth + 1)
    if value.members:
        out.put(b"\n" + b"    " * depth)
    out.item(b"}")


_QUOTED = {
    **{byte: b"\\u%04X" % byte for byte in range(0x20)},
    **{byte: b"\\" + bytes([letter]) for byte, letter in zip(b"\b\f\n\r\t", b"bfnrt", strict=True)},
    ord('"'): b'\\"',
    ord("\\"): b"\\\\",
}


def _quoted(text: bytes) -> bytes:
    return b'"' + b"".join(_QUOTED.get(byte) or bytes((byte,)) for byte in text[: _EXCERPT * 4]) + b'"'


def _double(value: float) -> bytes:
    """A double in RapidJSON's format: the shortest digits, without an exponent between 1e-6 and 1e21."""
    sign, digits, exponent = Decimal(repr(value)).normalize().as_tuple()
    text, point = "".join(map(str, digits)), len(digits) + int(exponent)  # point: the number of digits before it
    if value == 0:
        text = "0.0"
    elif len(text) <= point <= 21:
        text = text + "0" * (point - len(text)) + ".0"
    elif 0 < point <= 21:
        text = f"{text[:point]}.{text[point:]}"
    elif -6 < point <= 0:
        text = "0." + "0" * -point + text
    else:
        text = text[0] + ("." + text[1:] if len(text) > 1 else "") + f"e{point - 1}"
    return ("-" * sign + text).encode()
