"""A griffe extension: examples in docstrings become code blocks. Markdown would read `[0]` in them as a link."""

from __future__ import annotations

import re
from typing import Any

import griffe

# An example: lines from the first prompt to the next blank line.
EXAMPLE = re.compile(r"(?m)^(?: *>>> .*\n?)(?:[^\n]+\n?)*")


class DocstringExamples(griffe.Extension):
    """Fences every example."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rewrite one docstring, before it is parsed."""
        if obj.docstring is not None:
            obj.docstring.value = EXAMPLE.sub(
                lambda found: f"```pycon\n{found[0].rstrip()}\n```\n", obj.docstring.value
            )
