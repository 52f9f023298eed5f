"""The quick ways of REST: answers in bursts, and JSON parsed by processes of their own."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import requests

from hangtag.protocol import dtypes
from hangtag_serving.fast.json_numbers import LARGE_BYTES, read_numbers
from hangtag_serving.fast.json_templates import JsonTemplates
from hangtag_serving.fast.json_workers import worker_count
from support import Server, eventually, serving

MODELS = Path(__file__).parents[1] / "conformance" / "models"

needs_helpers = pytest.mark.skipif(worker_count() == 0, reason="one core: the server parses JSON itself")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(MODELS / "fashion", tmp_path_factory.mktemp("bursts") / "log") as running:
        yield running


def images(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 28, 28), dtype=np.uint8)


def post(server: Server, body: str) -> requests.Response:
    return requests.post(f"{server.rest}/v1/models/fashion:predict", data=body, timeout=30)


def predict(server: Server, array: np.ndarray) -> np.ndarray:
    answer = requests.post(
        f"{server.rest}/v1/models/fashion:predict", data=json.dumps({"instances": array.tolist()}), timeout=30
    )
    answer.raise_for_status()
    return np.array(answer.json()["predictions"], np.float32)


def helpers_of(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    threads = [thread.name for thread in Path(f"/proc/{pid}/task").iterdir()]
    children += [c for t in threads for c in Path(f"/proc/{pid}/task/{t}/children").read_text().split()]
    return sorted({int(child) for child in children if b"json_workers" in command_of(child)})


def command_of(pid: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:  # it has ended
        return b""


def test_requests_at_the_same_moment_get_their_own_answers(server):
    singly = [predict(server, images(1, seed)) for seed in range(16)]
    with ThreadPoolExecutor(16) as pool:
        together = list(pool.map(lambda seed: predict(server, images(1, seed)), [*range(16)] * 10))
    for number, answer in enumerate(together):
        np.testing.assert_allclose(answer, singly[number % 16], atol=1e-6)


@needs_helpers
def test_large_requests_are_parsed_elsewhere_and_answered_alike(server):
    array = images(64)
    assert len(json.dumps(array.tolist())) > LARGE_BYTES
    first = predict(server, array)
    eventually(lambda: len(helpers_of(server.process.pid)) == worker_count(), "the helpers to start")
    rows = np.concatenate([predict(server, array[i : i + 1]) for i in range(0, 64, 9)])
    with ThreadPoolExecutor(8) as pool:
        for answer in pool.map(lambda _: predict(server, array), range(16)):
            np.testing.assert_allclose(answer, first, atol=1e-6)
            np.testing.assert_allclose(answer[::9], rows, atol=1e-6)


@needs_helpers
@pytest.mark.parametrize("wrong", ["[[1, 2], [3]]", "[1, 2", '["a"]', "[[[null]]]", "[1e400]"])
def test_a_large_request_that_is_wrong_gets_the_usual_words(server, wrong):
    """What is wrong comes last, after more numbers than the server reads itself."""
    predict(server, images(64))
    eventually(lambda: helpers_of(server.process.pid) != [], "a helper")
    many = json.dumps(images(64).tolist())[1:-1]
    answer = requests.post(
        f"{server.rest}/v1/models/fashion:predict", data=f'{{"instances": [{many}, {wrong}]}}', timeout=30
    )
    assert answer.status_code == 400
    assert answer.json()["error"]


@needs_helpers
def test_a_helper_that_is_killed_costs_no_request_and_is_replaced(server):
    array = images(64)
    expected = predict(server, array)
    eventually(lambda: helpers_of(server.process.pid) != [], "a helper")
    with ThreadPoolExecutor(4) as pool:
        answers = pool.map(lambda _: predict(server, array), range(24))
        for helper in helpers_of(server.process.pid):
            os.kill(helper, signal.SIGKILL)
        for answer in answers:
            np.testing.assert_allclose(answer, expected, atol=1e-6)

    def replaced() -> bool:
        np.testing.assert_allclose(predict(server, array), expected, atol=1e-6)
        return len(helpers_of(server.process.pid)) == worker_count()

    eventually(replaced, "as many helpers as before")


@needs_helpers
def test_helpers_end_with_their_server(tmp_path):
    with serving(MODELS / "fashion", tmp_path / "log") as server:
        predict(server, images(64))
        eventually(lambda: len(helpers_of(server.process.pid)) == worker_count(), "the helpers to start")
        helpers = helpers_of(server.process.pid)
    eventually(lambda: not any(Path(f"/proc/{helper}").exists() for helper in helpers), "the helpers to end")


def test_what_stands_around_the_numbers_is_read_only_where_it_is_whole():
    templates = JsonTemplates()
    usual = templates.match(b'{"signature_name": "a", "instances": [1, 2]}')
    assert usual is not None
    assert (usual.as_rows, usual.signature_name, bytes(usual.text)) == (True, "a", b"[1, 2]")
    # The first bracket is inside a string: no request that begins like this is read the quick way.
    assert templates.match(b'{"signature_name": "a[b", "instances": [1]}') is None
    assert templates.match(b'{"signature_name": "a[1], "instances": [1]}') is None
    assert templates.match(b'{"instances": [1]} trailing') is None
    assert templates.match(b'{"instances": 7}') is None


def test_two_arrays_are_not_read_as_one():
    numbers = JsonTemplates().match(b'{"instances": [1], "inputs": [1]}')
    assert numbers is not None
    assert read_numbers(numbers.text, dtypes.BY_NAME["DT_UINT8"].number, 254) is None
