"""The console script `hangtag`: imports the module of a command, runs it, and prints an error as one line.

Exit codes: 0 done, 1 the work failed, 2 bad usage or bad input.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
import warnings
from collections.abc import Iterable, Sequence
from importlib import import_module
from typing import Any, NamedTuple

from .. import __version__
from ..errors import HangtagError
from ..optional import import_for_commands
from .parser import Parser, suggestion
from .terminal import colour, error_line


class Command(NamedTuple):
    """A command. The function ``register(commands)`` in `module` adds it and its arguments to argparse."""

    group: str
    module: str
    summary: str


_MAKE, _SERVE, _USE = "train and publish", "serve", "use a running server"

COMMANDS = {
    "export": Command(_MAKE, "hangtag_export.cli.export", "train a classifier and publish it as a SavedModel version"),
    "publish": Command(_MAKE, "hangtag_export.cli.publish", "publish a model that is already trained"),
    "evaluate": Command(
        _MAKE, "hangtag_export.cli.evaluate", "measure the accuracy of a running model or a version on disk"
    ),
    "versions": Command(_MAKE, "hangtag_export.cli.versions", "list, prune, promote and roll back published versions"),
    "data": Command(_MAKE, "hangtag_export.cli.data", "locate or download Fashion-MNIST, or save its test images"),
    "inspect": Command(_MAKE, "hangtag.cli.inspect", "show the signatures, class names and model card of a model"),
    "serve": Command(_SERVE, "hangtag_serving.cli", "serve models like TensorFlow Serving, without Docker"),
    "doctor": Command(_SERVE, "hangtag_serving.doctor.command", "find problems in models, config files and servers"),
    "classify": Command(_USE, "hangtag.cli.classify.command", "classify images"),
    "labels": Command(_USE, "hangtag.cli.status", "print the class names of a model, one per line"),
    "status": Command(_USE, "hangtag.cli.status", "show the versions of a model and their states"),
    "wait": Command(_USE, "hangtag.cli.status", "wait until a model is available"),
    "compare": Command(_USE, "hangtag.cli.compare", "compare two versions, labels or servers on the same images"),
    "bench": Command(_USE, "hangtag.cli.bench", "measure the throughput and latency of a running server"),
    "playground": Command(_USE, "hangtag.playground.command", "open a web page to try out a model"),
    "completion": Command("other", "hangtag.cli.completion", "print a completion script for bash or zsh"),
}
"""All commands of the console script, from all three packages. Only the module of the command that runs is imported.
Reading entry points instead would take longer than the rest of `hangtag --help`.
"""

DESCRIPTION = (
    "Train an image classifier, publish it as a SavedModel, serve it with TensorFlow Serving, and classify images."
)

FIRST_STEPS = """Hangtag trains an image classifier, serves it, and classifies your images. The first steps:

  hangtag export                       train on Fashion-MNIST and publish models/fashion/1
  hangtag serve                        serve it, in a second terminal, until Ctrl-C
  hangtag classify shoe.png --top 3    classify an image with the running server

All commands: hangtag --help
"""


class _Hangtag(Parser):
    """The parser of the whole command line; its help shows the commands of the table by group."""

    def format_help(self) -> str:
        width = max(map(len, COMMANDS)) + 2
        lines = ["usage: hangtag [--version] [--debug] COMMAND ...", "", DESCRIPTION]
        for group in dict.fromkeys(command.group for command in COMMANDS.values()):
            lines += ["", f"{group}:"]
            lines += [f"  {name:{width}}{each.summary}" for name, each in COMMANDS.items() if each.group == group]
        lines += [
            "",
            "options:",
            f"  {'--version':{width}}print the version",
            f"  {'--debug':{width}}show the traceback of an error",
            "",
            "Run `hangtag COMMAND --help` for the options of a command and examples.",
            "",
        ]
        return "\n".join(lines)


class _Commands:
    """The argument of a module's `register`: argparse's subparsers, with the summaries of the table."""

    def __init__(self, subparsers: Any) -> None:
        self._subparsers = subparsers

    def add_parser(self, name: str, **options: Any) -> Any:
        """Like argparse's method; `options` are the arguments of `Parser`."""
        return self._subparsers.add_parser(name, **options | {"help": COMMANDS[name].summary})


def build_parser(names: Iterable[str] = tuple(COMMANDS)) -> argparse.ArgumentParser:
    """The parser with the commands `names`, by default all."""
    parser = _Hangtag(prog="hangtag")
    parser.add_argument("--version", action="version", version=f"hangtag {__version__}")
    commands = _Commands(parser.add_subparsers(metavar="COMMAND", parser_class=Parser))
    for module in dict.fromkeys(COMMANDS[name].module for name in names):
        import_module(module).register(commands)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    _check_streams()
    import_for_commands()
    arguments = argparse.Namespace(debug=False)
    try:
        try:
            with warnings.catch_warnings():
                warnings.showwarning = _show_warning  # type: ignore[assignment]
                return _run(list(sys.argv[1:] if argv is None else argv), arguments)
        finally:  # flush now, because an error could not be reported at exit; --help raises SystemExit
            sys.stdout.flush()
    except BrokenPipeError:
        _discard_output()
        return 1  # the reader has closed the pipe, as in `hangtag labels | head -1`
    except (HangtagError, KeyboardInterrupt, OSError, UnicodeEncodeError) as error:
        if arguments.debug:
            raise
        message, code = _explain(error)
        print(colour("hangtag:", "fail", sys.stderr), error_line(message), file=sys.stderr)
        return code


def _run(argv: list[str], arguments: argparse.Namespace) -> int:
    name = next((part for part in argv if not part.startswith("-")), None)
    if name is not None and name not in COMMANDS:
        build_parser([]).error(f"there is no command {name!r}{suggestion(name, COMMANDS)}")
    build_parser([] if name is None else [name]).parse_args(argv, arguments)
    if name is None:
        print(FIRST_STEPS, end="")
        return 0
    code: int = arguments.run(arguments)
    return code


def _explain(error: HangtagError | KeyboardInterrupt | OSError | UnicodeEncodeError) -> tuple[str, int]:
    """The message of an error, and the exit code."""
    if isinstance(error, HangtagError):
        return str(error), error.exit_code
    if isinstance(error, KeyboardInterrupt):
        return "interrupted", 130
    if isinstance(error, UnicodeEncodeError):
        character = error.object[error.start]
        return f"cannot write {character!a} as {error.encoding}: set PYTHONIOENCODING=utf-8", 1
    _discard_output()
    where = "the output" if error.filename is None else error.filename
    return f"cannot read or write {where}: {error.strerror or error}", 1


def _show_warning(message: Warning | str, *_: object) -> None:
    """Print a warning as one line, without the line of code that Python would add."""
    print(colour("hangtag: warning:", "warn", sys.stderr), error_line(str(message)), file=sys.stderr)


def _check_streams() -> None:
    """Require standard output, replace a closed standard error, and write names that are not UTF-8 as their bytes."""
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115, PTH123 - open until the program ends
    if sys.stdout is None:
        print("hangtag: standard output is closed: send it to a file, or to /dev/null", file=sys.stderr)
        raise SystemExit(1)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="surrogateescape")


def _discard_output() -> None:
    """Redirect standard output to the null device, so that buffered text does not cause another error at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
