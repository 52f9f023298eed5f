"""Random requests get the same answers from the compiled server with its fast paths and from grpcio without them."""

from __future__ import annotations

import os

import pytest

from adversarial import fuzz

ROUNDS = int(os.environ.get("HANGTAG_ADVERSARIAL_ROUNDS", "40"))
"""More in a long run."""
REQUESTS = 50 * ROUNDS
SECONDS = 3.0 * ROUNDS  # a bound for a busy machine; idle, it takes a few seconds


@pytest.fixture(scope="module")
def servers():
    with fuzz.started(*fuzz.PLAIN) as plain, fuzz.started(*fuzz.FAST) as fast:
        yield plain, fast


def test_both_servers_answer_random_requests_alike(servers):
    cases = list(fuzz.compare(*servers, seed=20, seconds=SECONDS, count=REQUESTS))
    assert not cases, "\n".join(f"{case['id']}: {case['difference']}" for case in cases[:10])


def test_a_difference_is_reported_as_a_case_of_the_corpus():
    case = {"id": "a", **fuzz.rest_case(fuzz.random.Random(1))}
    expected = {"status": 200, "content_type": "application/json", "body": "{}"}
    assert fuzz.difference(case, expected, expected) == ""
    assert fuzz.difference(case, expected, {**expected, "status": 500}).startswith("status 500, not 200")
