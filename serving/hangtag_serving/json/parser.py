"""Parses JSON like the C++ server, with its error texts.

The C++ server uses RapidJSON 1.1.0 and allows bare NaN and Infinity. Its errors name offsets (here) and repeat excerpts
of the request (`excerpts`). Text after the document is ignored, strings are unchecked bytes, and the first of two equal
keys counts. `hangtag_serving.fast` reads large ordinary requests, so this module is written for correctness, with
limits for depth and memory.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, NoReturn

from ..errors import invalid
from ..limits import Budget
from .numbers import NumberError, read_number

MAX_DEPTH = 254
"""The limit for nested lists and objects, which is TensorFlow's limit for the rank of a tensor. The C++ server has no
limit: a document of some 100,000 brackets crashes it."""

_SKIP = re.compile(rb"[ \n\r\t]*")
_PLAIN = re.compile(rb'[^"\\\x00-\x1f]*')
# Many numbers, each followed by a comma, which are read at once because a large request consists of them. They have at
# most 15 digits, which Python reads exactly like RapidJSON. The repetition is bounded, because it needs stack for each;
# it is not possessive, because Python before 3.11.5 matches those wrongly.
_NUMBERS = re.compile(
    rb"(?:-?(?:[1-9][0-9]{0,14}|0|(?:0|[1-9][0-9]{0,3})\.[0-9]{1,11})[ \n\r\t]*,[ \n\r\t]*){1,500}(?=[-0-9])"
)
# Memory of an item of a list, of a member of an object, and of a list or object, without the text of strings.
_ITEM_BYTES, _MEMBER_BYTES, _CONTAINER_BYTES = 40, 120, 100
_ESCAPES = {
    ord(b'"'): b'"',
    ord(b"/"): b"/",
    ord(b"\\"): b"\\",
    ord(b"b"): b"\b",
    ord(b"f"): b"\f",
    ord(b"n"): b"\n",
    ord(b"r"): b"\r",
    ord(b"t"): b"\t",
}
_HEX = re.compile(rb"[0-9a-fA-F]{4}")
_END = 0  # RapidJSON's streams return this after the last byte, so a NUL ends the text too


class Object:
    """The members of a JSON object in their order, including duplicates."""

    __slots__ = ("members",)

    def __init__(self, members: Iterable[tuple[bytes, Any]] = ()) -> None:
        self.members = list(members)

    def find(self, key: bytes) -> Any:
        """The value of the first member of that name, or `MISSING`."""
        return next((value for name, value in self.members if name == key), MISSING)


MISSING = object()


def parse(body: bytes, max_depth: int = MAX_DEPTH, budget: Budget | None = None) -> Any:
    """The first JSON value in `body`: None, bool, int, float, bytes (a string), list or Object.

    Raises ServingError if it is not JSON, nested too deeply, or needs more memory than `budget` has.
    """
    if not body:
        raise invalid("JSON Parse error: The document is empty")
    return _Reader(body, max_depth, budget or Budget()).document()


class _Reader:
    def __init__(self, body: bytes, max_depth: int, budget: Budget) -> None:
        self._text, self._budget = body, budget
        self._at = 3 if body.startswith(b"\xef\xbb\xbf") else 0
        self._depth_left = max_depth

    def document(self) -> Any:
        self._skip()
        if self._peek() in b"\0]},:":  # the C++ server treats these as an empty document
            self._fail("The document is empty.")
        return self._value()

    # ---- the stream

    def _peek(self) -> int:
        return self._text[self._at] if self._at < len(self._text) else _END

    def _skip(self) -> None:
        self._at = _SKIP.match(self._text, self._at).end()  # type: ignore[union-attr] # it also matches an empty text

    def _consume(self, expected: bytes) -> bool:
        """Read the expected bytes; stop at the first that differs, and return False."""
        for byte in expected:
            if self._peek() != byte:
                return False
            self._at += 1
        return True

    def _fail(self, text: str, at: int | None = None) -> NoReturn:
        raise invalid(f"JSON Parse error: {text} at offset: {self._at if at is None else at}")

    # ---- values

    def _value(self) -> Any:
        byte = self._peek()
        if byte == ord("{"):
            return self._nested(self._object)
        if byte == ord("["):
            return self._nested(self._array)
        if byte == ord('"'):
            return self._string()
        for word, value in ((b"null", None), (b"true", True), (b"false", False)):
            if byte == word[0]:
                if not self._consume(word):
                    self._fail("Invalid value.")
                return value
        return self._number()

    def _nested(self, read: Any) -> Any:
        if not self._depth_left:
            self._fail("The document is nested too deeply.")
        self._depth_left -= 1
        self._budget.take(_CONTAINER_BYTES)
        self._at += 1
        self._skip()
        value = read()
        self._depth_left += 1
        return value

    def _object(self) -> Object:
        result = Object()
        if self._consume(b"}"):
            return result
        while True:
            if self._peek() != ord('"'):
                self._fail("Missing a name for object member.")
            name = self._string()
            self._skip()
            if not self._consume(b":"):
                self._fail("Missing a colon after a name of object member.")
            self._skip()
            self._budget.take(_MEMBER_BYTES + len(name))
            result.members.append((name, self._value()))
            self._skip()
            if self._consume(b"}"):
                return result
            if not self._consume(b","):
                self._fail("Missing a comma or '}' after an object member.")
            self._skip()

    def _array(self) -> list[Any]:
        items: list[Any] = []
        if self._consume(b"]"):
            return items
        while True:
            if run := _NUMBERS.match(self._text, self._at):
                numbers = [float(n) if b"." in n else int(n) for n in run.group().split(b",")[:-1]]
                self._budget.take(len(numbers) * _ITEM_BYTES)
                items += numbers
                self._at = run.end()
            self._budget.take(_ITEM_BYTES)
            items.append(self._value())
            self._skip()
            if self._consume(b"]"):
                return items
            if not self._consume(b","):
                self._fail("Missing a comma or ']' after an array element.")
            self._skip()

    def _number(self) -> int | float:
        try:
            number, self._at = read_number(self._text, self._at)
        except NumberError as error:
            self._fail(error.text, error.offset)
        return number

    # ---- strings

    def _string(self) -> bytes:
        self._at += 1
        string = bytearray()
        while True:
            plain = _PLAIN.match(self._text, self._at)
            assert plain is not None  # noqa: S101 - it also matches an empty text
            string += plain.group()
            self._at = plain.end()
            byte = self._peek()
            if byte == ord('"'):
                self._at += 1
                self._budget.take(len(string))
                return bytes(string)
            if byte == ord("\\"):
                string += self._escape()
            elif byte == _END:
                self._fail("Missing a closing quotation mark in string.")
            else:
                self._fail("Invalid escape character in string.")

    def _escape(self) -> bytes:
        start = self._at
        self._at += 1
        kind = self._peek()
        if kind in _ESCAPES:
            self._at += 1
            return _ESCAPES[kind]
        if kind != ord("u"):
            self._fail("Invalid escape character in string.", start)
        code = self._hex4(start)
        if 0xD800 <= code <= 0xDBFF:
            if not self._consume(b"\\") or self._peek() != ord("u"):
                self._fail("The surrogate pair in string is invalid.", start)
            low = self._hex4(start)
            if not 0xDC00 <= low <= 0xDFFF:
                self._fail("The surrogate pair in string is invalid.", start)
            code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00)
        return chr(code).encode("utf-8", "surrogatepass")

    def _hex4(self, start: int) -> int:
        self._at += 1
        digits = _HEX.match(self._text, self._at)
        if digits is None:
            self._fail("Incorrect hex digit after \\u escape in string.", start)
        self._at = digits.end()
        return int(digits.group(), 16)
