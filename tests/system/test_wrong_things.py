"""Each error is reported in one clear sentence, over both protocols, in Python and on the command line."""

from __future__ import annotations

import gc

import numpy as np
import pytest

from hangtag import Client, InvalidInput, ModelNotFound, ServerUnavailable, UnknownSignature
from support import free_port, run, with_more_time

PROTOCOLS = pytest.mark.parametrize("scheme", ["", "http://"], ids=["grpc", "rest"])


@PROTOCOLS
def test_no_server_at_the_target(scheme, images):
    target = f"{scheme}127.0.0.1:{free_port()}"
    with Client(target) as client:
        assert not client.ready()
        with pytest.raises(ServerUnavailable, match="Connection refused"):
            client.classify(images[:1])
    done = run("labels", "--target", target)
    assert done.returncode == 1
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith(f"hangtag: no answer from {target}")
    assert "is the server running, on this port?" in done.stderr


def test_a_port_of_the_other_protocol(server):
    rest_port, grpc_port = server.rest.removeprefix("http://"), f"http://{server.grpc}"
    for target, message in ((rest_port, "a target for REST begins with http://"), (grpc_port, "leave out http://")):
        done = run("labels", "--target", target)
        assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (1, "", 1)
        assert message in done.stderr


@PROTOCOLS
def test_waiting_without_a_server_ends_with_the_reason(scheme):
    target = f"{scheme}127.0.0.1:{free_port()}"

    def refused(timeout: float) -> bool:
        """Whether there was time for one try."""
        done = run("wait", "--target", target, f"--timeout={timeout:g}")
        assert done.returncode == 1
        assert f"fashion is not ready after {timeout:g} s: " in done.stderr
        return "s: no answer from" in done.stderr

    with_more_time(refused, 0.5)


def test_unknown_model_version_and_label(server, images):
    for target in (server.grpc, server.rest):
        for wanted in ({"model": "nope"}, {"version": 7}, {"version_label": "stable"}):
            with Client(target, **wanted) as client:
                with pytest.raises(ModelNotFound, match=r"nope|7|stable"):
                    client.classify(images[:1])
                assert not client.ready()
        done = run("status", "--target", target, "--model=nope")
        assert done.returncode == 1
        assert "Could not find any versions of model nope" in done.stderr


def test_unknown_signature_is_answered_with_the_known_ones(server, images):
    with (
        Client(server.grpc, signature="nope") as client,
        pytest.raises(UnknownSignature, match="it has classify, encoded_images, labels"),
    ):
        client.classify(images[:1])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda images: images[:2, :, :27], r"shape \(2, 28, 27\): fashion takes \[N, 28, 28\]"),
        (lambda images: images[0].reshape(14, 56), r"shape \(14, 56\)"),
        (lambda images: [images[0], images[1], images[2][:9]], r"image 2 has shape \(9, 28\)"),
        (lambda images: images[:2].astype(np.int32) - 1, "from -1 to 25"),
        (lambda images: images[:2].astype(np.float32) * 0.99, "not whole"),
        (lambda images: images[:2].astype(np.float32) * np.nan, "from nan"),
        (lambda images: images[:2].astype(np.complex64), "complex64"),
        (lambda images: [[1, 2], [3]], "do not make one array"),
        (lambda images: [images[0], "boot.png"], "image 1 is a path"),
        (lambda images: b"GIF89a", "cannot be decoded: it is damaged"),
        (lambda images: "no-such-file.png", "cannot read no-such-file.png: No such file"),
        (lambda images: 5, "cannot read images from int"),
    ],
)
def test_images_that_cannot_be_right_are_refused_before_they_are_sent(client, images, make, message):
    with pytest.raises(InvalidInput, match=message) as caught:
        client.classify(make(images))
    assert caught.value.code is None  # no server was asked


def test_a_damaged_file_fails_alone(client, images):
    """The model's own decoder refuses rubbish; the next request is answered."""
    with pytest.raises(InvalidInput):
        client.classify(b"\x89PNG\r\n\x1a\nrubbish")
    assert len(client.classify(images[:1])) == 1


@pytest.mark.parametrize(
    ("target", "options"),
    [
        ("", {}),
        ("ftp://localhost", {}),
        ("http://", {}),
        ("localhost:port", {}),
        ("localhost", {"model": ""}),
        ("localhost", {"version": 1, "version_label": "stable"}),
        ("localhost", {"timeout": 0}),
        ("localhost", {"batch_size": 0}),
        ("localhost", {"language": "fr"}),
    ],
)
def test_arguments_that_cannot_be_right_are_refused_at_once(target, options):
    with pytest.raises(InvalidInput):
        Client(target, **options)


def test_a_closed_client_says_so(server, images):
    client = Client(server.grpc)
    client.classify(images[:1])
    client.close()
    client.close()
    with pytest.raises(InvalidInput, match="closed"):
        client.classify(images[:1])


def test_a_client_left_open_warns(server):
    client = Client(server.rest)
    client.status()
    with pytest.warns(ResourceWarning, match="not closed"):  # noqa: PT031
        del client
        gc.collect()


def test_bad_usage_exits_with_2(tmp_path):
    text = tmp_path / "notes.txt"
    text.write_text("no picture")
    for arguments in (["classify"], ["nope"], ["classify", str(text)], ["classify", "a.png", "--top=0"]):
        done = run(*arguments)
        assert done.returncode == 2, arguments
        assert "Traceback" not in done.stderr


def test_debug_shows_the_traceback(tmp_path):
    assert "Traceback" in run("classify", str(tmp_path / "none.png"), "--debug").stderr
