"""The edge's limits, and what it keeps from the servers behind it and from the log."""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import grpc
import pytest
import yaml

from edges import OTHER, SPEC, TOKEN, Certificates, Edge, both, edge, listening, new_token, pipelined
from hangtag import ServerBusy, ServerUnavailable
from hangtag.protocol import grpc_codec, rest_codec
from programs import program
from support import ROOT, eventually, free_port

PREDICT = "/tensorflow.serving.PredictionService/Predict"


@pytest.fixture
def recording(secrets, tmp_path) -> Iterator[SimpleNamespace]:
    """An edge before servers that note every request and answer when `go` is set."""
    seen: list[dict[str, str]] = []
    go = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            seen.append({key.lower(): value for key, value in self.headers.items()})
            go.wait(60)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    class Service(grpc.GenericRpcHandler):
        def service(self, details):
            seen.append(dict(details.invocation_metadata))
            return grpc.unary_unary_rpc_method_handler(lambda body, context: go.wait(60) and body)

    rest = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    rest.daemon_threads = True
    threading.Thread(target=rest.serve_forever, daemon=True).start()
    server = grpc.server(ThreadPoolExecutor(8), handlers=[Service()])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        addresses = [f"127.0.0.1:{rest.server_port}"], [f"127.0.0.1:{port}"]
        with edge(tmp_path / "nginx", secrets, *addresses) as running:
            yield SimpleNamespace(edge=running, seen=seen, go=go)
    finally:
        go.set()
        rest.shutdown()
        rest.server_close()
        server.stop(None).wait()


def test_the_token_stays_at_the_edge(recording):
    """Neither the servers behind it nor the log get to see it, known or not."""
    recording.go.set()
    wrong = new_token()
    with recording.edge.caller(TOKEN) as alice, recording.edge.caller(wrong) as stranger:
        assert alice.http("GET", f"/v1/models/fashion?token={TOKEN}").status_code == 200
        alice.grpc(PREDICT)
        assert stranger.http("GET", "/v1/models/fashion").status_code == 401
        with pytest.raises(grpc.RpcError):
            stranger.grpc(PREDICT)
    assert len(recording.seen) == 2
    for headers in recording.seen:
        assert "authorization" not in headers
        assert TOKEN not in str(headers).replace(f"token={TOKEN}", "")
    log = eventually(
        lambda: recording.edge.log_text() if recording.edge.log_text().count("\n") >= 4 else None, "the log"
    )
    assert ' alice "GET /v1/models/fashion" 200 ' in log
    assert f' alice "POST {PREDICT}" 200 ' in log
    assert log.count(" 401 ") == 2
    assert TOKEN not in log
    assert wrong not in log


def test_a_client_has_64_requests_at_a_time(recording):
    """The next is refused, and other clients notice nothing."""
    statuses: list[int] = []

    def one():
        with recording.edge.caller(TOKEN) as alice:
            statuses.append(alice.http("GET", "/v1/models/fashion").status_code)

    threads = [threading.Thread(target=one) for _ in range(64)]
    for thread in threads:
        thread.start()
    eventually(lambda: len(recording.seen) == 64, "64 requests under way")
    with recording.edge.caller(TOKEN) as alice:
        with pytest.raises(ServerBusy, match="slow down"):
            alice.ask(rest_codec.status(SPEC))
        with pytest.raises(ServerBusy, match="slow down"):
            alice.ask(grpc_codec.status(SPEC))
    recording.go.set()
    with recording.edge.caller(OTHER) as bob:
        assert bob.http("GET", "/v1/models/fashion").status_code == 200
    for thread in threads:
        thread.join()
    assert statuses == [200] * 64


def test_a_client_above_its_rate_limit_is_refused(secrets, tmp_path):
    """By token, or by address for clients without one. The server is fast enough for it: another nginx."""
    port = free_port()
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    places = " ".join(f"{kind}_temp_path {tmp_path}/{kind};" for kind in kinds)
    config = f"""pid {tmp_path}/pid; events {{}}
    http {{ access_log off; keepalive_requests 1000000; {places}
      server {{ listen 127.0.0.1:{port}; location / {{ return 200 "{{}}\\n"; }} }} }}"""
    (tmp_path / "fast.conf").write_text(config)
    nginx = program("nginx", "usr/sbin/nginx")
    command = [nginx, "-p", tmp_path, "-c", tmp_path / "fast.conf", "-e", "stderr", "-g", "daemon off;"]
    address = [f"127.0.0.1:{port}"]
    with (
        listening(command, port, tmp_path / "fast.log"),
        edge(tmp_path / "nginx", secrets, address, address) as running,
    ):
        for token, usual in ((TOKEN, 200), (new_token(), 401)):
            statuses = pipelined(running, token, 6000)
            assert statuses[:1000] == [usual] * 1000  # the burst that is let through
            assert set(statuses) == {usual, 429}
        with running.caller(OTHER) as bob:
            assert bob.http("GET", "/v1/models/fashion").status_code == 200


@both
def test_with_no_server_left_the_edge_says_so(secrets, tmp_path, predict, protocol):
    unreachable = [f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"]
    with (
        edge(tmp_path / "nginx", secrets, unreachable, unreachable) as running,
        running.caller(TOKEN) as alice,
        pytest.raises(ServerUnavailable, match="no server behind the edge answered"),
    ):
        alice.ask(predict[protocol])


# ---- tokens in their exact case


class Upstream(BaseHTTPRequestHandler):
    """Answers every request at once, and keeps its connections."""

    protocol_version = "HTTP/1.1"
    paths: ClassVar[list[str]] = []
    connections = 0

    def setup(self) -> None:
        super().setup()
        Upstream.connections += 1

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
    with edge(tmp_path_factory.mktemp("edge") / "nginx", folder, address, address, labels="stable") as running:
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
    """A hundred requests one after the other need a few connections to the server, not a hundred."""
    Upstream.connections = 0
    with mixed.caller("AbCdEf") as alice:
        for _ in range(100):
            assert alice.http("GET", "/v1/models/fashion").status_code == 200
    assert Upstream.connections <= 10  # an idle second in between may cost one


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
    text = (ROOT / "serving" / "docker" / "edge" / "nginx.conf").read_text()
    whole = int(re.search(r"client_max_body_size (\d+)m;", text)[1])
    large, requests = (int(re.search(rf"limit_conn {zone} (\d+);", text)[1]) for zone in ("large_for_all", "all"))
    compose = yaml.safe_load((ROOT / "serving" / "docker" / "compose.yaml").read_text())["services"]["edge"]
    size = int(re.fullmatch(r"/tmp:size=(\d+)m", compose["tmpfs"][0])[1])  # noqa: S108 - the container's
    assert large * whole + requests * 4 <= size
    assert "proxy_max_temp_file_size 0;" in text


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
    times = re.findall(r"(client_header_timeout|client_body_timeout|send_timeout|keepalive_timeout) (\d+)s;", EDGE_CONF)
    assert {name: int(seconds) for name, seconds in times}.keys() == {
        "client_header_timeout",
        "client_body_timeout",
        "send_timeout",
        "keepalive_timeout",
    }
    assert all(int(seconds) <= 10 for _, seconds in times)


EDGE_CONF = (ROOT / "serving" / "docker" / "edge" / "nginx.conf").read_text()
