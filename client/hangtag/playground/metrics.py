"""Reads the metrics for the live view from a model server's Prometheus text, with TensorFlow Serving's names."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from typing import Any

MAX_BYTES = 4_000_000

_LINE = re.compile(r"(?::tensorflow:serving:)?([\w:]+)\{(.*)\} ([\d.e+]+)(?:\n|$)")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


def summarize(text: str, model: str) -> dict[str, Any]:
    """The counters of `model` since the server started.

    `models` has the names of all models that answered; `failed` counts failed requests; `latency` is the histogram of
    predictions in microseconds, cumulative by upper bound; `versions` counts requests by version, for `hangtag serve`.

    >>> summarize(':tensorflow:serving:request_count{model_name="shoes",status="NOT_FOUND"} 3', "shoes")["failed"]
    3.0
    """
    models: set[str] = set()
    sums, buckets, versions = (defaultdict[Any, float](float) for _ in range(3))
    for name, text_of_labels, value in _LINE.findall(text):
        labels = dict(_LABEL.findall(text_of_labels))
        failed = name == "request_count" and labels.get("status") != "OK"
        if not failed and "model_name" in labels:  # callers may invent names, but these only have errors
            models.add(labels["model_name"])
        if labels.get("model_name") != model:
            continue
        if name == "request_latency_bucket" and labels["API"].lower() == "predict":
            buckets[float(labels["le"])] += float(value)
        elif name == ":hangtag:serving:request_count":
            versions[labels["version"]] += float(value)
        elif failed or (name == "request_latency_count" and labels["API"].lower() == "predict"):
            sums["failed" if failed else "count"] += float(value)
    bounds = sorted((bound, value) for bound, value in buckets.items() if bound < math.inf)
    latency = {"count": sums["count"], "buckets": bounds}
    return {"models": sorted(models), "failed": sums["failed"], "latency": latency, "versions": dict(versions)}
