"""Counters and histograms with TensorFlow Serving's names, in Prometheus's text format.

Names, labels and buckets: tensorflow_serving/servables/tensorflow/util.cc and util/prometheus_exporter.cc. The names
begin with a colon, and counters do not end in ``_total``, which prometheus_client would append: a dashboard for the C++
server must work here. As there, metrics without a value are not shown. Our own metrics begin with ``:hangtag:``.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence

LATENCY_BUCKETS = tuple(10 * 1.8**n for n in range(33))  # microseconds, up to 20 minutes
SIZE_BUCKETS = tuple(float(2**n) for n in range(15))


class Counter:
    """A metric that only increases, with one number for each combination of label values."""

    def __init__(self, name: str, help_text: str, labels: Sequence[str]) -> None:
        self.name, self.help_text, self.labels = name, help_text, tuple(labels)
        self._cells: dict[tuple[str, ...], float] = {}
        self._lock = threading.Lock()

    def add(self, *values: str, by: float = 1) -> None:
        """Add `by` for these label values."""
        with self._lock:
            self._cells[values] = self._cells.get(values, 0) + by

    def lines(self) -> list[str]:
        """The metric's text, empty if it was never touched."""
        with self._lock:
            cells = sorted(self._cells.items())
        if not cells:
            return []
        head = [f"# HELP {self.name} {self.help_text}", f"# TYPE {self.name} counter"]
        return head + [f"{self.name}{_labels(self.labels, values)} {_number(count)}" for values, count in cells]


class Histogram:
    """How many values are in each bucket, and their sum."""

    def __init__(self, name: str, help_text: str, labels: Sequence[str], bounds: Sequence[float]) -> None:
        self.name, self.help_text, self.labels, self._bounds = name, help_text, tuple(labels), tuple(bounds)
        self._cells: dict[tuple[str, ...], tuple[list[int], list[float]]] = {}
        self._lock = threading.Lock()

    def observe(self, value: float, *values: str, times: int = 1) -> None:
        """Count `value` `times` times for these label values."""
        bucket = bisect_left(self._bounds, value)
        with self._lock:
            cell = self._cells.get(values)
            if cell is None:
                cell = self._cells[values] = ([0] * (len(self._bounds) + 1), [0.0])
            cell[0][bucket] += times
            cell[1][0] += value * times

    def lines(self) -> list[str]:
        """The metric's text, empty if it was never touched."""
        with self._lock:
            cells = sorted((values, counts.copy(), total[0]) for values, (counts, total) in self._cells.items())
        if not cells:
            return []
        lines = [f"# HELP {self.name} {self.help_text}", f"# TYPE {self.name} histogram"]
        for values, counts, total in cells:
            running = 0
            for bound, count in zip((*self._bounds, float("inf")), counts, strict=True):
                running += count
                edge = "+Inf" if bound == float("inf") else f"{bound:g}"
                lines.append(f"{self.name}_bucket{_labels((*self.labels, 'le'), (*values, edge))} {running}")
            lines.append(f"{self.name}_sum{_labels(self.labels, values)} {_number(total)}")
            lines.append(f"{self.name}_count{_labels(self.labels, values)} {running}")
        return lines


class Gauge:
    """A current value: `read` returns it for each value of the one label."""

    def __init__(self, name: str, help_text: str, label: str) -> None:
        self.name, self.help_text, self.label = name, help_text, label
        self.read: Callable[[], Mapping[str, float]] = dict

    def lines(self) -> list[str]:
        """The metric's text, empty if there is nothing to report."""
        cells = sorted(self.read().items())
        if not cells:
            return []
        head = [f"# HELP {self.name} {self.help_text}", f"# TYPE {self.name} gauge"]
        return head + [f"{self.name}{_labels([self.label], [value])} {_number(number)}" for value, number in cells]


class Metrics:
    """All metrics of one server."""

    def __init__(self) -> None:
        serving = ":tensorflow:serving:"
        self.request_count = Counter(
            serving + "request_count", "The total number of requests.", ["model_name", "status"]
        )
        self.request_latency = Histogram(
            serving + "request_latency",
            "Distribution of wall time (in microseconds) of requests that succeeded.",
            ["model_name", "API", "entrypoint"],
            LATENCY_BUCKETS,
        )
        self.runtime_latency = Histogram(
            serving + "runtime_latency",
            "Distribution of wall time (in microseconds) of the TensorFlow runtime.",
            ["model_name", "API", "runtime"],
            LATENCY_BUCKETS,
        )
        self.warmup_latency = Histogram(
            serving + "model_warmup_latency",
            "Wall time (in microseconds) of a version's warmup.",
            ["model_path", "status"],
            LATENCY_BUCKETS,
        )
        self.warmup_records = Counter(
            serving + "model_warmup_records_read", "Warmup requests that were read.", ["model_path"]
        )
        self.load_attempts = Counter(
            ":tensorflow:cc:saved_model:load_attempt_count", "Tries to load a version.", ["model_path", "status"]
        )
        self.load_latency = Counter(
            ":tensorflow:cc:saved_model:load_latency", "Time (in microseconds) spent loading.", ["model_path"]
        )
        self.queuing_latency = Histogram(
            serving + "batching_session:queuing_latency",
            "Wall time (in microseconds) that a request waited for its batch.",
            ["thread_pool_name"],
            LATENCY_BUCKETS,
        )
        self.wrapped_runs = Counter(serving + "batching_session:wrapped_run_count", "Batches that ran.", [])
        self.input_batch_size = Histogram(
            serving + "batching_session:input_batch_size", "Rows of a request that was batched.", [], SIZE_BUCKETS
        )
        self.processed_batch_size = Histogram(
            serving + "batching_session:processed_batch_size",
            "Rows that ran as one batch, padding included.",
            [],
            SIZE_BUCKETS,
        )
        self.padding_size = Histogram(
            serving + "batching_session:padding_size",
            "Rows added to a batch to reach an allowed size.",
            ["execution_batch_size"],
            SIZE_BUCKETS,
        )
        self.batching_queue_rows = Gauge(
            ":hangtag:serving:batching_queue_rows", "Rows that wait for their batch to run.", "model_name"
        )
        self.version_requests = Counter(
            ":hangtag:serving:request_count",
            "Requests by the version that answered.",
            ["model_name", "version", "signature"],
        )
        self.coalesced_rows = Histogram(
            ":hangtag:serving:burst_rows", "Rows of calls that arrived together and ran as one.", [], SIZE_BUCKETS
        )
        self.fast_requests = Counter(
            ":hangtag:serving:fast_request_count", "Predict requests answered by a fast path.", ["entrypoint"]
        )
        self.json_parses = Counter(
            ":hangtag:serving:large_json_parse_count",
            "Large REST bodies, by the process that parsed their numbers: a worker, or the server itself.",
            ["by"],
        )

    def text(self) -> bytes:
        """The text of all metrics that have values."""
        lines = [line for metric in vars(self).values() for line in metric.lines()]
        return ("\n".join(lines) + "\n").encode()


def _labels(names: Sequence[str], values: Sequence[str]) -> str:
    if not names:
        return ""
    pairs = ",".join(f'{name}="{_escaped(value)}"' for name, value in zip(names, values, strict=True))
    return f"{{{pairs}}}"


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)
