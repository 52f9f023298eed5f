"""What the clients' arguments may not be: InvalidInput, from the constructor, one sentence for each kind."""

from __future__ import annotations

import numpy as np
import pytest

from both_clients import opened
from hangtag import TLS, DeadlineExceeded, InvalidInput, ServerUnavailable
from support import free_port

WRONG = [
    ({"version": 1, "version_label": "stable"}, "version or version_label, not both"),
    ({"version": -1}, "version is -1: versions are counted from 0"),
    ({"version": 2**64}, "version is 18446744073709551616: .* less than 2"),
    ({"version": "1"}, "version is of type str: give a whole number"),
    ({"version_label": 1}, "version_label is of type int: give a string"),
    ({"version_label": "\ud800"}, "version_label is .* cannot be sent"),
    ({"model": ""}, "the model name is empty"),
    ({"model": None}, "model is of type NoneType: give a string"),
    ({"model": "\ud800"}, "model is .* cannot be sent"),
    ({"signature": b"x"}, "signature is of type bytes: give a string"),
    ({"timeout": 0}, "timeout is 0: give seconds, more than 0 and at most 1e"),
    ({"timeout": None}, "timeout is None: give seconds"),
    ({"timeout": "10"}, "timeout is '10': give seconds"),
    ({"timeout": float("inf")}, "timeout is inf: give seconds"),
    ({"timeout": float("nan")}, "timeout is nan: give seconds"),
    ({"timeout": 1e10}, "timeout is 10000000000.0: give seconds"),
    ({"retries": -1}, "retries must be at least 0"),
    ({"retries": 1.0}, "retries is of type float: give a whole number"),
    ({"concurrency": 0}, "concurrency and batch_size at least 1"),
    ({"concurrency": None}, "concurrency is of type NoneType: give a whole number"),
    ({"batch_size": 0}, "concurrency and batch_size at least 1"),
    ({"batch_size": 1.5}, "batch_size is of type float: give a whole number"),
    ({"language": "fr"}, "language 'fr' is not known"),
    ({"labels": "gone.txt"}, "cannot read the class names in gone.txt"),
    ({"labels": {"cat": 0}}, "labels is a dict"),
    ({"pixels": "0-1"}, r"pixels is '0-1': give one of '0\.\.1', '0\.\.255', '-1\.\.1', 'imagenet'"),
    ({"scores": "softmax"}, "scores is 'softmax': give one of 'probabilities', 'logits', 'sigmoid'"),
    ({"output": 1}, "output is of type int: give a string"),
    ({"labels": [1]}, "labels is not a list of class names"),
    ({"labels": 5}, "labels is of type int: give a list of class names"),
    ({"gzip_above": 10}, "are for REST targets"),
    ({"gzip_above": "10"}, "gzip_above is of type str: give a whole number"),
    ({"session": object()}, "are for REST targets"),
    ({"tls": {"ca": "ca.pem"}}, "tls is of type dict: give a hangtag.TLS"),
    ({"headers": ["x: s3cret"]}, "headers is of type list: give a dict of strings"),
    ({"headers": {"x": 1}}, "header 'x' cannot be sent: names and values must be strings"),
    ({"headers": {"x": b"s3cret"}}, "header 'x' cannot be sent: names and values must be strings"),
]


@pytest.mark.parametrize(
    ("options", "message"), WRONG, ids=[str(options).split(" object at")[0] for options, _ in WRONG]
)
def test_what_cannot_be_right_is_refused_before_anything_is_connected(kind, options, message):
    with pytest.raises(InvalidInput, match=message) as caught, opened(kind, "localhost:1", **options):
        pass
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    "target",
    [
        "",
        b"localhost:1",
        None,
        "ftp://x",
        "localhost:port",
        "http://",
        "http://host/?a=b",
        "http://host/v1/models/fashion",
    ],
)
def test_targets_of_no_known_kind_are_refused(kind, target):
    with pytest.raises(InvalidInput, match="target"), opened(kind, target):
        pass


def test_what_belongs_to_the_other_protocol_is_refused(kind):
    with pytest.raises(InvalidInput, match="gRPC targets"), opened(kind, "http://localhost:1", channel=object()):
        pass


def test_numbers_of_numpy_are_numbers(kind):
    options = {"version": np.int64(1), "batch_size": np.int32(2), "timeout": np.float32(9), "retries": np.uint8(0)}
    with opened(kind, f"127.0.0.1:{free_port()}", **options) as client, pytest.raises(ServerUnavailable):
        client.labels()


def test_the_longest_timeout_is_one_that_both_protocols_can_wait(kind, protocol):
    target = f"127.0.0.1:{free_port()}"
    with (
        opened(kind, target if protocol == "grpc" else f"http://{target}", timeout=1e9, retries=0) as client,
        pytest.raises(ServerUnavailable, match="no answer from"),
    ):
        client.status()


@pytest.mark.parametrize("timeout", [float("inf"), float("nan"), "10", None])
def test_wait_ready_waits_no_time_that_never_ends(kind, timeout):
    with opened(kind, "localhost:1") as client, pytest.raises(InvalidInput, match=r"timeout is .*: give seconds"):
        client.wait_ready(timeout)


def test_wait_ready_without_time_left_looks_once(kind):
    with (
        opened(kind, f"127.0.0.1:{free_port()}") as client,
        pytest.raises(DeadlineExceeded, match="fashion is not ready after -1 s"),
    ):
        client.wait_ready(-1)


@pytest.mark.parametrize("file", [1, "a\0b"])
def test_certificates_that_are_no_files(kind, file):
    with (
        opened(kind, "https://localhost:1", tls=TLS(file)) as client,
        pytest.raises(InvalidInput, match="cannot read"),
    ):
        client.status()
