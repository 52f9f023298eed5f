"""A figure of a benchmark: a ratio to a baseline that was measured in the same run, once a round.

A script prints each figure as it is measured. With HANGTAG_FIGURES=FILE it also appends it to FILE as a line of JSON:
`benchmarks/report.py` collects them from there.
"""

from __future__ import annotations

import json
import os
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Figure:
    """`ratios`: one a round. `speed`: whether they are ratios of speed, where more is better, or of cost."""

    key: str  # a name that stays, "client.encode": README and tests refer to it
    what: str
    baseline: str
    ratios: tuple[float, ...]
    speed: bool
    command: str  # prints this figure again
    absolute: str = ""  # what was measured, with its unit: for orientation, it depends on the machine

    @property
    def group(self) -> str:
        """The section of the report that the figure belongs to."""
        return self.key.split(".")[0]

    @property
    def median(self) -> float:
        """The ratio that is quoted."""
        return statistics.median(self.ratios)


def record(
    key: str,
    what: str,
    baseline: str,
    ratios: Sequence[float],
    *,
    command: str,
    speed: bool = False,
    absolute: str = "",
) -> Figure:
    """Print a figure, and hand it to the report if one is being made."""
    figure = Figure(key, what, baseline, tuple(round(ratio, 4) for ratio in ratios), speed, command, absolute)
    spread = f"{min(ratios):.3g} to {max(ratios):.3g}" if len(ratios) > 1 else ""
    sign = "x the speed of" if speed else "x the cost of"
    print(f"{what:<58}{figure.median:>8.3g} {sign} {baseline}  {spread}  {absolute}", flush=True)
    if file := os.environ.get("HANGTAG_FIGURES"):
        with Path(file).open("a") as lines:
            lines.write(json.dumps(asdict(figure)) + "\n")
    return figure


def load(lines: str) -> list[Figure]:
    """Figures from lines of JSON."""
    return [
        Figure(**{**json.loads(line), "ratios": tuple(json.loads(line)["ratios"])})
        for line in lines.splitlines()
        if line.strip()
    ]
