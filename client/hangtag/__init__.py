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
    from .async_client import AsyncClient
    from .client import Client
    from .config.target import TLS
    from .errors import (
        BadResponse,
        DeadlineExceeded,
        HangtagError,
        InvalidInput,
        MissingExtra,
        ModelNotFound,
        ServerBusy,
        ServerError,
        ServerUnavailable,
        UnknownSignature,
    )
    from .model import ModelMetadata, Signature, TensorSpec, VersionStatus
    from .results import Classification, Prediction

__version__ = "0.1.0"

_HOME = {
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

__all__ = [
    "TLS",
    "AsyncClient",
    "BadResponse",
    "Classification",
    "Client",
    "DeadlineExceeded",
    "HangtagError",
    "InvalidInput",
    "MissingExtra",
    "ModelMetadata",
    "ModelNotFound",
    "Prediction",
    "ServerBusy",
    "ServerError",
    "ServerUnavailable",
    "Signature",
    "TensorSpec",
    "UnknownSignature",
    "VersionStatus",
    "__version__",
]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'hangtag' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
