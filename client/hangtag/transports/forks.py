"""How often this process is a fork of another, kept without a system call for each request."""

from __future__ import annotations

import os

generation = 0
"""Greater by one in a forked child; a transport must not be used in another generation than it was made in."""


def _forked() -> None:
    global generation
    generation += 1


if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
    os.register_at_fork(after_in_child=_forked)
