"""Types of command-line arguments, and arguments that several commands share.

A type returns the value of an argument, or raises ArgumentTypeError.
"""

from __future__ import annotations

import logging
import math
import shlex
import warnings
from argparse import ArgumentTypeError, Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from hangtag.errors import InvalidInput

NONE = "none"
"""Given instead of a file or a server: there is none. Omitting the argument does not say so."""

_Number = TypeVar("_Number", int, float)


def _number(kind: Callable[[str], _Number], holds: Callable[[_Number], bool], what: str) -> Callable[[str], _Number]:
    def parse(text: str) -> _Number:
        try:
            number = kind(text)
        except ValueError:
            number = None
        if number is None or not holds(number):
            raise ArgumentTypeError(f"{text!r} is not {what}")
        return number

    return parse


positive = _number(int, lambda number: number >= 1, "a whole number, 1 or more")
seed = _number(int, lambda number: 0 <= number < 2**32, "a whole number from 0 to 2**32 - 1")
above_zero = _number(float, lambda number: 0 < number < math.inf, "a number more than 0")
part = _number(float, lambda number: 0 <= number < 1, "a number from 0 to less than 1")
accuracy = _number(float, lambda number: 0 <= number <= 1, "a number from 0 to 1: 0.9 means 90 %")


def units(text: str) -> tuple[int, ...]:
    """Whole numbers, separated by commas."""
    return tuple(positive(each) for each in text.split(","))


def size(text: str) -> tuple[int, int]:
    """Height and width, ``32x24``, or one number for both."""
    height, _, width = text.lower().partition("x")
    return positive(height), positive(width or height)


def label(text: str) -> str:
    """A version label: one line of text, which clients can name."""
    if not text or not text.isprintable():
        raise ArgumentTypeError(f"{text!r} is not a label: give one line of text, like stable")
    return text


def path(text: str) -> Path:
    """A path. An empty text, for example from an unset shell variable, would mean the current folder."""
    if not text:
        raise ArgumentTypeError("'' is not a path: it is empty")
    return Path(text)


def model_name(text: str) -> str:
    """A model name, which must be valid as the name of a folder and in a URL."""
    if not text.strip() or text in (".", "..") or "/" in text or not text.isprintable():
        raise ArgumentTypeError(f"{text!r} is not a model name: it must be one that a folder can have")
    return text


def keras_file(text: str) -> Path:
    """A file that Keras can save to."""
    path = Path(text)
    if path.suffix not in (".keras", ".h5"):
        raise ArgumentTypeError(f"{text} must end in .keras or .h5")
    return path


def add_gates(group: Any) -> None:
    """Add the conditions for publishing, and the arguments that override them."""
    group.add_argument(
        "--min-accuracy",
        type=accuracy,
        metavar="X",
        help="publish only if the test accuracy, from 0 to 1, is at least X",
    )
    group.add_argument(
        "--no-worse-than-current",
        action="store_true",
        help="publish only if the model is at least as accurate on the test images as the newest version",
    )
    group.add_argument(
        "--force",
        action="store_true",
        help="publish even if the model predicts one class for nearly all test images or is no better than chance",
    )
    group.add_argument(
        "--replace",
        action="store_true",
        help="publish even if the newest version has other classes or another image shape",
    )


def add_import(group: Any) -> None:
    """Add --import."""
    group.add_argument(
        "--import",
        dest="imports",
        action="append",
        default=[],
        metavar="MODULE",
        help="import this Python module first, which registers custom layers; may be repeated",
    )


def add_output(group: Any, *, name: str) -> None:
    """Add --model-name, whose default is `name`, --base-path, --keep and --config."""
    group.add_argument("--model-name", type=model_name, metavar="NAME", help=f"name of the model (default: {name})")
    group.add_argument(
        "--base-path", type=path, metavar="DIR", help="folder that holds the versions (default models/NAME)"
    )
    group.add_argument(
        "--keep", type=positive, metavar="N", help="after publishing, remove all but the N newest versions"
    )
    group.add_argument(
        "--config",
        type=path,
        metavar="FILE",
        help=f"model config file whose versions --keep must not remove; `{NONE}` if there is none",
    )


def check_keep(arguments: Namespace) -> None:
    """Raise InvalidInput for --config without --keep, which would have no effect."""
    if arguments.config is not None and arguments.keep is None:
        raise InvalidInput("--config is for --keep N: without it no version is removed")


def gates_and_keep(arguments: Namespace) -> dict[str, Any]:
    """The arguments of `add_gates`, --keep and --config as keyword arguments."""
    names = ("min_accuracy", "no_worse_than_current", "force", "replace", "keep")
    config = None if arguments.keep is None else config_for_keep(arguments.config)
    return {name: getattr(arguments, name) for name in names} | {"config": config}


def config_for_keep(config: Path | None) -> Path | None:
    """The model config file whose versions --keep does not remove; warns if none is given."""
    if config is None:
        warnings.warn(
            "--keep without --config FILE: versions that a label or a policy needs may be removed "
            f"(--config {NONE} says that there is no config file)",
            stacklevel=2,
        )
    return None if config == Path(NONE) else config


def silence_tensorflow() -> None:
    """Hide warnings that do not help the user.

    Keras recommends .keras for every .h5 file, and TensorFlow warns that the Session API is deprecated, although
    TensorFlow Serving uses it to load models.
    """
    logging.getLogger("absl").setLevel(logging.ERROR)
    logging.getLogger("tensorflow").setLevel(logging.ERROR)


def serve_command(base_path: Path, model_name: str) -> str:
    """The command that serves what was published."""
    return f"hangtag serve --model_name={shlex.quote(model_name)} --model_base_path={shlex.quote(str(base_path))}"
