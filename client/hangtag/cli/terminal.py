"""Output on a terminal: colours, safe text, progress bars, and the closing line of a command."""

from __future__ import annotations

import os
import re
import sys
from typing import Any, TextIO

_COLOURS = {"ok": "32", "warn": "33", "fail": "31", "bold": "1"}
"""ANSI codes (ECMA-48, "select graphic rendition")."""

# Characters that end a line, control a terminal, reorder text, or cannot be encoded. Surrogates from U+DC80 to U+DCFF
# stay: each stands for a byte of a file name that is not UTF-8, and is written as that byte.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udc7f\udd00-\udfff]")

_LONGEST = 1000  # characters of an error


def one_line(text: str) -> str:
    r"""`text` on one line, with unsafe characters as Python's escape sequences.

    >>> print(one_line("a\nb\x1b[2J"))
    a\nb\x1b[2J
    """
    return _UNSAFE.sub(lambda match: repr(match[0])[1:-1], text)


def error_line(text: str) -> str:
    r"""`text` as one line of at most about 1,000 characters.

    >>> error_line("first\r\n  second\x07")
    'first second\\x07'
    """
    line = one_line(" ".join(part.strip() for part in text.splitlines()))
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST // 2]} … {line[-_LONGEST // 2 :]}"


def colour(text: str, kind: str, stream: TextIO | None = None) -> str:
    """`text` in the colour of "ok", "warn", "fail" or "bold", if `stream` (standard output) is a terminal.

    The environment variable NO_COLOR (https://no-color.org) turns colours off.

    >>> colour("ok", "ok")
    'ok'
    """
    return f"\x1b[{_COLOURS[kind]}m{text}\x1b[0m" if _shows_colours(stream or sys.stdout) else text


def _shows_colours(stream: TextIO) -> bool:
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def done(text: str, *, next_step: str = "") -> None:
    """Print what a command has done, and what to do next, to standard error if that is a terminal.

    So standard output has only data, and scripts get no advice.
    """
    if sys.stderr.isatty():
        advice = f"; next: {colour(next_step, 'bold', sys.stderr)}" if next_step else ""
        print(one_line(text) + advice, file=sys.stderr)


def counted(number: int, noun: str) -> str:
    """A number with its noun.

    >>> counted(1, "image"), counted(10000, "image")
    ('1 image', '10,000 images')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


class Progress:
    """A progress bar, if standard error is a terminal, tqdm is installed, and there is more than one image."""

    def __init__(self, total: int, done: int = 0) -> None:
        self._bar: Any = None
        if total > 1 and sys.stderr.isatty():
            try:
                from tqdm import tqdm
            except ImportError:
                return
            self._bar = tqdm(total=total, initial=done, unit=" images", unit_scale=True, leave=False)

    def __enter__(self) -> Progress:
        return self

    def advance(self, images: int) -> None:
        """Count `images` more."""
        if self._bar is not None:
            self._bar.update(images)

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()
