"""--enable_batching: which requests share a batch, and which fail."""

from __future__ import annotations

import re
import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import requests

from hangtag import Client
from hangtag_serving.batching.parameters import BatchingOptions
from hangtag_serving.batching.scheduler import BatchScheduler
from hangtag_serving.errors import ServingError
from hangtag_serving.metrics import Metrics
from support import Server, eventually, serving

MODELS = Path(__file__).parents[1] / "conformance" / "models"


@pytest.fixture(scope="module")
def batching(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Two models of the same weights: `fashion` brings parameters of its own, `plain` none, so it is not batched.

    With the flag for that, the file that all share counts for the threads alone: its limit of one row would show.
    """
    folder = tmp_path_factory.mktemp("batching")
    shutil.copytree(MODELS / "fashion" / "3", folder / "fashion" / "3")
    (folder / "fashion" / "3" / "batching_params.pbtxt").write_text(
        "max_batch_size { value: 9 } batch_timeout_micros { value: 50000 } max_enqueued_batches { value: 100 } "
        "enable_large_batch_splitting { value: true } max_execution_batch_size { value: 4 } "
        "allowed_batch_sizes: 2 allowed_batch_sizes: 4 allowed_batch_sizes: 9"
    )
    (folder / "parameters").write_text("max_batch_size { value: 1 } num_batch_threads { value: 1 }")
    (folder / "monitoring").write_text("prometheus_config { enable: true }")
    listed = {"fashion": folder / "fashion", "plain": MODELS / "fashion"}.items()
    entries = "".join(f"config {{ name: '{n}' base_path: '{p}' model_platform: 'tensorflow' }}" for n, p in listed)
    (folder / "models").write_text(f"model_config_list {{ {entries} }}")
    flags = [
        "--enable_batching",
        "--enable_per_model_batching_parameters",
        f"--batching_parameters_file={folder / 'parameters'}",
        f"--model_config_file={folder / 'models'}",
        f"--monitoring_config_file={folder / 'monitoring'}",
    ]
    with serving(folder, folder / "log", *flags) as server:
        yield server


@pytest.mark.parametrize("protocol", ["grpc", "rest"])
def test_batched_answers_are_the_usual_ones(batching, protocol):
    """Rows of many clients, run together and padded, come back to their owners; so do those of a split request."""
    images = np.random.default_rng(0).integers(0, 256, (24, 28, 28), dtype=np.uint8)
    with (
        Client(batching.target(protocol)) as together,
        Client(batching.target(protocol), model="plain") as alone,
        ThreadPoolExecutor(8) as pool,
    ):
        expected = alone.predict({"images": images})["probabilities"]  # 24 rows at once: no limit where none is batched
        one_by_one = pool.map(lambda n: together.predict({"images": images[n : n + 1]})["probabilities"], range(24))
        assert np.allclose(np.concatenate(list(one_by_one)), expected, atol=1e-6)
        assert np.allclose(together.predict({"images": images[:9]})["probabilities"], expected[:9], atol=1e-6)


def test_a_request_larger_than_its_limit_is_refused(batching):
    answer = requests.post(
        f"{batching.rest}/v1/models/fashion:predict",
        json={"instances": np.zeros((10, 28, 28), int).tolist()},
        timeout=60,
    )
    assert answer.status_code == 400
    assert answer.json() == {"error": "Task size 10 is larger than maximum input batch size 9"}


def test_metrics_count_batches(batching):
    """A request of nine rows is read as nine, and runs as four, four, and one padded to two; nothing waits any more."""

    def figures() -> dict[str, float]:
        text = requests.get(f"{batching.rest}/monitoring/prometheus/metrics", timeout=60).text
        lines = (line.rsplit(" ", 1) for line in text.splitlines() if "batching" in line and line[0] != "#")
        return {name.removeprefix(":tensorflow:serving:batching_session:"): float(value) for name, value in lines}

    with Client(batching.grpc) as client:
        client.predict({"images": np.zeros((1, 28, 28), np.uint8)})
        before = figures()
        client.predict({"images": np.zeros((9, 28, 28), np.uint8)})
    after = figures()
    grown = {name: after[name] - before[name] for name in before if after[name] > before[name]}
    assert (
        grown.items()
        >= {
            "wrapped_run_count": 3,
            "input_batch_size_sum": 9,
            "processed_batch_size_sum": 10,
            'padding_size_sum{execution_batch_size="2"}': 1,
            'queuing_latency_count{thread_pool_name=""}': 3,
        }.items()
    )
    assert after['processed_batch_size_bucket{le="4"}'] == after["processed_batch_size_count"]
    assert after[':hangtag:serving:batching_queue_rows{model_name="fashion"}'] == 0
    assert not any("plain" in name for name in after)


def gate_and_scheduler(**options):
    """A scheduler of one thread whose runs wait at a gate, so that queues can be seen to fill."""
    gate, entered, seen = threading.Event(), threading.Event(), []

    def run(inputs):
        entered.set()
        gate.wait(30)
        seen.append(inputs["x"].shape)
        if (inputs["x"] == 13).any():
            raise ServingError("INVALID_ARGUMENT", "unlucky")
        return [inputs["x"] * 2]

    metrics = Metrics()
    scheduler = BatchScheduler(1, metrics)

    def call(value, shape=(1, 2)):
        x = np.full(shape, value, np.float32)
        return scheduler.run("fashion", "queue", BatchingOptions(**options), run, {"x": x})

    return gate, entered, seen, call, metrics


def waiting(metrics: Metrics) -> int:
    """The length of the queue, from the metrics."""
    found = re.search(
        r'^:hangtag:serving:batching_queue_rows{model_name="fashion"} (\d+)$', metrics.text().decode(), re.M
    )
    return int(found[1]) if found else 0


def test_a_full_queue_refuses_and_an_odd_request_fails_alone():
    gate, entered, seen, call, metrics = gate_and_scheduler(
        max_batch_size=4, max_enqueued_batches=1, batch_timeout_seconds=30
    )
    with ThreadPoolExecutor(8) as pool:
        first = [pool.submit(call, value) for value in range(4)]  # fills a batch, which runs at once
        assert entered.wait(30)
        second = [pool.submit(call, value) for value in (11, 12, 13, 14)]
        eventually(lambda: waiting(metrics) == 4, "the second batch to be full")
        with pytest.raises(ServingError) as caught:
            call(15)
        gate.set()
        assert [future.result()[0].tolist() for future in first] == [[[2 * v] * 2] for v in range(4)]
        outcomes = [future.exception() or future.result()[0].tolist() for future in second]
    assert caught.value.code == "UNAVAILABLE"
    assert caught.value.message.endswith("currently 1 batches enqueued and max_enqueued_batches is 1")
    assert [outcome for outcome in outcomes if isinstance(outcome, list)] == [[[2.0 * v] * 2] for v in (11, 12, 14)]
    assert outcomes[2].message == "unlucky"
    assert (4, 2) in seen


def test_a_large_request_is_split_over_the_batches_that_have_room_or_refused_whole():
    """As in C++: first what the open batch has room for, then whole batches; the error text counts what is left."""
    gate, entered, seen, call, metrics = gate_and_scheduler(
        max_batch_size=9,
        splits_large_batches=True,
        max_execution_batch_size=4,
        max_enqueued_batches=2,
        batch_timeout_seconds=30,
    )
    refused = {}
    with ThreadPoolExecutor(8) as pool:
        running = pool.submit(call, 1, (4, 2))
        assert entered.wait(30)
        three = pool.submit(call, 3, (3, 2))  # opens a batch
        eventually(lambda: waiting(metrics) == 3, "the open batch")
        for rows in (6, 10):
            with pytest.raises(ServingError) as caught:
                call(0, (rows, 2))
            refused[rows] = caught.value
        assert waiting(metrics) == 3, "of what is refused nothing stays"
        five = pool.submit(call, 5, (5, 2))  # one row more in that batch, four in the next
        eventually(lambda: waiting(metrics) == 8, "the two batches")
        gate.set()
        for future, value, rows in ((running, 1, 4), (three, 3, 3), (five, 5, 5)):
            assert future.result()[0].tolist() == [[2.0 * value] * 2] * rows
    assert seen == [(4, 2)] * 3
    assert (refused[10].code, refused[10].message) == (
        "INVALID_ARGUMENT",
        "Task size 10 is larger than maximum input batch size 9",
    )
    assert (refused[6].code, refused[6].message) == (
        "UNAVAILABLE",
        "The batch scheduling queue to which this task was submitted is full; task size is 6 but scheduling capacity "
        "is only 5 (num_enqueued_batches=1, max_enqueued_batches=2, open_batch_size=3, max_execution_batch_size=4)",
    )


def test_other_shapes_are_padded_or_kept_apart():
    options = {"max_batch_size": 2, "pad_variable_length_inputs": True, "batch_timeout_seconds": 30}
    gate, _, seen, call, _ = gate_and_scheduler(**options)
    gate.set()
    with ThreadPoolExecutor(2) as pool:
        narrow, wide = pool.submit(call, 1, (1, 2)), pool.submit(call, 2, (1, 3))
        assert narrow.result()[0].shape == wide.result()[0].shape == (1, 3)
    assert seen == [(2, 3)]


def test_shapes_that_would_fill_the_memory_together_run_alone():
    """One wide row and one long one: padded, they would have 16 TB."""
    options = {"max_batch_size": 2, "pad_variable_length_inputs": True, "batch_timeout_seconds": 30}
    gate, _, seen, call, _ = gate_and_scheduler(**options)
    gate.set()
    shapes = [(1, 1, 2_000_000), (1, 1_000_000, 1)]
    with ThreadPoolExecutor(2) as pool:
        results = [pool.submit(call, 1, shape) for shape in shapes]
        assert [result.result()[0].shape for result in results] == shapes
    assert sorted(seen) == sorted(shapes)
