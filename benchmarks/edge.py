"""What the edge adds to a call: one embedded server with and without nginx in front, in turn.

    python benchmarks/edge.py [--base-path models/fashion]

With TLS, a token and all limits, as shipped. Each figure is a ratio of median latencies in one run: the call through
the edge to the same call without it. The figures beside it are the floor: an nginx that only passes requests on, with
TLS and without. nginx comes from the Debian package, as in the tests.

The first model is Fashion-MNIST's, which computes an image in microseconds, so that a call is nearly all transport. The
second is a MobileNetV2 with random weights for photos of 224 x 224.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np

from figures import record
from large_models import SHAPES, publish_model

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from edges import TOKEN, Certificates, edge, listening
from hangtag import TLS, Client
from hangtag.cli.terminal import counted
from programs import program
from support import Server, free_port, serving

ROUNDS = 9
CALLS = {1: 100, 32: 50, 256: 15}  # of each way in a round, by images in a call
PHOTO_CALLS = {1: 15, 8: 5}
TURNS = 5  # calls of one way before the next has its turn: what else the machine does hits all ways alike
WAYS = {
    "": "through the edge",
    "_nginx_tls": "through a bare nginx, TLS",
    "_nginx": "through a bare nginx, no TLS",
}
Targets = tuple[str, str]  # of gRPC and REST


@contextmanager
def bare_nginx(folder: Path, server: Server, secrets: Path | None) -> Iterator[Targets]:
    """An nginx with the shipped buffers and connections kept to the server, and nothing else."""
    folder.mkdir()
    grpc_port, rest_port = free_port(), free_port()
    temporary = " ".join(f"{kind}_temp_path {folder}/{kind};" for kind in ("proxy", "fastcgi", "uwsgi", "scgi"))
    tls = f"ssl_certificate {secrets}/tls.crt; ssl_certificate_key {secrets}/tls.key;" if secrets else ""
    ssl = "ssl " if secrets else ""
    kept = "keepalive 128; keepalive_requests 1000000;"
    (folder / "nginx.conf").write_text(f"""
        user root; worker_processes auto; pid {folder}/pid; events {{}}
        http {{
          access_log off; client_body_temp_path {folder}/body; {temporary} {tls}
          client_max_body_size 64m; client_body_buffer_size 256k; keepalive_requests 1000000;
          upstream grpc {{ server {server.grpc}; {kept} }}
          upstream rest {{ server {server.rest.removeprefix("http://")}; {kept} }}
          server {{
            listen 127.0.0.1:{grpc_port} {ssl}http2;
            http2_body_preread_size 1m;
            location / {{ grpc_pass grpc://grpc; grpc_buffer_size 64k; }}
          }}
          server {{
            listen 127.0.0.1:{rest_port} {ssl};
            location / {{
              proxy_pass http://rest; proxy_http_version 1.1; proxy_set_header Connection "";
              proxy_buffer_size 16k; proxy_buffers 8 64k;
            }}
          }}
        }}""")
    nginx = program("nginx", "usr/sbin/nginx")
    command = [nginx, "-p", folder, "-c", folder / "nginx.conf", "-e", "stderr", "-g", "daemon off;"]
    s = "s" if secrets else ""
    with listening(command, grpc_port, folder / "log"):
        yield f"grpc{s}://localhost:{grpc_port}", f"http{s}://localhost:{rest_port}"


def medians(clients: Mapping[str, Client], images: np.ndarray, calls: int) -> dict[str, float]:
    """Seconds of a call, by way."""
    times: dict[str, list[float]] = {way: [] for way in clients}
    for _ in range(max(1, calls // TURNS)):
        for way, client in clients.items():
            for _ in range(TURNS):
                start = time.perf_counter()
                client.classify(images)
                times[way].append(time.perf_counter() - start)
    return {way: statistics.median(seconds) for way, seconds in times.items()}


def compare(protocol: str, clients: Mapping[str, Client], images: np.ndarray, numbers: Mapping[int, int]) -> None:
    """Record each way's ratio to the way without nginx; `numbers` of calls by images in a call."""
    model, noun = ("", "image") if images.shape[1:] == (28, 28) else ("mobilenet_", "photo")
    for count, calls in numbers.items():
        medians(clients, images[:count], TURNS)  # connections, metadata and plans
        rounds = [medians(clients, images[:count], calls) for _ in range(ROUNDS)]
        for way, name in WAYS.items():
            record(
                f"edge.{model}{protocol.lower()}_{count}{way}",
                f"{protocol} {name}, {counted(count, noun)} per call: latency",
                "the same call without nginx",
                [seconds[way] / seconds["direct"] for seconds in rounds],
                command="python benchmarks/edge.py",
            )


def measure(base_path: Path, images: np.ndarray, numbers: Mapping[int, int]) -> None:
    """Compare all ways to one model, over both protocols."""
    with ExitStack() as opened:
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory()))
        folder.chmod(0o755)
        Certificates(folder)
        (folder / "tokens.map").write_text(f'"Bearer {TOKEN}" me;\n')
        server = opened.enter_context(serving(base_path, folder / "log", "--model_name=fashion"))
        rest = server.rest.removeprefix("http://")
        running = opened.enter_context(edge(folder / "edge", folder, [rest], [server.grpc]))
        targets = {
            "direct": (server.grpc, server.rest),
            "": (f"grpcs://localhost:{running.port}", f"https://localhost:{running.port}"),
            "_nginx_tls": opened.enter_context(bare_nginx(folder / "tls", server, folder)),
            "_nginx": opened.enter_context(bare_nginx(folder / "plain", server, None)),
        }
        for position, protocol in enumerate(("gRPC", "REST")):
            clients = {}
            for way, addresses in targets.items():
                secure = addresses[position].startswith(("grpcs:", "https:"))
                options = {"tls": TLS(ca=folder / "ca.crt"), "headers": {"Authorization": f"Bearer {TOKEN}"}}
                clients[way] = opened.enter_context(Client(addresses[position], **(options if secure else {})))
            compare(protocol, clients, images, numbers)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--base-path", type=Path, default=Path("models/fashion"))
    arguments = parser.parse_args()
    random = np.random.default_rng(0)
    measure(arguments.base_path.absolute(), random.integers(0, 256, (max(CALLS), 28, 28), np.uint8), CALLS)
    with tempfile.TemporaryDirectory() as folder:
        publish_model("mobilenet", f"{folder}/mobilenet")
        photos = random.integers(0, 256, (max(PHOTO_CALLS), *SHAPES["mobilenet"]), np.uint8)
        measure(Path(folder) / "mobilenet", photos, PHOTO_CALLS)
    return 0


if __name__ == "__main__":
    sys.exit(main())
