"""Reads a JSON number like RapidJSON 1.1.0, because the C++ server's answers and error texts show its results.

They differ from Python's: a double may be off in its last digit, 1.8e308 is Infinity, and 1e309 is an error.
Source: rapidjson/reader.h (ParseNumber) and internal/strtod.h (StrtodNormalPrecision).
"""

from __future__ import annotations

import math
import re

_DIGITS = re.compile(rb"[0-9]*")
_TOO_BIG = "Number too big to be stored in double."
_MAX_BEFORE_DIGIT = 1.7976931348623157e307  # a whole number of this size or more may have no further digit
_MAX_EXPONENT = 308
_MAX_SIGNIFICAND = 0x1FFFFF_FFFFFFFF  # a double can represent every integer up to this
_MAX_SIGNIFICANT_DIGITS = 17


class NumberError(Exception):
    """The text is not a number: RapidJSON's error text and offset."""

    def __init__(self, text: str, offset: int) -> None:
        super().__init__(text)
        self.text, self.offset = text, offset


def read_number(text: bytes, start: int) -> tuple[int | float, int]:
    """The number that begins at `start`, and the offset after it; raises NumberError."""
    at = start + text.startswith(b"-", start)
    negative = at > start
    if text[at : at + 1] in (b"I", b"N"):
        return _not_finite(text, at, negative)
    end = _after_digits(text, at)
    if end == at:
        raise NumberError("Invalid value.", at)
    if text[at] == ord("0"):
        end = at + 1
    digits, fraction, exponent, exponent_sign, at = text[at:end], b"", b"", b"", end
    if text.startswith(b".", at):
        end = _after_digits(text, at + 1)
        if end == at + 1:
            raise NumberError("Miss fraction part in number.", end)
        fraction, at = text[at + 1 : end], end
    if text[at : at + 1] in (b"e", b"E"):
        at += 1
        if text[at : at + 1] in (b"+", b"-"):
            exponent_sign, at = text[at : at + 1], at + 1
        end = _after_digits(text, at)
        if end == at:
            raise NumberError("Miss exponent in number.", end)
        exponent, at = text[at:end], end
    if not fraction and not exponent and len(digits) <= 20:
        whole = -int(digits) if negative else int(digits)
        if -(2**63) <= whole < 2**64:
            return whole, at
    value, scale, significant = _whole(digits, start)
    if fraction:
        value, scale = _with_fraction(value, significant, fraction)
    power = _exponent(exponent, exponent_sign == b"-", _MAX_EXPONENT - scale, start)
    value = _scaled(value, power + scale)
    return -value if negative else value, at


def _after_digits(text: bytes, at: int) -> int:
    return _DIGITS.match(text, at).end()  # type: ignore[union-attr] # it also matches an empty text


def _not_finite(text: bytes, at: int, negative: bool) -> tuple[float, int]:
    if text.startswith(b"N", at):
        return math.nan, _after(text, at, b"NaN")
    at = _after(text, at, b"Inf")
    if text.startswith(b"i", at):
        at = _after(text, at, b"inity")
    return (-math.inf if negative else math.inf), at


def _after(text: bytes, at: int, expected: bytes) -> int:
    """The offset after `expected`; RapidJSON stops at the first byte that differs."""
    for position, byte in enumerate(expected, at):
        if text[position : position + 1] != bytes((byte,)):
            raise NumberError("Invalid value.", position)
    return at + len(expected)


def _whole(digits: bytes, start: int) -> tuple[int | float, int, int]:
    """The value of the digits before the point, its power of ten, and the number of significant digits."""
    if len(digits) <= 19 or (len(digits) == 20 and int(digits) < 2**64):
        return int(digits), 0, len(digits) - 1
    head = 20 if int(digits[:20]) < 2**64 else 19
    value = float(int(digits[:head]))
    for digit in digits[head:]:
        if value >= _MAX_BEFORE_DIGIT:
            raise NumberError(_TOO_BIG, start)
        value = value * 10 + (digit - ord("0"))
    return value, 0, _MAX_SIGNIFICANT_DIGITS


def _with_fraction(value: int | float, significant: int, fraction: bytes) -> tuple[float, int]:
    """The number without its point, and the power of ten that restores the point. Excess digits are dropped."""
    used = 0
    if value == 0:
        used = len(fraction) - len(fraction.lstrip(b"0"))
    while used < len(fraction):
        if isinstance(value, int) and value > _MAX_SIGNIFICAND:
            value = float(value)
        if isinstance(value, float) and significant >= _MAX_SIGNIFICANT_DIGITS:
            break
        value = value * 10 + (fraction[used] - ord("0"))
        used, significant = used + 1, significant + 1
    return float(value), -used


def _exponent(digits: bytes, negative: bool, most: int, start: int) -> int:
    digits = digits.lstrip(b"0")[:10]
    value = int(digits or b"0")
    if negative:
        return -value
    if value > most and len(digits) > 1:
        raise NumberError(_TOO_BIG, start)
    return value


def _scaled(value: float, power: int) -> float:
    if power < -_MAX_EXPONENT:
        value, power = value / float(f"1e{_MAX_EXPONENT}"), power + _MAX_EXPONENT
    if power < -_MAX_EXPONENT:
        return 0.0
    return value / float(f"1e{-power}") if power < 0 else float(value) * float(f"1e{power}")
