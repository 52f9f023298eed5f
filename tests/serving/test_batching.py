"""Batches that wait (--enable_batching) and bursts that do not: who shares a run, and who fails."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import requests

from hangtag import Client
from hangtag_serving.batch_scheduler import BatchScheduler
from hangtag_serving.batching import BatchingOptions
from hangtag_serving.errors import ServingError
from hangtag_serving.merging import Lane
from hangtag_serving.metrics import Metrics
from hangtag_serving.servable import Servable
from support import Server, eventually, serving

MODELS = Path(__file__).parent / "conformance" / "models"


@pytest.fixture(scope="module")
def batching(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("batching")
    (folder / "parameters").write_text(
        "max_batch_size { value: 4 } batch_timeout_micros { value: 50000 } max_enqueued_batches { value: 100 } "
        "num_batch_threads { value: 1 } allowed_batch_sizes: 2 allowed_batch_sizes: 4"
    )
    flags = ["--enable_batching", f"--batching_parameters_file={folder / 'parameters'}"]
    with serving(MODELS / "fashion", folder / "log", *flags) as server:
        yield server


@pytest.mark.parametrize("protocol", ["grpc", "rest"])
def test_batched_answers_are_the_usual_ones(batching, protocol):
    """Rows of many clients, run together and padded, come back to their owners."""
    images = np.random.default_rng(0).integers(0, 256, (24, 28, 28), dtype=np.uint8)
    with Client(batching.target(protocol)) as together, ThreadPoolExecutor(8) as pool:
        one_by_one = [together.predict({"images": images[n : n + 1]})["probabilities"] for n in range(24)]
        at_once = list(pool.map(lambda n: together.predict({"images": images[n : n + 1]})["probabilities"], range(24)))
    assert np.allclose(np.concatenate(at_once), np.concatenate(one_by_one), atol=1e-6)


def test_a_request_larger_than_a_batch_is_refused(batching):
    answer = requests.post(
        f"{batching.rest}/v1/models/fashion:predict",
        json={"instances": np.zeros((5, 28, 28), int).tolist()},
        timeout=30,
    )
    assert answer.status_code == 400
    assert answer.json() == {"error": "Task size 5 is larger than maximum input batch size 4"}


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

    scheduler = BatchScheduler(1, Metrics())

    def call(value, shape=(1, 2)):
        return scheduler.run("queue", BatchingOptions(**options), run, {"x": np.full(shape, value, np.float32)})

    return gate, entered, seen, call, scheduler


def test_a_full_queue_refuses_and_an_odd_request_fails_alone():
    gate, entered, seen, call, scheduler = gate_and_scheduler(
        max_batch_size=4, max_enqueued_batches=1, batch_timeout_seconds=30
    )
    with ThreadPoolExecutor(8) as pool:
        first = [pool.submit(call, value) for value in range(4)]  # fills a batch, which runs at once
        assert entered.wait(30)
        second = [pool.submit(call, value) for value in (11, 12, 13, 14)]
        eventually(lambda: scheduler.waiting_rows() == 4, "the second batch to be full")
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


def test_other_shapes_are_padded_or_kept_apart():
    options = {"max_batch_size": 2, "pad_variable_length_inputs": True, "batch_timeout_seconds": 30}
    gate, _, seen, call, _ = gate_and_scheduler(**options)
    gate.set()
    with ThreadPoolExecutor(2) as pool:
        narrow, wide = pool.submit(call, 1, (1, 2)), pool.submit(call, 2, (1, 3))
        assert narrow.result()[0].shape == wide.result()[0].shape == (1, 3)
    assert seen == [(2, 3)]


@pytest.fixture(scope="module")
def types() -> Iterator[Servable]:
    servable = Servable("types", 1, MODELS / "types" / "1")
    yield servable
    servable.close()


def test_a_signature_whose_rows_touch_is_never_merged(types):
    """`special` treats each row by itself; `scalar_out` sums over all of them."""
    by_row, over_all = lane(types, "special", "x", "y"), lane(types, "scalar_out", "x", "total")
    ones = [np.ones(1, np.float32), np.ones(2, np.float32)]
    assert by_row.is_row_wise()
    assert not over_all.is_row_wise()
    assert over_all.run_together(ones) is None
    together = by_row.run_together(ones)
    assert together is not None
    assert [len(arrays[0]) for arrays in together] == [1, 2]


def test_calls_run_together_get_what_each_would_get_alone(types):
    doubled = lane(types, "special", "x", "y")
    arrays = [np.arange(n, dtype=np.float32) for n in (1, 2, 3)]
    together = doubled.run_together(arrays)
    assert together is not None
    for array, (result,) in zip(arrays, together, strict=True):
        np.testing.assert_array_equal(result, doubled.run(array)[0])


def test_a_size_at_which_sharing_a_run_was_slow_is_tried_again(types, monkeypatch):
    doubled = lane(types, "special", "x", "y")
    pair = [np.ones(2, np.float32)] * 2
    assert doubled.run_together(pair) is not None
    for place in range(64):
        doubled._note(place, 0.001)  # one or several rows: the same
    doubled._seconds[(4).bit_length()] = 1.0  # as if TensorFlow had been disturbed
    outcomes = [doubled.run_together(pair) is not None for _ in range(1000)]
    assert not outcomes[0]
    assert any(outcomes)


def lane(servable: Servable, signature: str, alias: str, output: str) -> Lane:
    return Lane(servable, signature, alias, [output], np.dtype(np.float32), ())
