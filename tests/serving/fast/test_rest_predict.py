"""The fast path of REST: requests that arrive together share a run, and processes of their own parse large JSON."""

from __future__ import annotations

import json
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import requests

from hangtag.protocol import dtypes
from hangtag_serving.fast.json_arrays import LARGE_BYTES, JsonTemplates, read_numbers
from hangtag_serving.fast.json_workers import worker_count
from serving_metrics import metric
from support import Server, eventually

needs_workers = pytest.mark.skipif(worker_count() == 0, reason="one core: the server parses JSON itself")


@pytest.fixture
def server(native: Server) -> Server:
    return native


def images(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 28, 28), dtype=np.uint8)


def post(server: Server, body: str) -> requests.Response:
    return requests.post(f"{server.rest}/v1/models/fashion:predict", data=body, timeout=60)


def predict(server: Server, array: np.ndarray) -> np.ndarray:
    answer = post(server, json.dumps({"instances": array.tolist()}))
    answer.raise_for_status()
    return np.array(answer.json()["predictions"], np.float32)


def workers_of(pid: int) -> list[int]:
    children: list[str] = []
    for thread in Path(f"/proc/{pid}/task").iterdir():
        with suppress(OSError):  # it has just ended
            children += (thread / "children").read_text().split()
    return sorted({int(child) for child in children if b"json_workers" in command_of(child)})


def command_of(pid: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:  # it has ended
        return b""


def ready_workers(server: Server) -> list[int]:
    """The workers, once there are as many as there should be."""

    def running() -> list[int]:
        predict(server, images(64))
        found = workers_of(server.process.pid)
        return found if len(found) == worker_count() else []

    return eventually(running, "all workers to run")


def test_small_requests_take_the_fast_path(server):
    """Each is counted once it has been answered."""
    for seed in range(5):
        before = metric(server, ":hangtag:serving:fast_request_count", entrypoint="REST")
        predict(server, images(1, seed))
        eventually(
            lambda before=before: (
                metric(server, ":hangtag:serving:fast_request_count", entrypoint="REST") == before + 1
            ),
            "the request to be counted",
        )


def test_requests_that_arrive_together_share_runs(server):
    before = metric(server, ":hangtag:serving:burst_rows_count")

    def shared() -> bool:
        with ThreadPoolExecutor(16) as pool:
            list(pool.map(lambda seed: predict(server, images(1, seed)), range(64)))
        return metric(server, ":hangtag:serving:burst_rows_count") > before

    eventually(shared, "a run for several requests")


def test_each_request_of_a_shared_run_gets_its_own_answer(server, plain):
    alone = [predict(plain, images(1, seed)) for seed in range(16)]
    with ThreadPoolExecutor(16) as pool:
        together = list(pool.map(lambda seed: predict(server, images(1, seed)), [*range(16)] * 10))
    for number, answer in enumerate(together):
        np.testing.assert_allclose(answer, alone[number % 16], atol=1e-6)


def test_tensorflow_is_set_up_for_small_models(server, plain):
    assert "all models are small" in server.log_text()
    assert "all models are small" not in plain.log_text()


def test_without_fast_paths_none_is_taken(plain):
    predict(plain, images(1))
    predict(plain, images(64))
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda seed: predict(plain, images(1, seed)), range(32)))
    for name in ("fast_request_count", "burst_rows_count", "large_json_parse_count"):
        assert metric(plain, f":hangtag:serving:{name}") == 0
    assert workers_of(plain.process.pid) == []


@needs_workers
def test_large_requests_are_parsed_by_workers_and_answered_alike(server, plain):
    array = images(64)
    assert len(json.dumps(array.tolist())) > LARGE_BYTES
    expected = predict(plain, array)
    ready_workers(server)
    before = metric(server, ":hangtag:serving:large_json_parse_count", by="worker")

    def parsed() -> bool:
        with ThreadPoolExecutor(8) as pool:
            for answer in pool.map(lambda _: predict(server, array), range(16)):
                np.testing.assert_allclose(answer, expected, atol=1e-6)
        return metric(server, ":hangtag:serving:large_json_parse_count", by="worker") > before

    eventually(parsed, "a worker to parse a request")


@pytest.mark.parametrize("wrong", ["[[1, 2], [3]]", "[1, 2", '["a"]', "[[[null]]]", "[1e400]", "[300.5]"])
def test_a_large_request_that_is_wrong_gets_the_error_of_the_plain_path(server, plain, wrong):
    """What is wrong comes last, after more numbers than the server reads itself."""
    many = json.dumps(images(64).tolist())[1:-1]
    body = f'{{"instances": [{many}, {wrong}]}}'
    expected, answer = post(plain, body), post(server, body)
    assert answer.status_code == expected.status_code == 400
    assert answer.json() == expected.json()


@needs_workers
def test_a_worker_that_is_killed_costs_no_request_and_is_replaced(server):
    array = images(64)
    expected = predict(server, array)
    killed = ready_workers(server)
    with ThreadPoolExecutor(4) as pool:
        answers = pool.map(lambda _: predict(server, array), range(24))
        for worker in killed:
            with suppress(ProcessLookupError):
                os.kill(worker, signal.SIGKILL)
        for answer in answers:
            np.testing.assert_allclose(answer, expected, atol=1e-6)
    eventually(lambda: not set(ready_workers(server)) & set(killed), "new workers")


def test_a_template_is_only_for_a_document_that_is_understood():
    templates = JsonTemplates()
    found = templates.match(b'{"signature_name": "a", "instances": [1, 2]}')
    assert found is not None
    assert (found.as_rows, found.signature_name, bytes(found.text)) == (True, "a", b"[1, 2]")
    # The first bracket is inside a string.
    assert templates.match(b'{"signature_name": "a[b", "instances": [1]}') is None
    assert templates.match(b'{"signature_name": "a[1], "instances": [1]}') is None
    assert templates.match(b'{"instances": [1]} trailing') is None
    assert templates.match(b'{"instances": 7}') is None


@pytest.mark.parametrize(
    "body",
    [
        b'{"instances": [1], "inputs": [1]}',
        b'{"instances": [1, 2], "signature_name": "x", "output_filter": ["y"]}',
        b'{"instances": [1], "other": [2]}',
        b'{"instances": [[1], [2], "a]"]}',
        b'{"instances": [[0e400]]}',  # too big for RapidJSON, whatever it multiplies
    ],
)
def test_only_one_complete_array_is_read(body):
    """Everything between the first bracket and the last one is parsed."""
    found = JsonTemplates().match(body)
    for dtype in ("DT_UINT8", "DT_FLOAT"):
        assert found is None or read_numbers(found.text, dtypes.BY_NAME[dtype].number, 254) is None


@pytest.mark.parametrize("fast", ["server", "plain"])
def test_a_signature_name_after_the_array_is_read(fast, request):
    """Also where another list comes last."""
    body = '{"instances": [1, 2], "signature_name": "nowhere", "output_filter": ["y"]}'
    answer = post(request.getfixturevalue(fast), body)
    assert answer.json()["error"] == 'Serving signature name: "nowhere" not found in signature def'
