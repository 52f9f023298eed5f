"""How a target is read, and what of it and of the headers may be read by others."""

from __future__ import annotations

import logging

import pytest

from canned import answering
from doubles import FIRST_PIXEL, Model, model_server
from hangtag import HangtagError, InvalidInput
from hangtag.target import parse_target
from support import free_port
from surfaces import opened


@pytest.mark.parametrize(
    ("text", "protocol", "address"),
    [
        ("::1", "grpc", "[::1]:8500"),
        ("fe80::1:2", "grpc", "[fe80::1:2]:8500"),
        ("[::1]", "grpc", "[::1]:8500"),
        ("[::1]:1", "grpc", "[::1]:1"),
        ("GRPC://host:1", "grpc", "host:1"),
        ("HTTP://localhost:8501/", "rest", "http://localhost:8501"),
        ("Https://host/under", "rest", "https://host/under"),
        ("unix:/tmp/a@b", "grpc", "unix:/tmp/a@b"),
    ],
)
def test_targets(text, protocol, address):
    target = parse_target(text)
    assert (target.protocol, target.address) == (protocol, address)


@pytest.mark.parametrize("text", ["host:99999", "host:0", "http://host:99999", "http://host:0", "a\nb", "\ud800", None])
def test_targets_that_cannot_be_right(text):
    with pytest.raises(InvalidInput, match="target"):
        parse_target(text)


@pytest.mark.parametrize(
    "text",
    [
        "http://me:s3cret@host:port",
        "http://me:s3c/s3cret@host",
        "http://me:s3c?s3cret@host",
        "http://host?token=s3cret",
        "http://host?mail=a@s3cret",
        "http://host#s3cret",
        "grpc://me:s3cret@host",
        "me:s3cret@host:8500",
        "ftp://me:s3cret@host",
        "me:s3cret@host://x",
    ],
)
def test_a_refused_target_is_not_repeated_where_it_may_hold_a_secret(text):
    with pytest.raises(InvalidInput) as caught:
        parse_target(text)
    assert "s3c" not in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_a_password_in_the_url_is_sent_and_never_shown(kind, caplog):
    """Not by the client's text, not by its settings', not in the log, not in an error of any sort."""
    caplog.set_level(logging.DEBUG, "hangtag")
    model = Model(FIRST_PIXEL)
    shown = []
    with model_server(model, "rest") as target, opened(kind, target.replace("//", "//me:s3cret@"), version=1) as client:
        client.labels()
        inner = getattr(client, "_client", client)
        shown += [repr(inner), repr(inner._settings)]
        with pytest.raises(HangtagError) as refused:
            client.predict({"images": []}, signature="none")
        shown.append(str(refused.value))
    assert model.requests[-1]["authorization"] == "Basic bWU6czNjcmV0"
    for answer in (b"", b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", b"no HTTP\r\n\r\n"):
        with answering(answer) as target:
            shown.append(what_goes_wrong(kind, target))
    shown.append(what_goes_wrong(kind, f"http://127.0.0.1:{free_port()}", retries=1))
    shown += [record.getMessage() for record in caplog.records if record.name == "hangtag"]
    assert any("connecting to http://127.0.0.1" in text for text in shown)
    assert any("again in" in text for text in shown)
    assert not any("s3cret" in text for text in shown)


def what_goes_wrong(kind: str, target: str, retries: int = 0) -> str:
    """What is said of this server."""
    with opened(kind, target.replace("//", "//me:s3cret@"), retries=retries) as client:
        with pytest.raises(HangtagError) as caught:
            client.status()
        return str(caught.value)
