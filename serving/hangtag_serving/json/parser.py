"""JSON as the C++ server's parser reads and prints it, for requests that are wrong or unusual.

The C++ server uses RapidJSON 1.1.0 with bare NaN and Infinity allowed. What its users see of that is the error texts
with their offsets (here) and excerpts of their own request (`excerpts`). Text after the document is ignored,
strings are bytes that nobody has checked, and of two equal keys the first counts. Well-formed requests do not come
this way (see `json_fast`), so this is written to be right, and bounded in depth, rather than to be fast.
"""

from __future__ import annotations

import re
from typing import Any

from ..errors import invalid

MAX_DEPTH = 254
"""Lists and objects inside each other: TensorFlow's limit on the rank of a tensor. The C++ server has none, and a
document of some 100,000 brackets ends it."""

_SKIP = re.compile(rb"[ \n\r\t]*")
_PLAIN = re.compile(rb'[^"\\\x00-\x1f]*')
_DIGITS = re.compile(rb"[0-9]*")
# Many numbers in a row, each followed by a comma: taken at once, since they are nearly all of a large request.
_NUMBERS = re.compile(rb"(?:-?(?:0|[1-9][0-9]{0,17})(?:\.[0-9]{1,30})?[ \n\r\t]*,[ \n\r\t]*)+(?=[-0-9])")
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
_END = 0  # what RapidJSON's streams give after the last byte; a NUL in the text ends it too


class Object(list[tuple[bytes, Any]]):
    """The members of a JSON object in their order, duplicates and all."""

    def find(self, key: bytes) -> Any:
        """The value of the first member of that name, or `MISSING`."""
        return next((value for name, value in self if name == key), MISSING)


class _Missing:
    def __repr__(self) -> str:
        return "MISSING"


MISSING = _Missing()


def parse(body: bytes, max_depth: int = MAX_DEPTH) -> Any:
    """The first JSON value in `body`: None, bool, int, float, bytes (a string), list or Object."""
    if not body:
        raise invalid("JSON Parse error: The document is empty")
    return _Reader(body, max_depth).document()


class _Reader:
    def __init__(self, body: bytes, max_depth: int) -> None:
        self._text = body
        self._at = 3 if body.startswith(b"\xef\xbb\xbf") else 0
        self._depth_left = max_depth

    def document(self) -> Any:
        self._skip()
        if self._peek() == _END:
            self._fail("The document is empty.")
        return self._value()

    # ---- the stream

    def _peek(self) -> int:
        return self._text[self._at] if self._at < len(self._text) else _END

    def _skip(self) -> None:
        self._at = _SKIP.match(self._text, self._at).end()  # type: ignore[union-attr] # it matches nothing, too

    def _consume(self, expected: bytes) -> bool:
        """Take the bytes one by one as long as they are the expected ones."""
        for byte in expected:
            if self._peek() != byte:
                return False
            self._at += 1
        return True

    def _fail(self, words: str, at: int | None = None) -> None:
        raise invalid(f"JSON Parse error: {words} at offset: {self._at if at is None else at}")

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
        self._at += 1
        self._skip()
        value = read()
        self._depth_left += 1
        return value

    def _object(self) -> Object:
        members = Object()
        if self._consume(b"}"):
            return members
        while True:
            if self._peek() != ord('"'):
                self._fail("Missing a name for object member.")
            name = self._string()
            self._skip()
            if not self._consume(b":"):
                self._fail("Missing a colon after a name of object member.")
            self._skip()
            members.append((name, self._value()))
            self._skip()
            if self._consume(b"}"):
                return members
            if not self._consume(b","):
                self._fail("Missing a comma or '}' after an object member.")
            self._skip()

    def _array(self) -> list[Any]:
        items: list[Any] = []
        if self._consume(b"]"):
            return items
        while True:
            if run := _NUMBERS.match(self._text, self._at):
                items += [float(n) if b"." in n else int(n) for n in run.group().split(b",")[:-1]]
                self._at = run.end()
            items.append(self._value())
            self._skip()
            if self._consume(b"]"):
                return items
            if not self._consume(b","):
                self._fail("Missing a comma or ']' after an array element.")
            self._skip()

    # ---- numbers

    def _number(self) -> int | float:
        start = self._at
        negative = self._consume(b"-")
        if self._peek() in b"IN":
            return self._not_finite(negative)
        if self._consume(b"0"):
            pass
        elif ord("1") <= self._peek() <= ord("9"):
            self._digits()
        else:
            self._fail("Invalid value.")
        whole = True
        if self._consume(b"."):
            whole = False
            if not self._digits():
                self._fail("Miss fraction part in number.")
        if self._peek() in b"eE":
            whole = False
            self._at += 1
            if self._peek() in b"+-":
                self._at += 1
            if not self._digits():
                self._fail("Miss exponent in number.")
        text = self._text[start : self._at]
        # Python limits how many digits int() may read; so long a number is a double anyway.
        if whole and len(text) <= 21 and -(2**63) <= int(text) < 2**64:
            return int(text)
        number = float(text)
        if number in (float("inf"), float("-inf")):
            self._fail("Number too big to be stored in double.", start)
        return number

    def _digits(self) -> bool:
        """Take digits; False if there is none."""
        begin = self._at
        self._at = _DIGITS.match(self._text, begin).end()  # type: ignore[union-attr] # it matches nothing, too
        return self._at > begin

    def _not_finite(self, negative: bool) -> float:
        if self._peek() == ord("N"):
            if not self._consume(b"NaN"):
                self._fail("Invalid value.")
            return float("nan")
        if not self._consume(b"Inf") or (self._peek() == ord("i") and not self._consume(b"inity")):
            self._fail("Invalid value.")
        return float("-inf") if negative else float("inf")

    # ---- strings

    def _string(self) -> bytes:
        self._at += 1
        pieces = []
        while True:
            plain = _PLAIN.match(self._text, self._at)
            assert plain is not None  # noqa: S101 - it matches nothing, too
            pieces.append(plain.group())
            self._at = plain.end()
            byte = self._peek()
            if byte == ord('"'):
                self._at += 1
                return b"".join(pieces)
            if byte == ord("\\"):
                pieces.append(self._escape())
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
            raise AssertionError("_fail raises")
        self._at = digits.end()
        return int(digits.group(), 16)
