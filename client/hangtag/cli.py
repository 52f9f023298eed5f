"""The console script: finds the rooms' commands by entry point and turns errors into one line and an exit code.

Exit codes: 0 done, 1 the work failed, 2 bad usage or bad input.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib.metadata import entry_points

from . import __version__
from .errors import HangtagError


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
    arguments = build_parser().parse_args(argv)
    try:
        code: int = arguments.run(arguments)
        sys.stdout.flush()
        return code
    except HangtagError as error:
        if arguments.debug:
            raise
        print(f"hangtag: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        if arguments.debug:
            raise
        print("hangtag: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader went away (`hangtag labels | head -1`). What is still buffered must not fail again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


if __name__ == "__main__":
    raise SystemExit(main())
