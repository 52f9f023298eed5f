"""The edge's limits, and what it keeps from the servers behind it and from the log."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import grpc
import pytest

from edges import FILES, OTHER, SPEC, TOKEN, both, edge, listening, new_token, pipelined
from hangtag import ServerBusy, ServerUnavailable
from hangtag.protocol import grpc_codec, rest_codec
from programs import program
from support import PATIENCE, eventually, free_port

PREDICT = "/tensorflow.serving.PredictionService/Predict"


@pytest.fixture
def recording(secrets, tmp_path) -> Iterator[SimpleNamespace]:
    """An edge before servers that note every request and answer when `go` is set."""
    seen: list[dict[str, str]] = []
    go = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            seen.append({key.lower(): value for key, value in self.headers.items()})
            go.wait(PATIENCE)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    class Service(grpc.GenericRpcHandler):
        def service(self, details):
            seen.append(dict(details.invocation_metadata))
            return grpc.unary_unary_rpc_method_handler(lambda body, context: go.wait(PATIENCE) and body)

    class Server(ThreadingHTTPServer):
        request_queue_size = 128  # a connection beyond it waits for seconds, and nginx gives it up

    rest = Server(("127.0.0.1", 0), Handler)
    threading.Thread(target=rest.serve_forever, daemon=True).start()
    server = grpc.server(ThreadPoolExecutor(8), handlers=[Service()])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        addresses = [f"127.0.0.1:{rest.server_port}"], [f"127.0.0.1:{port}"]
        patient = {f"{protocol}_read_timeout 30s": f"{protocol}_read_timeout 600s" for protocol in ("proxy", "grpc")}
        with edge(tmp_path / "nginx", secrets, *addresses, changed=patient) as running:
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
    with recording.edge.caller(TOKEN) as alice, recording.edge.caller(wrong) as unknown:
        assert alice.http("GET", f"/v1/models/fashion?token={TOKEN}").status_code == 200
        alice.grpc(PREDICT)
        assert unknown.http("GET", "/v1/models/fashion").status_code == 401
        with pytest.raises(grpc.RpcError):
            unknown.grpc(PREDICT)
    assert len(recording.seen) == 2
    for headers in recording.seen:
        assert "authorization" not in headers
        assert TOKEN not in str(headers).replace(f"token={TOKEN}", "")
    log = eventually(
        lambda: (text := recording.edge.log_text()) and text.count(" 401 ") + text.count(" alice ") >= 4 and text,
        "the log",
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
    for first in range(0, 64, 8):  # not all at once: nginx gives a client five seconds for its handshake
        for thread in threads[first : first + 8]:
            thread.start()
        eventually(lambda n=first + 8: len(recording.seen) == n, "more requests under way")
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
    """By token, or by address for clients without one: after the burst of 1,000 it is the rate that counts.

    At one request a minute the burst is all that any machine gets through. The server is another nginx.
    """
    assert "rate=500r/s;" in (FILES / "nginx.conf").read_text()
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
        edge(tmp_path / "nginx", secrets, address, address, changed={"rate=500r/s": "rate=1r/m"}) as running,
    ):
        for token, usual in ((TOKEN, 200), (new_token(), 401)):
            statuses = pipelined(running, token, 1200)
            assert statuses[:1000] == [usual] * 1000
            assert statuses[1100:] == [429] * 100
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
