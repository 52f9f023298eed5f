"""Servers that are busy, slow, broken or gone: what is retried, what is raised, and which error the caller gets."""

from __future__ import annotations

import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import requests

from both_clients import opened
from fake_server import FIRST_PIXEL, Model, Refused, model_server
from faulty_proxy import proxy
from hangtag import (
    BadResponse,
    Client,
    InvalidInput,
    ServerError,
    ServerUnavailable,
    UnknownSignature,
)
from hangtag.core.retry import ConcurrencyLimit

PICTURES = np.arange(400, dtype=np.uint32).repeat(784).reshape(400, 28, 28).astype(np.uint8)
CLASSES = (np.arange(400) % 256 % 10).tolist()


def some_fail_once(code: str, message: str):
    """A hook that refuses every second Predict but the names', until it has refused twenty."""
    lock, left = threading.Lock(), [20]

    def hook(number: int) -> None:
        with lock:
            if number % 2 and left[0]:
                left[0] -= 1
                raise Refused(code, message)

    return hook


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("RESOURCE_EXHAUSTED", "Server Threadpool Exhausted"),
        ("UNAVAILABLE", "The batch scheduling queue to which this task was submitted is full; currently 1 batches"),
        ("UNAVAILABLE", "Connection reset"),
    ],
    ids=["threads", "queue", "gone"],
)
def test_half_of_the_chunks_failing_once_changes_nothing(kind, protocol, code, message):
    model = Model(FIRST_PIXEL, hook=some_fail_once(code, message))
    with (
        model_server(model, protocol) as target,
        opened(kind, target, batch_size=10, timeout=60, retries=20) as client,
    ):
        result = client.classify(PICTURES)
        assert result.indices.tolist() == CLASSES
        assert result.labels[:11].tolist() == [f"class {n % 10}" for n in range(11)]
        assert model.predicts == 40 + 20 + 1  # chunks, refusals, names


def test_a_refusal_for_load_halves_the_calls_under_way_and_answers_raise_the_limit():
    limit = ConcurrencyLimit()

    def end(number: int, began: float, *, busy: bool) -> None:
        limit.running.discard(number)
        limit.ended(began, busy=busy)

    began = time.monotonic()
    limit.running.update(range(32))
    for number in range(20):
        end(number, began, busy=True)  # one burst, one halving
    assert limit.limit == 16
    for number in range(20, 32):
        end(number, began, busy=False)
    assert 16 < limit.limit < 18
    assert not limit.full()
    for _ in range(40_000):
        limit.ended(time.monotonic(), busy=False)
    assert limit.limit == float("inf")
    assert not limit.limited


def test_many_threads_against_a_server_with_few_all_get_answers():
    """Sixteen threads, and a server that refuses the third call and more at once."""
    lock, running = threading.Lock(), [0]

    def hook(number: int) -> None:
        with lock:
            if running[0] >= 2:
                raise Refused("RESOURCE_EXHAUSTED", "Server Threadpool Exhausted")
            running[0] += 1
        threading.Event().wait(0.002)
        with lock:
            running[0] -= 1

    with (
        model_server(Model(FIRST_PIXEL, hook=hook), "grpc") as target,
        Client(target, timeout=60, retries=50) as client,
        ThreadPoolExecutor(16) as pool,
    ):
        client.labels()
        work = [[client.classify, range(which, 400, 16)] for which in range(16)]
        found = list(pool.map(lambda job: [job[0](PICTURES[n]).indices[0] for n in job[1]], work))
    assert found == [CLASSES[which::16] for which in range(16)]


def test_a_chunk_that_fails_for_good_says_which_images_it_held(kind, protocol):
    signatures = dict(FIRST_PIXEL)

    def run(images: np.ndarray) -> dict[str, np.ndarray]:
        if images[0, 0, 0] == 50:
            raise Refused("INVALID_ARGUMENT", "the 51st is not to my taste")
        return FIRST_PIXEL["serving_default"].run(images)

    default = FIRST_PIXEL["serving_default"]
    signatures["serving_default"] = type(default)(default.inputs, default.outputs, run)
    with model_server(Model(signatures), protocol) as target, opened(kind, target, batch_size=10) as client:
        with pytest.raises(InvalidInput, match=r"the 51st is not to my taste \(images 50 to 59\)") as caught:
            client.classify(PICTURES[:100])
        assert caught.value.images == range(50, 60)
        assert caught.value.code == "INVALID_ARGUMENT"
        stream = client.classify_stream(PICTURES[:100])
        assert next(stream).labels.tolist() == ["class 0"]
        with pytest.raises(InvalidInput, match=r"\(images 50 to 59\)"):
            list(stream)


@pytest.mark.parametrize("code", ["UNAVAILABLE", "CANCELLED"])
def test_other_failures_are_retried_as_often_as_the_caller_says(kind, code):
    def hook(number: int) -> None:
        raise Refused(code, "the server stops")

    model = Model(FIRST_PIXEL, hook=hook)
    with model_server(model, "grpc") as target, opened(kind, target, labels=["x"] * 10, retries=2) as client:
        with pytest.raises(ServerUnavailable, match="the server stops"):
            client.classify(PICTURES[:1])
        assert model.predicts == 3


def test_what_the_caller_got_wrong_is_not_retried(kind, protocol):
    def hook(number: int) -> None:
        raise Refused("INVALID_ARGUMENT", "Matrix size-incompatible")

    model = Model(FIRST_PIXEL, hook=hook)
    with model_server(model, protocol) as target, opened(kind, target, labels=["x"] * 10) as client:
        with pytest.raises(InvalidInput, match="Matrix size-incompatible"):
            client.classify(PICTURES[:1])
        assert model.predicts == 1
        with pytest.raises(UnknownSignature, match="it has labels, normalized_images, serving_default"):
            client.predict({"images": PICTURES[:1]}, signature="no_such")
        assert model.predicts == 1


@pytest.mark.parametrize("fault", ["reset", "cut"])
def test_broken_connections_are_tried_again(server, images, kind, protocol, fault):
    """The first two connections to the real server break."""
    upstream = server.target(protocol)
    faults = proxy(upstream, lambda number: fault if number < 2 else None)
    with (
        opened(kind, upstream, timeout=60) as direct,
        faults as (passing, target),
        opened(kind, target, timeout=60, retries=8) as client,
    ):
        assert (client.classify(images[:700]).indices == direct.classify(images[:700]).indices).all()
        assert passing.connections > 2


def test_a_connection_that_always_breaks_is_server_unavailable(server, images, kind, protocol):
    with proxy(server.target(protocol), lambda number: "reset") as (_, target), opened(kind, target) as client:
        with pytest.raises(ServerUnavailable, match=target.removeprefix("http://")):
            client.classify(images[:3])
        assert not client.ready()


def test_slow_answers_arrive(server, images, kind, protocol):
    with (
        proxy(server.target(protocol), lambda number: "delay") as (_, target),
        opened(kind, target, timeout=60) as client,
    ):
        assert len(client.classify(images[:3])) == 3


def test_one_answer_never_mixes_two_versions(kind):
    """A new version appears between the chunks: the older one's are asked again of the newer one."""
    model = Model(FIRST_PIXEL, version=lambda number: 1 if number < 20 else 2)
    with model_server(model, "grpc") as target, opened(kind, target, batch_size=10, timeout=60) as client:
        client.labels()
        result = client.classify(PICTURES)
        assert result.model_version == 2
        assert result.indices.tolist() == CLASSES
        assert model.predicts > 41


def test_each_result_of_a_stream_has_one_version(kind):
    """One request after the other, the first items are surely of version 1; of several at once all may come late."""
    for concurrency, seen in ((1, [{1, 2}]), (4, [{1, 2}, {2}])):
        model = Model(FIRST_PIXEL, version=lambda number: 1 if number < 9 else 2)
        options = {"batch_size": 10, "timeout": 60, "concurrency": concurrency}
        with model_server(model, "grpc") as target, opened(kind, target, **options) as client:
            results = list(client.classify_stream(np.split(PICTURES, 16)))
        assert {result.model_version for result in results} in seen
        assert np.concatenate([result.indices for result in results]).tolist() == CLASSES


def test_no_tensorflow_serving_at_all(kind, server, protocol):
    """A web server of another kind, and each protocol's port mistaken for the other's."""
    no_such_page = pytest.raises(ServerError, match="HTTP 404, which is no TensorFlow Serving answer")
    with opened(kind, f"{server.rest}/elsewhere") as client, no_such_page:
        client.labels()
    wrong = server.rest.removeprefix("http://") if protocol == "grpc" else f"http://{server.grpc}"
    with opened(kind, wrong, retries=0) as client, pytest.raises((ServerUnavailable, BadResponse, ServerError)):
        client.labels()


def test_retries_are_logged_without_anything_secret(caplog, kind, protocol):
    caplog.set_level(logging.DEBUG, "hangtag")
    model = Model(FIRST_PIXEL, hook=some_fail_once("UNAVAILABLE", "gone for a moment"))
    options = {"headers": {"Authorization": "Bearer s3cret"}, "batch_size": 10, "retries": 20}
    with model_server(model, protocol) as target, opened(kind, target, **options) as client:
        client.classify(PICTURES[:50])
    message = [record.getMessage() for record in caplog.records if record.name == "hangtag"]
    assert any("gone for a moment" in text for text in message)
    assert not any("s3cret" in record.getMessage() for record in caplog.records)
    sent = {key.lower(): value for key, value in model.requests[-1].items()}
    assert sent["authorization"] == "Bearer s3cret"


def test_requests_own_session_is_used_and_left_open(server):
    with requests.Session() as session:
        seen = []
        session.hooks["response"].append(lambda answer, **_: seen.append(answer.url))
        with Client(server.rest, session=session, timeout=60) as client:
            client.labels()
        assert seen
        assert session.get(f"{server.rest}/v1/models/fashion", timeout=60).ok
