"""A JSON value as the C++ server's errors repeat it: the beginning, as RapidJSON's PrettyWriter prints it."""

from __future__ import annotations

import struct
from contextlib import suppress
from typing import Any

from .parser import Object

_EXCERPT = 256  # bytes after which an excerpt stops


class _Full(Exception):
    pass


def excerpt(value: Any) -> str:
    """The beginning of a value as RapidJSON's PrettyWriter prints it, lists on one line.

    It stops after the item that passes 256 bytes, and before the first NaN or Infinity inside a list or an object.

    >>> print(excerpt(Object([(b"a", [1, 2.5])])))
    {
        "a": [1, 2.5]
    }
    """
    if isinstance(value, float):
        return single(value)
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
        if self.size > _EXCERPT:
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
    for position, (name, item) in enumerate(value):
        out.put((b",\n" if position else b"\n") + b"    " * (depth + 1))
        out.item(_quoted(name))
        out.put(b": ")
        _write(out, item, depth + 1)
    if value:
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
    """As RapidJSON writes doubles: shortest digits, plain between 1e-6 and 1e21."""
    if value == 0:
        return b"-0.0" if str(value).startswith("-") else b"0.0"
    digits, _, exponent = f"{value!r}".partition("e")
    if not exponent:  # Python, too, writes these in full
        return digits.encode()
    if 1e16 <= abs(value) < 1e21:
        return b"%d.0" % int(value)
    if 1e-6 <= abs(value) < 1e-4:
        sign, digits = ("-", digits[1:]) if value < 0 else ("", digits)
        return f"{sign}0.{'0' * (-int(exponent) - 1)}{digits.replace('.', '')}".encode()
    return f"{digits.removesuffix('.0')}e{int(exponent)}".encode()


def single(value: float) -> str:
    """A number that stands alone in a message, printed as a float32 if it fits one: absl's %g, else nine digits."""
    if value != value:
        return "NaN"
    if value in (float("inf"), float("-inf")):
        return "Infinity" if value > 0 else "-Infinity"
    try:
        stored = struct.unpack("<f", struct.pack("<f", value))[0]
        text, long = f"{stored:g}", f"{stored:.9g}"
        exact = struct.unpack("<f", struct.pack("<f", float(text)))[0] == stored
    except OverflowError:
        text, long = f"{value:g}", f"{value:.17g}"
        exact = float(text) == value
    text = text if exact else long
    return text if "." in text or "e" in text else text + ".0"
