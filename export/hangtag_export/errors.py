"""What can go wrong on the way to a published version."""

from __future__ import annotations

from hangtag.errors import HangtagError


class DataError(HangtagError):
    """The data set is missing, damaged or unusable."""

    exit_code = 2


class ConfigError(HangtagError):
    """A model config file is missing, cannot be parsed, or is not one TensorFlow Serving would accept."""

    exit_code = 2


class ExportError(HangtagError):
    """A version could not be written, checked or published; nothing was."""


class GateNotMet(ExportError):
    """The model is not good enough to be published; it is kept aside."""


class PromotionError(HangtagError):
    """The server did not make a version available, so no label was moved."""
