"""Counts how often this process was forked, so that a request needs no system call to find out."""

from __future__ import annotations

import os

generation = 0
"""A forked child has its parent's number plus one; a transport works only in the generation that made it."""


def _forked() -> None:
    global generation
    generation += 1


if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
    os.register_at_fork(after_in_child=_forked)
