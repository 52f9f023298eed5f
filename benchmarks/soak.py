"""Five minutes of normal clients, attackers and new versions at once: no normal client may notice.

First with the compiled gRPC server, then with grpcio's, each for half of the time. Normal clients call over gRPC and
REST, without retries, and check each answer. Attackers hold connections and calls open, send half requests, endless
heads, floods and bombs. Every five seconds a copy of the model is renamed into place as the next version, and the
oldest is removed. The figures are printed; the exit code is 1 if a normal request failed or its answer was wrong, or if
memory grew by more than a tenth after the first third.
"""

from __future__ import annotations

import argparse
import base64
import gzip
import json
import shutil
import socket
import statistics
import struct
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np

from hangtag import Client
from hangtag.errors import HangtagError
from hangtag.model import ModelSpec
from hangtag.protocol import protobuf
from hangtag.protocol.grpc_codec import predict_request
from measures import resident
from serving import served

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
import http2_frames as h2

IMAGES = np.random.default_rng(0).integers(0, 256, (64, 28, 28), dtype=np.uint8)
ROWS = json.dumps({"instances": IMAGES[:8].tolist()}).encode()
CALL = predict_request(ModelSpec("fashion"), {"images": IMAGES[:1]})
SWAP_SECONDS = 5.0


class Soak:
    """Clients and attackers of one server."""

    def __init__(self, grpc: str, rest: str, expected: np.ndarray) -> None:
        self._grpc, self._rest, self._expected = grpc, rest, expected
        self.counts: Counter[str] = Counter()
        self.failures: list[str] = []
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._call, args=(t,)) for t in (grpc, grpc, f"http://{rest}")]
        self._threads += [threading.Thread(target=self._attack, args=(a,)) for a in (*HTTP_ATTACKS, *GRPC_ATTACKS)]

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End, and wait for all."""
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _call(self, target: str) -> None:
        random = np.random.default_rng(len(target))
        with Client(target, timeout=60, retries=0) as client:
            while not self._over.is_set():
                chosen = random.integers(0, len(IMAGES), random.integers(1, 33))
                try:
                    scores = client.predict({"images": IMAGES[chosen]})["probabilities"]
                except HangtagError as error:
                    self.failures.append(f"{target}: {type(error).__name__}: {error}")
                    continue
                self.counts["answers"] += 1
                if not np.allclose(scores, self._expected[chosen], atol=1e-5):
                    self.failures.append(f"{target}: a wrong answer")

    def _attack(self, attack: Callable[[str], None]) -> None:
        while not self._over.wait(0.2):
            with suppress(OSError):  # refused, reset or timed out, as it should be
                attack(self._grpc if attack in GRPC_ATTACKS else self._rest)
            self.counts["attacks"] += 1


# ---- attacks: each opens connections, sends, waits for a moment and leaves


def http(address: str, *requests: bytes, wait: float = 0.5) -> None:
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), 5) as connection:
        for request in requests:
            connection.sendall(request)
        connection.settimeout(wait)
        with suppress(OSError):
            connection.recv(1 << 20)


def post(body: bytes, size: int | None = None, *headers: str) -> bytes:
    lines = ["POST /v1/models/fashion:predict HTTP/1.1", f"Content-Length: {size or len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def http2(address: str, *frames: bytes, wait: float = 0.5) -> None:
    with h2.connect(address) as connection:
        connection.settimeout(5)
        for frame in frames:
            connection.sendall(frame)
        time.sleep(wait)


def idle_connections(address: str) -> None:
    host, _, port = address.rpartition(":")
    connections = [socket.create_connection((host, int(port)), 5) for _ in range(100)]
    time.sleep(1)
    for connection in connections:
        connection.close()


def half_bodies(address: str) -> None:
    http(address, post(b" " * 5_000_000, 200_000_000))


def endless_heads(address: str) -> None:
    http(address, b"GET / HTTP/1.1\r\nX: ", b"x" * 1_000_000)


def tiny_chunks(address: str) -> None:
    http(
        address,
        b"POST /v1/models/fashion:predict HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"1\r\n \r\n" * 50_000,
    )


def gzip_bombs(address: str) -> None:
    http(address, post(gzip.compress(b"\0" * 200_000_000), None, "Content-Encoding: gzip"), wait=5)


def deep_json(address: str) -> None:
    http(address, post(b'{"instances": ' + b"[" * 100_000))


def wrong_json(address: str) -> None:
    http(address, post(ROWS[:-2] + b', [[1, "a"]]]}'), post(b'{"instances": [' + b"[]," * 1000 + b"[]]}"), wait=2)


def unread_answers(address: str) -> None:
    http(address, post(ROWS) * 200)


def half_open_calls(address: str) -> None:
    http2(address, *(h2.frame(h2.HEADERS, h2.END_HEADERS, n, h2.call_headers()) for n in range(1, 401, 2)), wait=2)


def rapid_resets(address: str) -> None:
    reset = struct.pack(">I", 8)
    http2(address, *(h2.call(n, CALL) + h2.frame(h2.RESET, 0, n, reset) for n in range(1, 1001, 2)))


def endless_headers(address: str) -> None:
    more = (h2.frame(h2.CONTINUATION, 0, 1, h2.literal(f"x-{n}", "y" * 16000)) for n in range(100))
    http2(address, h2.frame(h2.HEADERS, 0, 1, h2.call_headers()), *more)


def pings(address: str) -> None:
    http2(address, h2.frame(h2.PING, 0, 0, b"\0" * 8) * 10_000)


def made_up_names(address: str) -> None:
    bodies = (predict_request(ModelSpec(f"{time.monotonic_ns()}" + "x" * 1000), {}) for _ in range(100))
    http2(address, *(h2.call(1 + 2 * n, body) for n, body in enumerate(bodies)))


def huge_images(address: str) -> None:
    """JPEG headers that claim 22,000 x 22,000 pixels, base64 over REST."""
    head = b"\xff\xd8\xff\xc0\0\x0b\x08" + struct.pack(">HHB", 22_000, 22_000, 1) + b"\1\x11\0" + bytes(600)
    rows = [{"b64": base64.b64encode(head).decode()}] * 50
    http(address, post(json.dumps({"signature_name": "encoded_images", "instances": rows}).encode()), wait=2)


def few_values(address: str) -> None:
    """One index for ten million elements, which is refused, and for as many class names as the limits allow."""
    http2(
        address, *(h2.call(1 + 2 * n, _labels(size)) for n, size in enumerate((10_000_000, 500_000, 500_000))), wait=3
    )


def many_fields(address: str) -> None:
    http2(address, h2.call(1, CALL + protobuf.block(3, b"") * 5_000))


def _labels(size: int) -> bytes:
    """A request for the names of `size` classes that has one index."""
    shape = protobuf.block(2, protobuf.block(2, protobuf.number(1, size)))
    tensor = protobuf.number(1, 9) + shape + protobuf.block(10, b"\7")  # DT_INT64, int64_val
    spec = protobuf.block(1, protobuf.text(1, "fashion") + protobuf.text(3, "labels"))
    return spec + protobuf.block(2, protobuf.block(1, b"index") + protobuf.block(2, tensor))


HTTP_ATTACKS = (
    idle_connections,
    half_bodies,
    endless_heads,
    tiny_chunks,
    gzip_bombs,
    deep_json,
    wrong_json,
    unread_answers,
    huge_images,
)
GRPC_ATTACKS = (half_open_calls, rapid_resets, endless_headers, pings, made_up_names, few_values, many_fields)


def main() -> int:
    """Soak both gRPC servers, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--version-folder", type=Path, required=True, help="a published version, models/fashion/1")
    parser.add_argument("--seconds", type=float, default=300, help="for both together (default 300)")
    options = parser.parse_args()
    return max(soak(front, options.version_folder, options.seconds / 2) for front in ("native", "grpcio"))


def soak(front: str, version_folder: Path, seconds: float) -> int:
    """The exit code."""
    with tempfile.TemporaryDirectory() as folder:
        base_path = Path(folder) / "fashion"
        shutil.copytree(version_folder, base_path / "1")
        with served(f"--model_base_path={base_path}", f"--grpc_front={front}") as (grpc, rest, process):
            with Client(grpc) as client:
                expected = client.predict({"images": IMAGES})["probabilities"]
            load = Soak(grpc, rest, expected)
            load.start()
            try:
                versions, samples = swap_versions(base_path, process, seconds)
            finally:
                load.stop()
    third = len(samples) // 3
    middle, end = statistics.median(samples[third : 2 * third]), statistics.median(samples[-third:])
    grown = end / middle - 1
    print(f"{front}: {load.counts['answers']} answers, {len(load.failures)} failed, {load.counts['attacks']} attacks, "
          f"{versions} versions")  # fmt: skip
    print(f"{front}: {middle:.0f} MiB in the second third, {end:.0f} in the last (medians, {grown:+.1%})")
    for failure in load.failures[:5]:
        print(failure)
    return 1 if load.failures or grown > 0.1 else 0


def swap_versions(base_path: Path, process: int, seconds: float) -> tuple[int, list[float]]:
    """Bring versions and take them away; returns their number, and the server's memory in MiB over time."""
    begun, version, samples = time.monotonic(), 1, []
    while time.monotonic() - begun < seconds:
        time.sleep(SWAP_SECONDS)
        version += 1
        shutil.copytree(base_path / str(version - 1), base_path / ".next")
        (base_path / ".next").rename(base_path / str(version))
        if version > 3:
            shutil.rmtree(base_path / str(version - 3))
        samples.append(resident(process=process))
    return version, samples


if __name__ == "__main__":
    sys.exit(main())
