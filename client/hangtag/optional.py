"""Modules that only an extra brings, imported when needed and without their start-up chatter."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from .errors import MissingExtra

_complete: set[str] = set()  # sys.modules also holds what another thread has only begun to import
_importing = threading.RLock()
_hidden_from_keras: tuple[str, ...] = ()


def hide_notebooks_from_keras() -> None:
    """Let Keras be imported without what it uses only in notebooks and with data frames, from now on.

    These are 2 of the 5 seconds that TensorFlow's import takes where they are installed. For commands: a program that
    imports Hangtag may use Keras with them.
    """
    global _hidden_from_keras
    _hidden_from_keras = ("IPython", "matplotlib", "pandas", "sklearn")


def require(module: str, *, extra: str, what: str) -> Any:
    """Import `module`, or raise MissingExtra saying that `what` needs ``hangtag[extra]``.

    TensorFlow writes about oneDNN and CUDA to file descriptor 2 while it is imported, at any log level; that is
    held back, and shown only if the import fails.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if module in _complete and (found := sys.modules.get(module)) is not None:
        return found
    try:
        # One thread at a time: two that hold standard error back at once would lose it, each saving the other's file.
        hidden = _hidden_from_keras if module in ("tensorflow", "keras") else ()
        with _importing, _stderr_held_back(), _hidden(hidden):
            imported = import_module(module)
        _complete.add(module)
        return imported
    except ModuleNotFoundError as error:
        if error.name and error.name.split(".")[0] == module.split(".")[0]:
            raise MissingExtra(what, extra) from error
        raise


@contextmanager
def _hidden(names: Iterable[str]) -> Iterator[None]:
    """Let the import of these modules fail, unless they are loaded already."""
    hidden = [name for name in names if name not in sys.modules]
    for name in hidden:
        sys.modules[name] = None  # type: ignore[assignment]  # what import takes for "not there"
    try:
        yield
    finally:
        for name in hidden:
            sys.modules.pop(name, None)


@contextmanager
def _stderr_held_back() -> Iterator[None]:
    """Send file descriptor 2 to a temporary file; on an exception, show what was written to it."""
    import tempfile  # only here: it brings half a dozen modules along

    sys.stderr.flush()
    with tempfile.TemporaryFile() as held:
        try:
            original = os.dup(2)
        except OSError:  # started without standard error: nothing to hold back
            yield
            return
        try:
            os.dup2(held.fileno(), 2)
            try:
                yield
            finally:
                sys.stderr.flush()
                os.dup2(original, 2)
        except BaseException:
            held.seek(0)
            os.write(2, held.read())
            raise
        finally:
            os.close(original)
