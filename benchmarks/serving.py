"""How fast the embedded server answers, beside a yardstick measured in the same run: see --help.

Loads are made by h2load (gRPC) and wrk (REST), both unpacked under build/tools by Debian's own tools if they are not
installed. An answer counts only if it is one: the bytes of all answers must be those of as many right ones.

The yardstick is a grpc.aio server that answers a constant of the same size, the ceiling of one grpcio process. Read
the ratios, not the absolutes. For the C++ server, the same way on the same kind of machine, they were 1.9, 1.2 and
0.87 over gRPC, and 1.5, 0.32 and 0.026 over REST (as a ratio to the yardstick's figure for batch 1).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from hangtag import Client
from hangtag.model import ModelSpec
from hangtag.protocol.grpc_codec import predict_request

ROOT = Path(__file__).resolve().parent.parent
TOOLS = ROOT / "build" / "tools"
PACKAGES = ["nghttp2-client", "wrk", "libev4", "libjansson4", "libjemalloc2", "libnghttp2-14", "libxml2"]
PACKAGES += ["libluajit2-5.1-2", "libluajit-5.1-2"]
METHOD = "/tensorflow.serving.PredictionService/Predict"
CELLS = {"batch 1, 8 clients": (1, 8), "batch 32, 8 clients": (32, 8), "batch 256, 4 clients": (256, 4)}


def tool(name: str) -> Path:
    """The program, unpacked without root if the machine has none."""
    found = shutil.which(name)
    if found:
        return Path(found)
    program = TOOLS / "root" / "usr" / "bin" / name
    if not program.exists():
        TOOLS.mkdir(parents=True, exist_ok=True)
        for package in PACKAGES:  # names differ between releases: what is not there may not be needed
            subprocess.run(["apt-get", "download", package], cwd=TOOLS, capture_output=True, check=False)
        for package in TOOLS.glob("*.deb"):
            subprocess.run(["dpkg-deb", "-x", package, TOOLS / "root"], check=True)
    if not program.exists():
        sys.exit(f"{name} is not installed, and apt-get download did not bring it")
    return program


def environment() -> dict[str, str]:
    return os.environ | {"LD_LIBRARY_PATH": ":".join(str(p) for p in (TOOLS / "root" / "usr" / "lib").glob("*"))}


def h2load(port: int, body: Path, clients: int, seconds: float, answer_bytes: int) -> float:
    """Calls a second; exits if an answer was not the right one."""
    rate = count_calls(port, body, clients, 50 * clients, answer_bytes)
    return count_calls(port, body, clients, max(clients, round(rate * seconds)), answer_bytes)


def count_calls(port: int, body: Path, clients: int, calls: int, answer_bytes: int) -> float:
    done = subprocess.run(
        [tool("h2load"), "-t1", f"-c{clients}", "-m1", f"-n{calls}", f"-d{body}",
         "-Hcontent-type: application/grpc", "-Hte: trailers", f"http://127.0.0.1:{port}{METHOD}"],
        capture_output=True, text=True, check=True, env=environment(),
    )  # fmt: skip
    succeeded = int(re.search(r"(\d+) succeeded", done.stdout).group(1))  # type: ignore[union-attr]
    data = int(re.search(r"\((\d+)\) data", done.stdout).group(1))  # type: ignore[union-attr]
    if succeeded != calls or data != calls * (answer_bytes + 5):
        sys.exit(f"answers that are none: {calls * (answer_bytes + 5)} bytes expected\n{done.stdout}")
    return float(re.search(r"([\d.]+) req/s", done.stdout).group(1))  # type: ignore[union-attr]


def wrk(port: int, body: Path, clients: int, seconds: float) -> float:
    """Requests a second; exits if an answer was not the right one."""
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(
            f'local file = io.open("{body}", "rb")\nwrk.method = "POST"\nwrk.body = file:read("*a")\n'
            'wrk.headers["Content-Type"] = "application/json"\n'
        )
        script.flush()
        url = f"http://127.0.0.1:{port}/v1/models/fashion:predict"
        done = subprocess.run(
            [tool("wrk"), "-t1", f"-c{clients}", f"-d{max(1, round(seconds))}s", "-s", script.name, url],
            capture_output=True, text=True, check=True, env=environment(),
        )  # fmt: skip
    if "Non-2xx" in done.stdout or "Socket errors" in done.stdout:
        sys.exit(f"answers that are none: {done.stdout}")
    return float(re.search(r"Requests/sec:\s+([\d.]+)", done.stdout).group(1))  # type: ignore[union-attr]


async def constant(port: int, answers: dict[int, bytes]) -> None:
    """The yardstick: a grpc.aio server whose answer depends on the request's size alone."""
    import grpc

    class Handler(grpc.GenericRpcHandler):
        def service(self, details: object) -> object:
            return grpc.unary_unary_rpc_method_handler(self.answer)

        async def answer(self, body: bytes, context: object) -> bytes:
            return answers[len(body)]

    server = grpc.aio.server(options=[("grpc.max_receive_message_length", -1)])
    server.add_generic_rpc_handlers((Handler(),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await server.wait_for_termination()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as opened:
        return int(opened.getsockname()[1])


@contextmanager
def running(command: list[object], port: int) -> Iterator[subprocess.Popen[bytes]]:
    """A server process, from its port's opening to the block's end."""
    process = subprocess.Popen([str(part) for part in command], stdout=subprocess.DEVNULL)
    try:
        end = time.monotonic() + 120
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                if process.poll() is not None or time.monotonic() > end:
                    sys.exit("a server did not start")
                time.sleep(0.05)
        yield process
    finally:
        process.terminate()
        process.wait()


def measure(options: argparse.Namespace, work: Path) -> dict[str, dict[str, float]]:
    random = np.random.default_rng(0)
    bodies: dict[int, Path] = {}
    documents: dict[int, Path] = {}
    grpc, rest, yard = free_port(), free_port(), free_port()
    hangtag = [sys.executable, "-m", "hangtag.cli"]
    server = [*hangtag, "serve", f"--model_base_path={options.base_path}", "--model_name=fashion", f"--port={grpc}",
              f"--rest_api_port={rest}", *options.flags]  # fmt: skip
    with running(server, rest), Client(f"127.0.0.1:{grpc}") as client:
        answers: dict[int, bytes] = {}
        sizes: dict[int, int] = {}
        for batch, _ in CELLS.values():
            images = random.integers(0, 256, (batch, 28, 28), dtype=np.uint8)
            request = predict_request(ModelSpec("fashion"), {"images": images})
            bodies[batch], documents[batch] = work / f"{batch}.bin", work / f"{batch}.json"
            bodies[batch].write_bytes(b"\0" + len(request).to_bytes(4, "big") + request)
            documents[batch].write_text(json.dumps({"instances": images.tolist()}))
            answer = raw_answer(grpc, request)
            answers[len(request)], sizes[batch] = answer, len(answer)
            assert client.classify(images).probabilities.shape == (batch, 10)
        (work / "answers.json").write_text(json.dumps({str(size): answer.hex() for size, answer in answers.items()}))
        figures: dict[str, dict[str, list[float]]] = {}
        with running([sys.executable, __file__, "--constant", yard, work / "answers.json"], yard):
            for _ in range(options.rounds):
                for cell, (batch, clients) in CELLS.items():
                    row = figures.setdefault(cell, {"yardstick": [], "gRPC": [], "REST": []})
                    row["yardstick"].append(h2load(yard, bodies[batch], clients, options.seconds, sizes[batch]))
                    row["gRPC"].append(h2load(grpc, bodies[batch], clients, options.seconds, sizes[batch]))
                    row["REST"].append(wrk(rest, documents[batch], 8, options.seconds))
    return {cell: {name: statistics.median(values) for name, values in row.items()} for cell, row in figures.items()}


def raw_answer(port: int, request: bytes) -> bytes:
    import grpc

    with grpc.insecure_channel(f"127.0.0.1:{port}", options=[("grpc.enable_http_proxy", 0)]) as channel:
        answer: bytes = channel.unary_unary(METHOD)(request, timeout=30)
    return answer


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base-path", type=Path, help="a model like ours (default: one is trained for an epoch)")
    parser.add_argument("--rounds", type=int, default=3, help="medians are taken of so many (default 3)")
    parser.add_argument("--seconds", type=float, default=2.0, help="for each figure (default 2)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--constant", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("flags", nargs="*", help="more flags for hangtag serve, after --")
    options = parser.parse_args()
    if options.constant:
        texts = json.loads(Path(options.constant[1]).read_text())
        asyncio.run(constant(int(options.constant[0]), {int(k): bytes.fromhex(v) for k, v in texts.items()}))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        if options.base_path is None:
            options.base_path = work / "fashion"
            command = [sys.executable, "-m", "hangtag.cli", "export", "--epochs=1", f"--base-path={options.base_path}"]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        figures = measure(options, work)
    if options.json:
        print(json.dumps(figures, indent=2))
        return 0
    unit = figures["batch 1, 8 clients"]["yardstick"]
    print(f"{'calls a second':22}{'yardstick':>10}{'gRPC':>8}{'ratio':>7}{'REST':>8}{'to batch 1':>12}")
    for cell, row in figures.items():
        print(
            f"{cell:22}{row['yardstick']:10.0f}{row['gRPC']:8.0f}{row['gRPC'] / row['yardstick']:7.2f}"
            f"{row['REST']:8.0f}{row['REST'] / unit:12.3f}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
