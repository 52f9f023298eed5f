"""The shipped edge, run by the real nginx in front of servers that a test chooses."""

from __future__ import annotations

import os
import re
import secrets
import signal
import socket
import ssl
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import pytest
import requests
import trustme

from hangtag.errors import from_http, from_status
from hangtag.model import ModelSpec
from hangtag.protocol import grpc_codec, rest_codec
from hangtag.protocol.request import Request
from programs import program
from support import PATIENCE, ROOT, eventually, free_port

FILES = ROOT / "serving" / "docker" / "edge"
TOKEN, OTHER = secrets.token_hex(32), secrets.token_hex(32)
SPEC = ModelSpec("fashion", signature="serving_default")
DIALECTS = {"grpc": grpc_codec, "rest": rest_codec}

both = pytest.mark.parametrize("protocol", list(DIALECTS))


@dataclass
class Certificates:
    """A certificate authority, what it signed, and one more authority that is not trusted."""

    folder: Path
    ca: trustme.CA = field(default_factory=trustme.CA)

    def __post_init__(self) -> None:
        self.ca.cert_pem.write_to_path(self.folder / "ca.crt")
        self._write("tls", self.ca.issue_cert("localhost", "127.0.0.1"))
        self._write("client", self.ca.issue_cert("client@example.org"))
        self._write("unknown", trustme.CA().issue_cert("client@example.org"))

    def _write(self, name: str, made: trustme.LeafCert) -> None:
        made.private_key_pem.write_to_path(self.folder / f"{name}.key")
        (self.folder / f"{name}.crt").write_bytes(b"".join(part.bytes() for part in made.cert_chain_pems))


@dataclass
class Edge:
    """A running nginx; `secrets` is the folder that compose would mount, `log` all that it writes."""

    process: subprocess.Popen[bytes]
    port: int
    secrets: Path
    log: Path

    def log_text(self) -> str:
        return self.log.read_text()

    def reload(self) -> None:
        self.process.send_signal(signal.SIGHUP)

    def caller(self, token: str | None = None, certificate: str | None = None) -> Caller:
        return Caller(self, token, certificate)


@contextmanager
def edge(
    folder: Path,
    secrets_folder: Path,
    rest: Sequence[str],
    grpc: Sequence[str],
    tls: str = "server",
    labels: str = "none",
    changed: Mapping[str, str] | None = None,
) -> Iterator[Edge]:
    """Run the shipped start.sh and nginx, with only paths, the port and the servers' addresses changed.

    And what else a test has `changed`, by the text in the files.
    """
    nginx = program("nginx", "usr/sbin/nginx")
    port = free_port()
    (folder / "tmp").mkdir(parents=True)
    user = " user root;" if os.geteuid() == 0 else ""  # else its workers could not enter the test's folder
    places = {"/edge/": f"{folder}/", "/tmp/": f"{folder}/tmp/", "listen 8443": f"listen 127.0.0.1:{port}"}  # noqa: S108
    places |= {"exec nginx": f"exec {nginx} -p {folder} -e stderr", "daemon off;": f"daemon off;{user}"}
    places |= changed or {}
    mounted = {"authority": "ca.crt", "certificate": "tls.crt", "key": "tls.key", "tokens": "tokens.map"}
    places |= {f"/run/secrets/edge_{name}": str(secrets_folder / file) for name, file in mounted.items()}
    files = {"nginx.conf": "nginx.conf", "upstreams.conf": "upstreams.conf", "start.sh": "start.sh"}
    files |= {f"tls-{tls}.conf": "tls.conf", f"labels-{labels}.conf": "labels.conf"}
    for source, name in files.items():
        text = (FILES / source).read_text()
        text = re.sub("|".join(places), lambda found: places[found[0]], text)  # in one go: new paths are left alone
        for old, addresses in (("tfserving:8501", rest), ("tfserving:8500", grpc)):
            text = re.sub(
                rf"^( *server ){old}(.*;)$",
                lambda line, addresses=addresses: "\n".join(f"{line[1]}{address}{line[2]}" for address in addresses),
                text,
                flags=re.MULTILINE,
            )
        (folder / name).write_text(text)
    with listening(["sh", folder / "start.sh"], port, folder / "log") as process:
        yield Edge(process, port, secrets_folder, folder / "log")


@contextmanager
def listening(command: Sequence[str | Path], port: int, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program that listens on `port` until the block ends."""
    with log.open("ab") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file)
    try:
        eventually(lambda: _listens(process, port, log), "nginx to listen")
        yield process
    finally:
        process.terminate()
        process.wait(PATIENCE)


def _listens(process: subprocess.Popen[bytes], port: int, log: Path) -> bool:
    assert process.poll() is None, log.read_text()
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def new_token() -> str:
    return secrets.token_hex(32)


class Caller:
    """Sends requests of the SDK through the edge, once, over either protocol; raises HangtagError."""

    def __init__(self, edge: Edge, token: str | None, certificate: str | None) -> None:
        folder = edge.secrets
        self.url = f"https://127.0.0.1:{edge.port}"
        self.headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        pair = None if certificate is None else (folder / f"{certificate}.crt", folder / f"{certificate}.key")
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.verify = str(folder / "ca.crt")
        self.session.cert = None if pair is None else (str(pair[0]), str(pair[1]))
        crt, key = (None, None) if pair is None else (pair[0].read_bytes(), pair[1].read_bytes())
        credentials = grpc.ssl_channel_credentials((folder / "ca.crt").read_bytes(), key, crt)
        options = [("grpc.enable_http_proxy", 0), ("grpc.enable_retries", 0), ("grpc.use_local_subchannel_pool", 1)]
        self.channel = grpc.secure_channel(f"127.0.0.1:{edge.port}", credentials, options)

    def http(self, verb: str, path: str, **options) -> requests.Response:
        return self.session.request(verb, self.url + path, headers=self.headers, timeout=60, **options)

    def grpc(self, method: str, body: bytes = b"") -> bytes:
        """The answer's bytes; raises grpc.RpcError."""
        metadata = [(key.lower(), value) for key, value in self.headers.items()]
        return self.channel.unary_unary(method)(body, metadata=metadata, timeout=60)

    def ask(self, exchange: Request):
        """What the answer says."""
        if exchange.path.startswith("/tensorflow"):
            try:
                return exchange.decode(self.grpc(exchange.path, exchange.body))
            except grpc.RpcError as error:
                raise from_status(error.code().name, error.details(), "the edge") from error
        answer = self.http(exchange.method, exchange.path, data=exchange.body)
        if answer.status_code != 200:
            raise from_http(answer.status_code, answer.content, "the edge")
        return exchange.decode(answer.content)

    def close(self) -> None:
        self.session.close()
        self.channel.close()

    def __enter__(self) -> Caller:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def pipelined(edge: Edge, token: str, count: int) -> list[int]:
    """The statuses of `count` status requests on one connection, sent a hundred at a time."""
    request = f"GET /v1/models/fashion HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
    context = ssl.create_default_context(cafile=edge.secrets / "ca.crt")
    received, statuses = b"", []
    with (
        socket.create_connection(("127.0.0.1", edge.port), timeout=60) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as secure,
    ):
        for asked in range(100, count + 1, 100):
            secure.sendall(request * 100)
            while len(statuses) < asked:
                piece = secure.recv(1 << 16)
                assert piece, f"the edge closed the connection after {len(statuses)} answers"
                *whole, received = (received + piece).split(b"\n")
                statuses += [int(line.split()[1]) for line in whole if line.startswith(b"HTTP/1.1 ")]
    return statuses
