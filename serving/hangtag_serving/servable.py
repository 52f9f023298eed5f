"""One loaded version of a model, run through a TensorFlow Session as TensorFlow Serving does."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hangtag import dtypes
from hangtag.codes import CODES
from hangtag.extras import require

from .errors import ServingError, invalid

_MISSING = (
    "Specified file path does not appear to contain a SavedModel bundle (should have a file called "
    "`saved_model.pb`)\nSpecified file path: {}"
)


class Servable:
    """Loads the SavedModel in `folder`; raises ServingError if it does not load.

    `signatures` are the SignatureDef messages by name.
    """

    def __init__(self, name: str, version: int, folder: Path) -> None:
        self.name, self.version = name, version
        self._running, self._closing = 0, False
        self._idle = threading.Condition()
        self._callables: dict[tuple[str, tuple[str, ...]], Callable[..., list[np.ndarray]]] = {}
        tf = require("tensorflow", extra="serving", what="hangtag serve")
        self._op_error: type[Exception] = tf.errors.OpError
        if not folder.is_dir():
            reserving = (
                f"Error while attempting to reserve resources to load servable {{name: {name} version: {version}}}"
            )
            raise ServingError("FAILED_PRECONDITION", f"{reserving}: {folder}; Not a directory")
        if not (folder / "saved_model.pb").is_file():
            raise ServingError("NOT_FOUND", _MISSING.format(folder))
        self._session = tf.compat.v1.Session(graph=tf.Graph())
        try:
            loader = tf.compat.v1.saved_model.loader
            meta_graph = loader.load(self._session, [tf.saved_model.SERVING], str(folder))
        except tf.errors.OpError as error:
            self._session.close()
            raise ServingError(CODES[error.error_code], error.message) from error
        except Exception as error:  # garbage in saved_model.pb comes out as any of several parsers' errors
            self._session.close()
            raise ServingError("DATA_LOSS", f"cannot load {folder}: {error}") from error
        self.signatures: dict[str, Any] = dict(meta_graph.signature_def)

    def signature(self, name: str) -> Any:
        """The SignatureDef of that name, or None; an empty name is ``serving_default``."""
        return self.signatures.get(name or "serving_default")

    def run(self, signature_name: str, inputs: Mapping[str, np.ndarray], outputs: Sequence[str]) -> list[np.ndarray]:
        """The named outputs of a signature. The caller has checked the names; dtypes and shapes are checked here."""
        signature = self.signature(signature_name)
        aliases = sorted(signature.inputs)
        for position, alias in enumerate(aliases):
            wanted, given = signature.inputs[alias].dtype, dtypes.of_array(inputs[alias]).number
            if wanted != given:
                raise invalid(f"Expects arg[{position}] to be {_short(wanted)} but {_short(given)} is provided")
        call = self._callable(signature_name, signature, aliases, tuple(outputs))
        try:
            return call(*(inputs[alias] for alias in aliases))
        except self._op_error as error:
            code, message = CODES[error.error_code], error.message  # type: ignore[attr-defined]
            raise ServingError(code, message) from error
        except ValueError as error:  # TensorFlow's Python side refuses a shape before the graph sees it
            raise invalid(str(error)) from error

    def _callable(
        self, name: str, signature: Any, aliases: Sequence[str], outputs: tuple[str, ...]
    ) -> Callable[..., list[np.ndarray]]:
        """A prepared call: a tenth of the cost of Session.run for a small model."""
        key = (name or "serving_default", outputs)
        found = self._callables.get(key)
        if found is None:
            fetches = [signature.outputs[alias].name for alias in outputs]
            feeds = [signature.inputs[alias].name for alias in aliases]
            with self._session.graph.as_default():
                found = self._callables[key] = self._session.make_callable(fetches, feeds)
        return found

    # ---- use and retirement

    def acquire(self) -> bool:
        """Keep this version loaded until `release`; False if it is being unloaded."""
        with self._idle:
            if self._closing:
                return False
            self._running += 1
            return True

    def release(self) -> None:
        """The opposite of `acquire`."""
        with self._idle:
            self._running -= 1
            if not self._running:
                self._idle.notify_all()

    def close(self) -> None:
        """Wait for the requests that use this version, then free it."""
        with self._idle:
            self._closing = True
            self._idle.wait_for(lambda: self._running == 0)
        self._callables.clear()
        self._session.close()


def _short(number: int) -> str:
    """TensorFlow's name of a dtype in messages: ``float``, ``uint8``."""
    return dtypes.name_of(number).removeprefix("DT_").lower()
