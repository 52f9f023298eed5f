"""Hangtag: images in, class names out, from a model behind TensorFlow Serving.

>>> from hangtag import Client
>>> with Client("localhost:8500", model="fashion") as client:
...     result = client.classify(images)                           # uint8 [N, 28, 28]
>>> result[0].label, result.scores.shape, result.probabilities.shape
('Ankle boot', (10000,), (10000, 10))

Importing this package loads only this module. Each public name is imported on first use, so `hangtag --help` does not
import numpy, and a program that only reads images does not import gRPC.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .async_client import AsyncClient as AsyncClient
    from .client import Client as Client
    from .config.target import TLS as TLS
    from .errors import BadResponse as BadResponse
    from .errors import DeadlineExceeded as DeadlineExceeded
    from .errors import HangtagError as HangtagError
    from .errors import InvalidInput as InvalidInput
    from .errors import MissingExtra as MissingExtra
    from .errors import ModelNotFound as ModelNotFound
    from .errors import ServerBusy as ServerBusy
    from .errors import ServerError as ServerError
    from .errors import ServerUnavailable as ServerUnavailable
    from .errors import UnknownSignature as UnknownSignature
    from .model import ModelMetadata as ModelMetadata
    from .model import Signature as Signature
    from .model import TensorSpec as TensorSpec
    from .model import VersionStatus as VersionStatus
    from .results import Classification as Classification
    from .results import Prediction as Prediction

__version__ = "0.1.0"

_MODULES = {
    "TLS": "config.target",
    "AsyncClient": "async_client",
    "BadResponse": "errors",
    "Classification": "results",
    "Client": "client",
    "DeadlineExceeded": "errors",
    "HangtagError": "errors",
    "InvalidInput": "errors",
    "MissingExtra": "errors",
    "ModelMetadata": "model",
    "ModelNotFound": "errors",
    "Prediction": "results",
    "ServerBusy": "errors",
    "ServerError": "errors",
    "ServerUnavailable": "errors",
    "Signature": "model",
    "TensorSpec": "model",
    "UnknownSignature": "errors",
    "VersionStatus": "model",
}
"""Each public name, with the module that defines it."""

__all__ = sorted([*_MODULES, "__version__"])


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module 'hangtag' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f".{_MODULES[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
