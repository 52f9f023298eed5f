"""argparse with examples in its help, and with one-line errors that suggest the nearest name."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

_CHOICE = re.compile(r"(?:argument (?P<name>.*): )?invalid choice: '?(?P<given>.*?)'? \(choose from (?P<known>.*)\)")
_WIDTH = 80


class Parser(argparse.ArgumentParser):
    """A parser with `examples`, which are commands shown below the help.

    Flags cannot be abbreviated, because new flags could change the meaning of an abbreviation.
    """

    def __init__(self, *args: Any, examples: Sequence[str] = (), **kwargs: Any) -> None:
        import textwrap

        kwargs["allow_abbrev"] = False
        kwargs.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        if kwargs.get("description"):
            kwargs["description"] = textwrap.fill(kwargs["description"], _WIDTH)
        if examples:
            kwargs["epilog"] = "\n  ".join(["examples:", *examples])
        super().__init__(*args, **kwargs)
        self.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Like argparse's method, but an unknown argument is an error of this parser, with a suggestion."""
        argv: list[str] = list(sys.argv[1:] if args is None else args)
        for place in reversed(range(1, len(argv))):
            if argv[place] == "-1..1" and argv[place - 1].startswith("--"):  # a value that looks like a flag
                argv[place - 1 : place + 1] = [f"{argv[place - 1]}=-1..1"]
        found, unknown = super().parse_known_args(argv, namespace)
        if unknown:
            flag = next((part.partition("=")[0] for part in unknown if part.startswith("-")), None)
            if flag is None:
                self.error(f"unexpected argument {unknown[0]!r}")
            self.error(f"unknown flag {flag}" + suggestion(flag, re.findall(r"--[\w-]+", self.format_usage())))
        return found, unknown

    def error(self, message: str) -> NoReturn:
        """Print one line and exit with code 2."""
        choice = _CHOICE.fullmatch(message)
        if choice is not None:
            known = re.findall(r"[^\s',]+", choice["known"])
            message = f"{choice['name']}: {choice['given']!r} is not one of {', '.join(known)}"
            message += suggestion(choice["given"], known)
        if "did you mean" not in message:
            message += f" ({self.prog} --help explains the arguments)"
        from .terminal import colour, error_line

        self.exit(2, f"{colour(f'{self.prog}:', 'fail', sys.stderr)} {error_line(message)}\n")


def suggestion(given: str, known: Iterable[str]) -> str:
    """The nearest of the `known` names, as the end of an error.

    >>> suggestion("--taget", ["--target", "--model"])
    ': did you mean --target?'
    >>> suggestion("x", ["--target"])
    ''
    """
    import difflib

    near = difflib.get_close_matches(given, sorted(known), n=1, cutoff=0.65)
    return f": did you mean {near[0]}?" if near else ""
