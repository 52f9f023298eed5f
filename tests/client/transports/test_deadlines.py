"""What a caller gets when the time is up: a server that is busy, silent, slow or away."""

from __future__ import annotations

import re
import threading

import numpy as np
import pytest

from both_clients import opened
from fake_server import FIRST_PIXEL, Model, Refused, busy, model_server
from faulty_proxy import proxy
from hangtag import DeadlineExceeded, ServerBusy, ServerUnavailable
from support import PATIENCE, free_port, with_more_time

PICTURES = np.zeros((400, 28, 28), np.uint8)


def test_a_refusal_for_load_is_retried_until_the_deadline(kind, protocol):
    """However few `retries` there are, which are for other failures."""
    model = Model(FIRST_PIXEL, hook=busy)
    with model_server(model, protocol) as target:

        def tried(timeout: float) -> bool:
            """Whether there was time for some tries, and for the last one to be refused rather than cut off."""
            model.predicts = 0
            with (
                opened(kind, target, labels=["x"] * 10, retries=0, timeout=timeout) as client,
                pytest.raises((ServerBusy, DeadlineExceeded)) as caught,
            ):
                client.classify(PICTURES[:1])
            assert model.predicts < 2 or "Server Threadpool Exhausted" in str(caught.value)
            return caught.type is ServerBusy and model.predicts > 3

        with_more_time(tried, 2)


def test_an_answer_that_dribbles_in_ends_at_the_deadline(server, kind, protocol):
    """Each packet comes in time, the whole does not."""
    with (
        proxy(server.target(protocol), lambda number: "dribble") as (_, target),
        opened(kind, target, timeout=1) as client,
        pytest.raises(DeadlineExceeded, match=r"no complete answer .*within the timeout of 1 s$"),
    ):
        client.metadata()


def test_the_deadline_covers_chunks_and_retries(kind, protocol):
    """A server that never answers a Predict; the caller has its error while the server still waits."""
    release = threading.Event()
    model = Model(FIRST_PIXEL, hook=lambda number: release.wait(PATIENCE))
    options = {"batch_size": 10, "labels": ["x"] * 10}
    with model_server(model, protocol) as target:

        def late(timeout: float) -> bool:
            """Whether a Predict had come each time when the time was up."""
            with opened(kind, target, timeout=timeout, **options) as client:
                for images, where in ((PICTURES, ".*"), (PICTURES[:1], f"from {target}")):
                    before = model.predicts
                    with pytest.raises(DeadlineExceeded) as caught:
                        client.classify(images)
                    assert isinstance(caught.value, TimeoutError)
                    if model.predicts == before:
                        return False
                    said = rf"no complete answer {where} within the timeout of {timeout:g} s"
                    assert re.match(said if where == ".*" else f"{said}$", str(caught.value))
            return True

        try:
            with_more_time(late, 0.3)
        finally:
            release.set()


def test_a_server_that_speaks_of_a_deadline_is_heard(kind):
    """It is not this side's timeout that is named then."""

    def hook(number: int) -> None:
        raise Refused("DEADLINE_EXCEEDED", "the batch took too long")

    with model_server(Model(FIRST_PIXEL, hook=hook), "grpc") as target, opened(kind, target) as client:
        with pytest.raises(DeadlineExceeded, match=r"says DEADLINE_EXCEEDED: the batch took too long$") as caught:
            client.classify(PICTURES[:1])
        assert caught.value.code == "DEADLINE_EXCEEDED"


def test_no_server_is_server_unavailable(kind, protocol):
    target = f"127.0.0.1:{free_port()}"
    with opened(kind, target if protocol == "grpc" else f"http://{target}") as client:
        with pytest.raises(ServerUnavailable, match=f"no answer from .*{target}"):
            client.classify(PICTURES[:1])
        assert not client.ready()

        def refused(timeout: float) -> bool:
            """Whether there was time for one try."""
            with pytest.raises(DeadlineExceeded, match=f"^fashion is not ready after {timeout:g} s: ") as caught:
                client.wait_ready(timeout)
            return "s: no answer from" in str(caught.value)

        with_more_time(refused, 0.3)
