"""How fast the embedded server answers, beside others measured in the same run: see --help.

Loads are made by h2load (gRPC) and wrk (REST), both unpacked under build/tools by Debian's own tools if they are not
installed. The bytes of all answers must be those of as many right ones, else the script ends.

Always measured: a grpc.aio server that answers a constant of the same size, the ceiling of one grpcio process.
--peer GRPC REST adds any running TensorFlow Serving, by its addresses; it must serve the version in --base-path under
the same model name. --before FOLDER adds `hangtag serve` from another checkout. All are loaded in turn, cell by cell,
and each figure is a ratio of calls a second within one round.
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
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np

from figures import record
from hangtag.cli.terminal import counted
from hangtag.model import ModelSpec
from hangtag.protocol.grpc_codec import predict_request

ROOT = Path(__file__).resolve().parent.parent
TOOLS = ROOT / "build" / "tools"
PACKAGES = ["nghttp2-client", "wrk", "libev4", "libjansson4", "libjemalloc2", "libnghttp2-14", "libxml2"]
PACKAGES += ["libluajit2-5.1-2", "libluajit-5.1-2"]
MODEL = "fashion"
METHOD = "/tensorflow.serving.PredictionService/Predict"
CELLS = [("gRPC", 1, 1), ("gRPC", 1, 8), ("gRPC", 32, 8), ("gRPC", 256, 4)]
CELLS += [("REST", 1, 1), ("REST", 1, 8), ("REST", 32, 8), ("REST", 256, 8)]
"""Protocol, images in a call, clients."""
CONSTANT = "a grpc.aio server that returns a constant"
KEYS = {CONSTANT: "constant", "before": "before", "TensorFlow Serving": "peer"}


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


def h2load(address: str, body: Path, clients: int, seconds: float, answer_bytes: int) -> float:
    """Calls a second; exits if an answer was not the right one."""
    rate = count_calls(address, body, clients, 50 * clients, answer_bytes)
    return count_calls(address, body, clients, max(clients, round(rate * seconds)), answer_bytes)


def count_calls(address: str, body: Path, clients: int, calls: int, answer_bytes: int) -> float:
    done = subprocess.run(
        [tool("h2load"), "-t1", f"-c{clients}", "-m1", f"-n{calls}", f"-d{body}",
         "-Hcontent-type: application/grpc", "-Hte: trailers", f"http://{address}{METHOD}"],
        capture_output=True, text=True, check=True, env=environment(),
    )  # fmt: skip
    succeeded = int(re.search(r"(\d+) succeeded", done.stdout).group(1))  # type: ignore[union-attr]
    data = int(re.search(r"\((\d+)\) data", done.stdout).group(1))  # type: ignore[union-attr]
    if succeeded != calls or data != calls * (answer_bytes + 5):
        sys.exit(f"wrong answers: {calls * (answer_bytes + 5)} bytes expected\n{done.stdout}")
    return float(re.search(r"([\d.]+) req/s", done.stdout).group(1))  # type: ignore[union-attr]


def wrk(address: str, body: Path, clients: int, seconds: float) -> float:
    """Requests a second; exits if an answer was not the right one."""
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(
            f'local file = io.open("{body}", "rb")\nwrk.method = "POST"\nwrk.body = file:read("*a")\n'
            'wrk.headers["Content-Type"] = "application/json"\n'
        )
        script.flush()
        url = f"http://{address}/v1/models/{MODEL}:predict"
        done = subprocess.run(
            [tool("wrk"), "-t1", f"-c{clients}", f"-d{max(1, round(seconds))}s", "-s", script.name, url],
            capture_output=True, text=True, check=True, env=environment(),
        )  # fmt: skip
    if "Non-2xx" in done.stdout or "Socket errors" in done.stdout:
        sys.exit(f"wrong answers: {done.stdout}")
    return float(re.search(r"Requests/sec:\s+([\d.]+)", done.stdout).group(1))  # type: ignore[union-attr]


async def constant(port: int, answers: dict[int, bytes]) -> None:
    """A grpc.aio server whose answer depends on the request's size alone."""
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
def running(
    command: list[object], port: int, environment: dict[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A server process, from its port's opening to the block's end."""
    process = subprocess.Popen([str(part) for part in command], stdout=subprocess.DEVNULL, env=environment)
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


@contextmanager
def served(*flags: str, tree: Path | None = None) -> Iterator[tuple[str, str, int]]:
    """`hangtag serve`, of this checkout or of another one; its addresses for gRPC and REST, and its process."""
    grpc, rest = free_port(), free_port()
    command = [sys.executable, "-m", "hangtag.cli", "serve", f"--port={grpc}", f"--rest_api_port={rest}", *flags]
    folders = [] if tree is None else [str(tree / name) for name in ("client", "export", "serving")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(folders)} if folders else None
    with running(command, rest, environment) as process:
        yield f"127.0.0.1:{grpc}", f"127.0.0.1:{rest}", process.pid


def framed(request: bytes) -> bytes:
    """A gRPC message as it stands in a body: not compressed, with its length."""
    return b"\0" + len(request).to_bytes(4, "big") + request


def measure(options: argparse.Namespace, work: Path) -> None:
    """Load every server in turn, and record the figures."""
    random = np.random.default_rng(0)
    batches = sorted({batch for _, batch, _ in CELLS})
    requests: dict[int, bytes] = {}
    for batch in batches:
        images = random.integers(0, 256, (batch, 28, 28), dtype=np.uint8)
        requests[batch] = predict_request(ModelSpec(MODEL), {"images": images})
        (work / f"{batch}.bin").write_bytes(framed(requests[batch]))
        (work / f"{batch}.json").write_text(json.dumps({"instances": images.tolist()}))
    flags = [f"--model_base_path={options.base_path}", f"--model_name={MODEL}", *options.flags]
    with ExitStack() as stack:
        servers = {"hangtag serve": stack.enter_context(served(*flags))[:2]}
        if options.before:
            servers["before"] = stack.enter_context(served(*flags, tree=options.before))[:2]
        if options.peer:
            servers["TensorFlow Serving"] = (options.peer[0], options.peer[1])
        answers = {name: {b: raw_answer(grpc, requests[b]) for b in batches} for name, (grpc, _) in servers.items()}
        constants = {len(requests[batch]): answers["hangtag serve"][batch].hex() for batch in batches}
        (work / "answers.json").write_text(json.dumps(constants))
        port = free_port()
        stack.enter_context(running([sys.executable, __file__, "--constant", port, work / "answers.json"], port))
        servers[CONSTANT], answers[CONSTANT] = (f"127.0.0.1:{port}", ""), answers["hangtag serve"]
        found: dict[tuple[str, tuple[str, int, int]], list[float]] = {}
        for turn in range(options.rounds):
            for cell in CELLS:
                protocol, batch, clients = cell
                # In another order each round: the first after a pause finds a cooler processor.
                for name in list(servers)[:: 1 if turn % 2 else -1]:
                    grpc, rest = servers[name]
                    if protocol == "gRPC":
                        size = len(answers[name][batch])
                        rate = h2load(grpc, work / f"{batch}.bin", clients, options.seconds, size)
                    elif rest:
                        rate = wrk(rest, work / f"{batch}.json", clients, options.seconds)
                    else:
                        continue
                    found.setdefault((name, cell), []).append(rate)
    for cell in CELLS:
        protocol, batch, clients = cell
        ours = found["hangtag serve", cell]
        for name in servers:
            # REST has no constant server: its baseline is the same constant over gRPC for one image.
            theirs = found.get((name, cell)) or found[name, ("gRPC", 1, min(clients, 8))]
            if name != "hangtag serve":
                record(
                    f"serving.{protocol}-b{batch}-c{clients}-{KEYS[name]}".lower(),
                    f"{protocol}, {counted(batch, 'image')} per call, {counted(clients, 'client')}",
                    name,
                    [one / other for one, other in zip(ours, theirs, strict=True)],
                    command="python benchmarks/serving.py",
                    speed=True,
                    absolute=f"{statistics.median(ours):.0f} calls/s",
                )


def raw_answer(address: str, request: bytes) -> bytes:
    import grpc

    with grpc.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)]) as channel:
        answer: bytes = channel.unary_unary(METHOD)(request, timeout=30)
    return answer


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base-path", type=Path, help="a model like ours (default: one is trained for an epoch)")
    parser.add_argument("--rounds", type=int, default=3, help="medians are taken of so many (default 3)")
    parser.add_argument("--seconds", type=float, default=2.0, help="for each figure (default 2)")
    parser.add_argument("--peer", nargs=2, metavar=("GRPC", "REST"), help="addresses of a running TensorFlow Serving")
    parser.add_argument("--before", type=Path, metavar="FOLDER", help="another checkout, to compare with")
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
            options.base_path = work / MODEL
            command = [sys.executable, "-m", "hangtag.cli", "export", "--epochs=1", f"--base-path={options.base_path}"]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        measure(options, work)
    return 0


if __name__ == "__main__":
    sys.exit(main())
