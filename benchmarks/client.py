"""The client's figures, each beside the peers' in the same run.

    python benchmarks/client.py [--only imports,size,codec,grpc,serve,rest,stream] [--base-path models/fashion]

Peers: tensorflow-serving-api with make_tensor_proto, ovmsclient 2023.1 with a fixed version, requests with
json.dumps(tolist()). ovmsclient is installed into build/benchmarks, beside nothing of ours. `serve` needs a model under
--base-path (`make train` makes one).
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

HERE = Path(__file__).parent
OVMS = Path("build/benchmarks/ovmsclient")
ROUNDS = 3


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", help="figures, separated by commas")
    parser.add_argument("--base-path", type=Path, default=Path("models/fashion"))
    arguments = parser.parse_args()
    figures: dict[str, Callable[[], None]] = {
        "imports": imports,
        "size": size,
        "codec": codec,
        "grpc": constant_grpc,
        "serve": lambda: embedded(arguments.base_path),
        "rest": constant_rest,
        "stream": stream,
    }
    for name in arguments.only.split(",") if arguments.only else figures:
        figures[name]()
    return 0


def show(what: str, value: str, wanted: str) -> None:
    print(f"{what:<74}{value:>12}   wanted {wanted}", flush=True)


def note(what: str, value: str) -> None:
    print(f"  {what:<72}{value:>12}", flush=True)


# ---- processes


def work(name: str, target: str = "", **environment: str) -> dict[str, float]:
    """One run of a worker."""
    command = [sys.executable, str(HERE / "workers.py"), name, target]
    done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{name} failed:\n{done.stderr}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def side_by_side(jobs: dict[str, Callable[[], dict[str, float]]]) -> dict[str, dict[str, float]]:
    """Each job in turn, a few rounds of it: the least time of each measurement."""
    found: dict[str, dict[str, float]] = {name: {} for name in jobs}
    for _ in range(ROUNDS):
        for name, job in jobs.items():
            for key, value in job().items():
                found[name][key] = min(value, found[name].get(key, value))
    return found


@contextmanager
def constant(protocol: str) -> Iterator[str]:
    server = subprocess.Popen([sys.executable, str(HERE / "servers.py"), protocol], stdout=subprocess.PIPE, text=True)
    try:
        yield f"127.0.0.1:{server.stdout.readline().strip()}"
    finally:
        server.terminate()
        server.wait()


@contextmanager
def hangtag_serve(base_path: Path) -> Iterator[str]:
    from socket import create_server

    with create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    flags = [f"--model_base_path={base_path.absolute()}", "--model_name=fashion", f"--port={port}", "--rest_api_port=0"]
    server = subprocess.Popen([sys.executable, "-m", "hangtag.cli", "serve", *flags], stdout=subprocess.DEVNULL)
    try:
        from hangtag import Client

        with Client(f"127.0.0.1:{port}") as client:
            client.wait_ready(120)
        yield f"127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait()


def ovms() -> str:
    """Where ovmsclient is installed, apart: it is not to be in anybody's environment."""
    if not OVMS.exists():
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(OVMS)]
        subprocess.run([*pip, "ovmsclient==2023.1"], check=True)
    return str(OVMS.absolute())


# ---- figures


def imports() -> None:
    def seconds(statement: str) -> float:
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", statement], check=True)
        return time.perf_counter() - began

    statements = {
        "pass": "pass",
        "import numpy": "import numpy",
        "from hangtag import Client": "from hangtag import Client",
        "and its first gRPC call": "from hangtag import Client; import hangtag.transport_grpc, grpc",
        "tensorflow_serving.apis": "from tensorflow_serving.apis import predict_pb2",
    }
    least = {name: min(seconds(text) for _ in range(2 if "tensor" in name else 9)) for name, text in statements.items()}
    bare = least.pop("pass")
    for name, value in least.items():
        note(f"{name}: milliseconds over an empty Python", f"{1000 * (value - bare):.0f}")
    numpy = least["import numpy"] - bare
    for name in ("from hangtag import Client", "and its first gRPC call"):
        show(f"import time, {name}, to numpy's", f"{(least[name] - bare) / numpy:.2f}", "at most 1.6")


def size() -> None:
    """What pip puts on the disk, compiled files included."""

    def closure(name: str, seen: set[str]) -> set[str]:
        key = re.sub(r"[-_.]+", "-", name).lower()
        if key not in seen:
            seen.add(key)
            for line in metadata.requires(name) or []:
                if "extra ==" not in line:
                    closure(re.split(r"[\s;<>=!~\[(]", line)[0], seen)
        return seen

    def mebibytes(names: set[str]) -> float:
        files = [file.locate() for name in names for file in metadata.files(name) or []]
        return sum(Path(file).stat().st_size for file in files if Path(file).is_file()) / 2**20

    own = sum(file.stat().st_size for file in Path("client/hangtag").rglob("*") if file.is_file()) / 2**20
    needed = closure("hangtag", set()) - {"hangtag"}
    numpy = mebibytes({"numpy"})
    note("numpy, MiB", f"{numpy:.0f}")
    note(f"hangtag with {', '.join(sorted(needed))}, MiB", f"{mebibytes(needed) + own:.0f}")
    show("base install over numpy's, MiB", f"{mebibytes(needed) + own - numpy:.1f}", "at most 30")


def codec() -> None:
    found = side_by_side({"hangtag": lambda: work("codec_hangtag"), "tensorflow": lambda: work("codec_tensorflow")})
    for name, times in found.items():
        for key, value in times.items():
            note(f"{name}: {key}, 256 images, microseconds", f"{1e6 * value:.1f}")
    ours, theirs = found["hangtag"], found["tensorflow"]
    show("encode 256 uint8 images, to array.tobytes()", f"{ours['encode'] / ours['tobytes']:.2f}", "at most 2")
    show("decode their answer, to tf.make_ndarray", f"{ours['decode'] / theirs['decode']:.3f}", "at most 0.1")


def rates(found: dict[str, dict[str, float]]) -> dict[str, float]:
    """Images a second of each client at its best chunk size, printed for every size."""
    best = {}
    for name, times in found.items():
        times = {key: value for key, value in times.items() if key.startswith("10,000")}
        for key, value in times.items():
            note(f"{name}: {key}, thousand images a second", f"{10 / value:.0f}")
        best[name] = 10_000 / min(times.values())
    return best


def _grpc(target: str) -> dict[str, dict[str, float]]:
    path = ovms()
    return side_by_side(
        {
            "hangtag": lambda: work("grpc_hangtag", target),
            "tensorflow-serving-api": lambda: work("grpc_tensorflow", target),
            "ovmsclient": lambda: work("grpc_ovms", target, PYTHONPATH=path, http_proxy="", https_proxy=""),
        }
    )


def constant_grpc() -> None:
    with constant("grpc") as target:
        found = _grpc(target)
    times = found["hangtag"]
    for key in ("raw round trip of 256", "classify 256"):
        note(f"hangtag: {key}, microseconds", f"{1e6 * times[key]:.0f}")
    ratio = times["classify 256"] / times["raw round trip of 256"]
    show("classify 256 to the round trip of the same bytes, same channel", f"{ratio:.2f}", "at most 1.25")
    best = rates(found)
    ratio = best["hangtag"] / best["tensorflow-serving-api"]
    show("10,000 images by gRPC, constant server, to tensorflow-serving-api", f"{ratio:.2f}", "at least 2.5")
    note("the same, to ovmsclient", f"{best['hangtag'] / best['ovmsclient']:.2f}")


def embedded(base_path: Path) -> None:
    with hangtag_serve(base_path) as target:
        best = rates(_grpc(target))
    ratio = best["hangtag"] / best["tensorflow-serving-api"]
    show("10,000 images by gRPC, hangtag serve, to tensorflow-serving-api", f"{ratio:.2f}", "at least 1.6")
    note("the same, to ovmsclient", f"{best['hangtag'] / best['ovmsclient']:.2f}")


def constant_rest() -> None:
    with constant("rest") as target:
        jobs = {name: (lambda name=name: work(f"rest_{name}", target)) for name in ("hangtag", "requests")}
        found = side_by_side(jobs)
    best = rates(found)
    ratio = best["hangtag"] / best["requests"]
    show("10,000 images by REST, constant server, to requests and tolist", f"{ratio:.2f}", "at least 8")
    ratio = found["requests"]["half black"] / found["hangtag"]["half black"]
    note("the same, with half of the pixels black, as in Fashion-MNIST", f"{ratio:.2f}")


def stream() -> None:
    with constant("grpc") as target:
        found = work("stream", target)
    for name in ("stream", "classify"):
        note(f"{name}, a million images, thousand images a second", f"{1000 / found[name]:.0f}")
    show("classify_stream's throughput to classify's", f"{found['classify'] / found['stream']:.2f}", "at least 0.9")
    show("growth of memory over a million images, MiB", f"{found['growth in MiB']:.1f}", "less than 50")


if __name__ == "__main__":
    raise SystemExit(main())
