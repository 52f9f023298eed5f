"""The edge's tokens, the labels it adds, and the connections and bodies that it keeps or closes."""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from typing import ClassVar

import pytest
import yaml

from edges import Certificates, Edge, edge, new_token
from support import ROOT, eventually

CONFIG = (ROOT / "serving" / "docker" / "edge" / "nginx.conf").read_text()


class Upstream(BaseHTTPRequestHandler):
    """Answers every request at once, and keeps its connections."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body are sent together
    paths: ClassVar[list[str]] = []
    connections: ClassVar[list[float]] = []  # when each was made

    def setup(self) -> None:
        super().setup()
        self.connections.append(time.monotonic())

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.paths.append(self.path)
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    do_POST = do_GET  # noqa: N815 - the name is http.server's

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    """An edge that adds labels, whose tokens differ in case only or have characters of regular expressions."""
    folder = tmp_path_factory.mktemp("secrets")
    Certificates(folder)
    (folder / "tokens.map").write_text(
        '"Bearer AbCdEf" alice;\n"Bearer aBcDeF" bob;\n# a comment\n  "Bearer a.c+d/e=~_-" carol;\n'
    )
    upstream = ThreadingHTTPServer(("127.0.0.1", 0), Upstream)
    threading.Thread(target=upstream.serve_forever, daemon=True).start()
    address = [f"127.0.0.1:{upstream.server_port}"]
    patient = {"client_body_timeout 5s": "client_body_timeout 600s"}  # bodies wait until a test has looked at them
    place = tmp_path_factory.mktemp("edge") / "nginx"
    with edge(place, folder, address, address, labels="stable", changed=patient) as running:
        yield running
    upstream.shutdown()
    upstream.server_close()


@pytest.mark.parametrize(
    ("token", "name"),
    [
        ("AbCdEf", "alice"),
        ("aBcDeF", "bob"),
        ("a.c+d/e=~_-", "carol"),
        ("abcdef", None),
        ("ABCDEF", None),
        ("AbCdEf ", "alice"),  # HTTP takes blanks at the end away
        ("AbCdEfg", None),
        ("AbCdE", None),
        ("abc+d/e=~_-", None),
        ("a.ccd/e=~_-", None),
    ],
)
def test_tokens_are_compared_in_their_exact_case(mixed, token, name):
    with mixed.caller(token.strip()) as caller:
        status = caller.http("GET", "/v1/models/fashion").status_code
    assert status == (200 if name else 401)
    if name:
        eventually(lambda: f' {name} "GET /v1/models/fashion" 200 ' in mixed.log_text(), "the log to have the name")


def test_rest_requests_without_a_label_get_the_label_stable(mixed):
    """A path that names a version or a label is not changed."""
    asked = {
        "/v1/models/fashion:predict": "/v1/models/fashion/labels/stable:predict",
        "/v1/models/fashion:classify": "/v1/models/fashion/labels/stable:classify",
        "/v1/models/fashion/metadata": "/v1/models/fashion/labels/stable/metadata",
        "/v1/models/fashion/versions/1:predict": "/v1/models/fashion/versions/1:predict",
        "/v1/models/fashion/labels/canary:predict": "/v1/models/fashion/labels/canary:predict",
        "/v1/models/fashion": "/v1/models/fashion",
    }
    Upstream.paths.clear()
    with mixed.caller("AbCdEf") as caller:
        for path in asked:
            verb = "POST" if ":" in path else "GET"
            assert caller.http(verb, path).status_code == 200
    assert Upstream.paths == list(asked.values())


def test_connections_to_the_servers_are_kept(mixed):
    """A hundred requests one after the other need one connection to the server, and one more after each idle time."""
    Upstream.connections.clear()
    answered = [time.monotonic()]
    with mixed.caller("AbCdEf") as alice:
        for _ in range(100):
            assert alice.http("GET", "/v1/models/fashion").status_code == 200
            answered.append(time.monotonic())
    idle = sum(after - before > 2 for before, after in pairwise(answered))
    assert len(Upstream.connections) <= 1 + idle


# ---- bodies, and connections that do nothing


def stored(running: Edge) -> int:
    """Bytes of request bodies in nginx's temporary files, which have no name any more."""
    total = 0
    for process in [running.process.pid, *workers(running)]:
        for entry in Path(f"/proc/{process}/fd").iterdir():
            with contextlib.suppress(OSError):
                if "client_body" in str(entry.readlink()):
                    total += entry.stat().st_size
    return total


def workers(running: Edge) -> list[int]:
    pid = running.process.pid
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def upload(running: Edge, token: str | None, size: int) -> ssl.SSLSocket:
    """A request whose body of `size` bytes is sent but for the last one."""
    context = ssl.create_default_context(cafile=running.secrets / "ca.crt")
    plain = socket.create_connection(("127.0.0.1", running.port), timeout=60)
    secure = context.wrap_socket(plain, server_hostname="localhost")
    authorization = f"Authorization: Bearer {token}\r\n" if token else ""
    head = (
        f"POST /v1/models/fashion:predict HTTP/1.1\r\nHost: localhost\r\n{authorization}Content-Length: {size}\r\n\r\n"
    )
    with contextlib.suppress(OSError):  # refused before the body has ended
        secure.sendall(head.encode() + bytes(size - 1))
    return secure


def test_what_one_client_can_store_is_bounded(mixed):
    """Of large bodies two at a time for each token; without a token nothing is kept."""
    size = 5_000_000
    with contextlib.ExitStack() as opened:
        for _ in range(3):
            opened.enter_context(upload(mixed, new_token(), size))
        assert stored(mixed) == 0
        uploads = [opened.enter_context(upload(mixed, "AbCdEf", size)) for _ in range(4)]
        assert stored(mixed) < 2 * size
        assert [one.recv(100).split()[1] for one in uploads[2:]] == [b"429", b"429"]
        with mixed.caller("aBcDeF") as bob:
            assert bob.http("GET", "/v1/models/fashion").status_code == 200


def test_all_that_clients_can_store_fits_into_the_tmpfs():
    """By the numbers in nginx.conf and compose.yaml."""
    whole = int(re.search(r"client_max_body_size (\d+)m;", CONFIG)[1])
    large, requests = (int(re.search(rf"limit_conn {zone} (\d+);", CONFIG)[1]) for zone in ("large_for_all", "all"))
    compose = yaml.safe_load((ROOT / "serving" / "docker" / "compose.yaml").read_text())["services"]["edge"]
    size = int(re.fullmatch(r"/tmp:size=(\d+)m", compose["tmpfs"][0])[1])  # noqa: S108 - the container's
    assert large * whole + requests * 4 <= size
    assert "proxy_max_temp_file_size 0;" in CONFIG


def test_connections_that_do_nothing_are_closed(mixed):
    """Before the handshake, after it over either protocol, and with half a head; without a token."""
    context = ssl.create_default_context(cafile=mixed.secrets / "ca.crt")
    context.set_alpn_protocols(["h2", "http/1.1"])

    def connect(*, tls: bool, data: bytes = b"") -> socket.socket:
        opened = socket.create_connection(("127.0.0.1", mixed.port), timeout=60)
        if tls:
            opened = context.wrap_socket(opened, server_hostname="localhost")
        if data:
            opened.sendall(data)
        return opened

    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
    idle = [connect(tls=False), connect(tls=True), connect(tls=True, data=preface)]
    for one in idle:
        with one, contextlib.suppress(ConnectionResetError):
            while one.recv(1 << 16):  # HTTP/2's own frames come first
                pass
    times = re.findall(r"(client_header_timeout|client_body_timeout|send_timeout|keepalive_timeout) (\d+)s;", CONFIG)
    assert {name: int(seconds) for name, seconds in times}.keys() == {
        "client_header_timeout",
        "client_body_timeout",
        "send_timeout",
        "keepalive_timeout",
    }
    assert all(int(seconds) <= 10 for _, seconds in times)
