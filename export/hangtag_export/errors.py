"""What can go wrong on the way to a published version."""

from __future__ import annotations

from hangtag.errors import HangtagError


class DataError(HangtagError):
    """The data set is missing, damaged or unusable."""

    exit_code = 2


class ExportError(HangtagError):
    """A version could not be written, checked or published; nothing was."""
