"""Over REST the environment's and a session's rules hold as requests knows them: proxies, .netrc, CA bundles."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import requests
import trustme
from requests.adapters import HTTPAdapter

from both_clients import opened
from fake_server import FIRST_PIXEL, Model, model_server
from hangtag import TLS, Client, ServerUnavailable
from raw_server import handling
from sample_images import PICTURES


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ssl.SSLContext]:
    """The PEM file of an authority, and a server's context for models.example.test."""
    ca = trustme.CA()
    file = tmp_path_factory.mktemp("tls") / "ca.pem"
    ca.cert_pem.write_to_path(file)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("models.example.test", "localhost").configure_cert(context)
    return str(file), context


@contextmanager
def tunnelling(target: str) -> Iterator[tuple[str, list[bytes]]]:
    """A proxy that connects every CONNECT to `target`; yields its address and the heads of the requests."""
    heads: list[bytes] = []

    def pump(source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)

    def handle(connection: socket.socket) -> None:
        heads.append(connection.recv(65536))
        host, port = target.rpartition("//")[2].split(":")
        with socket.create_connection((host, int(port))) as server:
            connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            threading.Thread(target=pump, args=(server, connection), daemon=True).start()
            pump(connection, server)

    with handling(handle) as address:
        yield address, heads


@pytest.fixture
def no_environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("no_proxy", "NO_PROXY", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def test_a_proxy_carries_tls_in_a_tunnel(authority, no_environment):
    """With the proxy's own password in CONNECT only, and the name of the server in TLS."""
    file, context = authority
    model = Model(FIRST_PIXEL)
    with model_server(model, "rest", context=context) as target, tunnelling(target) as (proxy, heads):
        no_environment.setenv("https_proxy", proxy.replace("//", "//me:s3cret@"))
        with Client("https://models.example.test", tls=TLS(ca=file), timeout=60) as client:
            for _ in range(3):
                assert client.classify(PICTURES[:3]).indices.tolist() == [0, 1, 2]
    assert len(heads) == 1  # the tunnel is kept
    assert heads[0].startswith(b"CONNECT models.example.test:443 HTTP/1.1\r\n")
    assert b"Proxy-Authorization: Basic bWU6czNjcmV0" in heads[0]
    assert not any("proxy-authorization" in request for request in model.requests)


def test_a_proxy_that_refuses_the_tunnel_is_named(authority, no_environment):
    def handle(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 407 X\r\nContent-Length: 0\r\n\r\n")

    with handling(handle) as proxy:
        no_environment.setenv("https_proxy", proxy)
        with (
            Client("https://models.example.test", retries=0) as client,
            pytest.raises(ServerUnavailable, match="the proxy answers HTTP 407 to CONNECT"),
        ):
            client.status()


def test_a_bundle_of_authorities_in_the_environment_is_trusted(authority, no_environment):
    file, context = authority
    with model_server(Model(FIRST_PIXEL), "rest", context=context) as target, tunnelling(target) as (proxy, _):
        no_environment.setenv("https_proxy", proxy)
        with (
            Client("https://models.example.test", retries=0) as client,
            pytest.raises(ServerUnavailable, match="verify"),
        ):
            client.labels()
        no_environment.setenv("REQUESTS_CA_BUNDLE", file)
        with Client("https://models.example.test", timeout=60) as client:
            assert client.labels()[0] == "class 0"


def test_a_password_of_netrc_is_sent_through_a_proxy(no_environment, tmp_path):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine models.example.test login me password s3cret\n")
    no_environment.setenv("NETRC", str(netrc))
    model = Model(FIRST_PIXEL)
    with model_server(model, "rest") as proxy:
        no_environment.setenv("http_proxy", proxy)
        with Client("http://models.example.test:8501", version=1, timeout=60) as client:
            assert client.classify(PICTURES[:2]).indices.tolist() == [0, 1]
    assert model.requests[-1]["authorization"] == "Basic bWU6czNjcmV0"
    assert model.requests[-1]["host"] == "models.example.test:8501"


def test_a_session_lends_its_headers_password_verification_and_cookies(authority, no_environment):
    file, context = authority
    model = Model(FIRST_PIXEL)
    with model_server(model, "rest", context=context) as target, requests.Session() as session:
        session.verify, session.auth, session.headers["x-team"] = file, ("me", "s3cret"), "shoes"
        session.cookies.set("place", "7")
        with Client(target.replace("127.0.0.1", "localhost"), session=session, timeout=60) as client:
            assert client.classify(PICTURES[:2]).indices.tolist() == [0, 1]
    sent = model.requests[-1]
    assert (sent["authorization"], sent["x-team"], sent["cookie"]) == ("Basic bWU6czNjcmV0", "shoes", "place=7")


def test_an_adapter_of_the_callers_sends_the_requests():
    class Counting(HTTPAdapter):
        sent = 0

        def send(self, *arguments, **options):
            self.sent += 1
            return super().send(*arguments, **options)

    adapter = Counting()
    with model_server(Model(FIRST_PIXEL), "rest") as target, requests.Session() as session:
        session.mount("http://", adapter)
        with Client(target, session=session, timeout=60) as client:
            assert client.classify(PICTURES[:2]).indices.tolist() == [0, 1]
    assert adapter.sent >= 2


@pytest.mark.parametrize("name", ["wrong name", "unknown authority"])
def test_a_certificate_that_is_not_trusted_is_not_tried_again(authority, kind, name):
    """It will not be trusted in a second."""
    file, context = authority
    connections = []

    def handle(connection: socket.socket) -> None:
        connections.append(1)
        with suppress(OSError):
            context.wrap_socket(connection, server_side=True).close()

    trusted = TLS(ca=file) if name == "wrong name" else None
    with handling(handle) as address:
        host = "127.0.0.1" if trusted else "localhost"
        target = f"https://{host}:{address.rpartition(':')[2]}"
        with (
            opened(kind, target, tls=trusted, retries=5, timeout=60) as client,
            pytest.raises(ServerUnavailable, match=r"(?i)certificate.?verify.?failed"),
        ):
            client.status()
    assert len(connections) == 1


def test_a_certificate_that_is_not_trusted_ends_a_grpc_call_at_once(kind, tmp_path):
    import grpc

    ca = trustme.CA()
    issued = ca.issue_cert("localhost")
    pair = (issued.private_key_pem.bytes(), issued.cert_chain_pems[0].bytes())
    other = Path(tmp_path / "other.pem")
    trustme.CA().cert_pem.write_to_path(other)
    credentials = grpc.ssl_server_credentials([pair])
    untrusted = pytest.raises(ServerUnavailable, match="CERTIFICATE_VERIFY_FAILED")
    with (
        model_server(Model(FIRST_PIXEL), "grpc", credentials=credentials) as target,
        opened(kind, f"grpcs://{target}", tls=TLS(ca=other), retries=1000, timeout=600) as client,
        untrusted,
    ):
        client.status()
