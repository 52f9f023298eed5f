"""What the live view needs of a model server's Prometheus text; the names are TensorFlow Serving's own."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from typing import Any

MAX_BYTES = 4_000_000

_SERVING = ":tensorflow:serving:"
_LINE = re.compile(r"(:[\w:]+)\{(.*)\} (\S+)")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


def summarize(text: str, model: str) -> dict[str, Any]:
    """Counters of `model` since the server started.

    `models` are the names of all that answered; `failed` counts requests; `latency` is the histogram of predictions
    in microseconds, cumulative by upper bound; `versions` counts requests by version (`hangtag serve` only).

    >>> summarize(':tensorflow:serving:request_count{model_name="shoes",status="NOT_FOUND"} 3', "shoes")["failed"]
    3.0
    """
    models: set[str] = set()
    sums: defaultdict[str, float] = defaultdict(float)
    buckets: defaultdict[float, float] = defaultdict(float)
    versions: defaultdict[str, float] = defaultdict(float)
    for line in text.splitlines():
        if (found := _LINE.fullmatch(line)) is None:
            continue
        name, labels, value = found[1].removeprefix(_SERVING), dict(_LABEL.findall(found[2])), _number(found[3])
        failed = name == "request_count" and labels.get("status") != "OK"
        if not failed and "model_name" in labels:  # a name with errors only is one that a caller made up
            models.add(labels["model_name"])
        if labels.get("model_name") != model:
            continue
        if failed:
            sums["failed"] += value
        elif name == ":hangtag:serving:request_count":
            versions[labels.get("version", "")] += value
        elif name == "request_latency_bucket" and labels.get("API", "").lower() == "predict":
            buckets[_number(labels.get("le", ""))] += value
        elif name == "request_latency_count" and labels.get("API", "").lower() == "predict":
            sums["count"] += value
    bounds = sorted((bound, value) for bound, value in buckets.items() if bound < math.inf)
    latency = {"count": sums["count"], "buckets": bounds}
    return {"models": sorted(models), "failed": sums["failed"], "latency": latency, "versions": dict(versions)}


def _number(text: str) -> float:
    try:
        return float(text) if text != "NaN" else 0.0
    except ValueError:
        return 0.0
