"""The errors of training and publishing."""

from __future__ import annotations

from hangtag.errors import HangtagError


class DataError(HangtagError):
    """The data set is missing, damaged or unusable."""

    exit_code = 2


class ConfigError(HangtagError):
    """A model config file is missing, cannot be parsed, or would be refused by TensorFlow Serving."""

    exit_code = 2


class ExportError(HangtagError):
    """A version could not be written, checked or published. Nothing was published."""


class GateNotMet(ExportError):
    """The model is not good enough to be published. It is saved outside of the versions."""


class PromotionError(HangtagError):
    """The server did not make a version available, so no label was moved."""
