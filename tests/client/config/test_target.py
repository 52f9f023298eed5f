"""How a target is read, and what of it and of the headers may be read by others."""

from __future__ import annotations

import logging

import pytest
import requests

from both_clients import opened
from fake_server import FIRST_PIXEL, Model, model_server
from hangtag import HangtagError, InvalidInput
from hangtag.config.target import parse_target
from raw_server import answering
from support import free_port


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
        shown += [repr(inner), repr(inner._options)]
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
    assert any("next attempt in" in text for text in shown)
    assert not any("s3cret" in text for text in shown)


def what_goes_wrong(kind: str, target: str, retries: int = 0) -> str:
    """The text of the error for this server."""
    with opened(kind, target.replace("//", "//me:s3cret@"), retries=retries) as client:
        with pytest.raises(HangtagError) as caught:
            client.status()
        return str(caught.value)


@pytest.mark.parametrize(
    "proxy", ["http://me:s3cret@[bad", "http://me:s3 cret@host:99999", "me:s3cret@[bad", "junk://x"]
)
def test_a_proxy_that_is_no_url_is_not_repeated(kind, proxy, monkeypatch):
    monkeypatch.setenv("http_proxy", proxy)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    with (
        opened(kind, "http://models.invalid", retries=0) as client,
        pytest.raises(InvalidInput, match=r"http://models\.invalid cannot be made: .* a proxy") as caught,
    ):
        client.status()
    assert "s3" not in str(caught.value)
    assert caught.value.__suppress_context__


def test_a_header_that_the_session_cannot_send_is_not_repeated():
    with requests.Session() as session, opened("sync", "http://localhost:1", session=session) as client:
        session.headers["x"] = " s3cret"
        with pytest.raises(InvalidInput, match="a header of the session") as caught:
            client.status()
    assert "s3cret" not in str(caught.value)


def test_blanks_around_a_header_value_are_not_sent(kind, protocol):
    model = Model(FIRST_PIXEL)
    with model_server(model, protocol) as target, opened(kind, target, headers={"x": " a b "}) as client:
        client.metadata()
    assert model.requests[0]["x"] == "a b"


def test_names_of_bytes_are_refused_over_grpc_only(kind):
    with opened(kind, "http://localhost:1", headers={"x-bin": "v"}):
        pass
    refused = pytest.raises(
        InvalidInput, match="header 'X-Bin' cannot be sent: in gRPC, names that end in -bin are for bytes"
    )
    with refused, opened(kind, "localhost:1", headers={"X-Bin": "v"}):
        pass
