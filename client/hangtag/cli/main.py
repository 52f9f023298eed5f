"""The console script: finds the rooms' commands by entry point and turns errors into one line and an exit code.

Exit codes: 0 done, 1 the work failed, 2 bad usage or bad input.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Sequence
from importlib.metadata import entry_points
from pathlib import Path

from .. import __version__
from ..errors import HangtagError


class _Parser(argparse.ArgumentParser):
    """argparse, with no guessing of abbreviated flags: a later flag would change what an abbreviation means."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        kwargs["allow_abbrev"] = False
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]


def build_parser() -> argparse.ArgumentParser:
    """All commands of all rooms."""
    parser = _Parser(prog="hangtag", description="Labelled images to class names in production, on TensorFlow Serving.")
    parser.add_argument("--version", action="version", version=f"hangtag {__version__}")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for entry in sorted(entry_points(group="hangtag.commands"), key=lambda entry: entry.name):
        entry.load()(commands)
    for command in commands.choices.values():
        command.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    _check_streams()
    arguments = argparse.Namespace(debug=False)
    try:
        try:
            build_parser().parse_args(argv, arguments)
            code: int = arguments.run(arguments)
        finally:  # here a failure can still be told, at exit it cannot; --help comes by as SystemExit
            sys.stdout.flush()
        return code
    except BrokenPipeError:
        _forget_output()
        return 1  # the reader went away (`hangtag labels | head -1`), and knows it
    except (HangtagError, KeyboardInterrupt, OSError, UnicodeEncodeError) as error:
        if arguments.debug:
            raise
        words, code = _explained(error)
        print("hangtag:", " ".join(line.strip() for line in words.splitlines()), file=sys.stderr)
        return code


def _explained(error: HangtagError | KeyboardInterrupt | OSError | UnicodeEncodeError) -> tuple[str, int]:
    """What to say of an error, and the exit code."""
    if isinstance(error, HangtagError):
        return str(error), error.exit_code
    if isinstance(error, KeyboardInterrupt):
        return "interrupted", 130
    if isinstance(error, UnicodeEncodeError):
        character = error.object[error.start]
        return f"cannot write {character!a} as {error.encoding}: set PYTHONIOENCODING=utf-8", 1
    _forget_output()
    where = "the output" if error.filename is None else error.filename
    return f"cannot read or write {where}: {error.strerror or error}", 1


def _check_streams() -> None:
    """Have standard error and output, and names of files that are no UTF-8 written as they are."""
    if sys.stderr is None:
        sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115 - for as long as the program runs
    if sys.stdout is None:
        print("hangtag: standard output is closed: send it to a file, or to /dev/null", file=sys.stderr)
        raise SystemExit(1)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="surrogateescape")


def _forget_output() -> None:
    """What is still buffered must not fail again at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
