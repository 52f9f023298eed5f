"""A client that was used before a fork has connections and threads that the child does not have."""

from __future__ import annotations

import multiprocessing
import pickle
import warnings

import pytest

from fake_server import FIRST_PIXEL, Model, model_server
from hangtag import AsyncClient, Client, HangtagError
from sample_images import PICTURES

FORK = multiprocessing.get_context("fork")


def in_child(client: Client, count: int, answers) -> None:
    try:
        answers.put(client.classify(PICTURES[:count]).labels.tolist())
    except HangtagError as error:
        answers.put(f"{type(error).__name__}: {error}")


@pytest.mark.parametrize("count", [1, 30])
def test_a_client_used_before_a_fork_says_so_at_once(protocol, count):
    """Over gRPC, and where several threads would be needed, the child would wait for ever."""
    with model_server(Model(FIRST_PIXEL), protocol) as target, Client(target, batch_size=10, timeout=60) as client:
        client.classify(PICTURES)
        answers = FORK.SimpleQueue()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of forking with threads, which is the point
            child = FORK.Process(target=in_child, args=(client, count, answers))
            child.start()
        try:
            assert answers.get() == (
                "InvalidInput: this client was used before the process forked: make a new one in each process"
            )
        finally:
            child.join(30)
            child.kill()
        assert client.classify(PICTURES[:2]).labels.tolist() == ["class 0", "class 1"]  # the parent still works


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_a_client_cannot_be_sent_to_another_process(kind):
    with pytest.raises(TypeError, match="holds connections and cannot be pickled: create one in each process"):
        pickle.dumps(kind("localhost:8500"))
