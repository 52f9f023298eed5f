"""Imports modules that an extra installs, when they are needed and without the messages they print."""

from __future__ import annotations

import gc
import os
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from .errors import MissingExtra

_complete: set[str] = set()  # sys.modules also has modules that another thread is still importing
_importing = threading.RLock()
_hidden_from: dict[str, tuple[str, ...]] = {}


def import_for_commands() -> None:
    """From now on, `require` imports TensorFlow and Keras without the packages that our commands do not need.

    Keras uses the first four only in notebooks and with data frames. TensorFlow imports Keras for optimizers of Keras 2
    in a SavedModel. Where all are installed, they take 2 of the 5 seconds of TensorFlow's import. What was hidden can
    be imported afterwards.

    What TensorFlow's import has made is not searched for garbage later: a search through it takes 0.3 seconds, and a
    command would make several. Only commands call this: other programs may need the hidden packages.
    """
    notebooks = ("IPython", "matplotlib", "pandas", "sklearn")
    _hidden_from.update(keras=notebooks, tensorflow=(*notebooks, "keras"))


def require(module: str, *, extra: str, what: str) -> Any:
    """Import `module`, or raise MissingExtra, which says that `what` needs ``hangtag[extra]``.

    While TensorFlow is imported, it writes about oneDNN and CUDA to file descriptor 2 at any log level. This text is
    captured, and shown only if the import fails.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if module in _complete and (loaded := sys.modules.get(module)) is not None:
        return loaded
    root = module.split(".")[0]
    try:
        # One thread at a time: two threads that redirect standard error would each restore the other's file.
        with _importing, _stderr_captured(), _hidden(_hidden_from.get(root, ())), _without_garbage_collection():
            is_first = root not in sys.modules
            imported = import_module(module)
            if is_first and root in _hidden_from:  # later imports may find models, whose memory is to be freed
                gc.freeze()
        _complete.add(module)
        return imported
    except ModuleNotFoundError as error:
        if error.name and error.name.split(".")[0] == root:
            raise MissingExtra(what, extra) from error
        raise


@contextmanager
def _without_garbage_collection() -> Iterator[None]:
    """An import makes many objects and little garbage: TensorFlow's is a sixth quicker without searching for it."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


@contextmanager
def _hidden(names: Iterable[str]) -> Iterator[None]:
    """Make the import of these modules fail, unless they are already loaded."""
    hidden = [name for name in names if name not in sys.modules]
    for name in hidden:
        sys.modules[name] = None  # type: ignore[assignment]  # None makes the import fail
    try:
        yield
    finally:
        for name in hidden:
            sys.modules.pop(name, None)


@contextmanager
def _stderr_captured() -> Iterator[None]:
    """Redirect file descriptor 2 to a temporary file; after an exception, show what was written to it."""
    import tempfile  # here, because it imports many modules

    sys.stderr.flush()
    with tempfile.TemporaryFile() as captured:
        try:
            original = os.dup(2)
        except OSError:  # the process has no standard error
            yield
            return
        try:
            os.dup2(captured.fileno(), 2)
            try:
                yield
            finally:
                sys.stderr.flush()
                os.dup2(original, 2)
        except BaseException:
            captured.seek(0)
            os.write(2, captured.read())
            raise
        finally:
            os.close(original)
