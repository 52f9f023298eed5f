"""The whole product in one run: train, export, serve, classify 10,000 test images over gRPC and REST, draw, compare.

`make demo` runs this. It starts one server, on free loopback ports, and stops it however the run ends.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

from hangtag import Classification, Client, HangtagError
from hangtag.plots import draw_predictions
from hangtag_export.data.dataset import Dataset
from hangtag_export.data.fashion_mnist import load_fashion_mnist

HANGTAG = [sys.executable, "-m", "hangtag.cli"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--base-path", type=Path, default=Path("models/fashion"))
    parser.add_argument("--output", type=Path, default=Path("build/demo"))
    parser.add_argument("--epochs", type=int, default=10)
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that `finally` runs and the server is stopped
    try:
        demo(arguments.base_path, arguments.output, arguments.epochs)
    except (HangtagError, DemoError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("demo: interrupted", file=sys.stderr)
        return 130
    return 0


class DemoError(Exception):
    """A step did not do what it should."""


def demo(base_path: Path, output: Path, epochs: int) -> None:
    output.mkdir(parents=True, exist_ok=True)
    keras_file = output / "model.keras"
    folder = train(base_path, keras_file, epochs)
    card = json.loads((folder / "assets.extra" / "hangtag.json").read_text())

    data = load_fashion_mnist()
    results: dict[str, Classification] = {}
    seconds = {"setup": setup_seconds(), "train": card["training_seconds"]}
    with serving(base_path) as targets:
        for name, target in targets.items():
            with Client(target, model=base_path.name, timeout=120) as client:
                client.labels()  # connections, metadata and names are not what is timed
                start = time.perf_counter()
                results[name] = client.classify(data.test_images)
                seconds[name] = round(time.perf_counter() - start, 3)

    draw_predictions(data.test_images[:15], results["grpc"], output / "predictions.png", truth=data.test_labels[:15])
    report(data, results, keras_predictions(keras_file, data.test_images), seconds, output)


def train(base_path: Path, keras_file: Path, epochs: int) -> Path:
    """Publish the next version and return its folder."""
    before = {path.name for path in base_path.glob("*")}
    command = ["export", "--base-path", str(base_path), "--keras", str(keras_file), "--epochs", str(epochs)]
    if subprocess.run([*HANGTAG, *command]).returncode:
        raise DemoError("the export failed")
    (folder,) = (path for path in base_path.glob("[0-9]*") if path.name not in before)
    return folder


@contextmanager
def serving(base_path: Path) -> Iterator[dict[str, str]]:
    """Run `hangtag serve` on free ports; yields the targets once it is ready."""
    grpc_port, rest_port = free_ports(2)
    targets = {"grpc": f"127.0.0.1:{grpc_port}", "rest": f"http://127.0.0.1:{rest_port}"}
    flags = [f"--model_base_path={base_path}", f"--port={grpc_port}", f"--rest_api_port={rest_port}"]
    with running("serve", *flags) as server, Client(targets["rest"], model=base_path.name) as client:
        deadline = time.monotonic() + 120
        while not client.ready():
            if server.poll() is not None or time.monotonic() > deadline:
                raise DemoError("the server did not become ready")
            time.sleep(0.1)
        yield targets


@contextmanager
def running(*arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run `hangtag` with these arguments in the background until the block ends."""
    process = subprocess.Popen([*HANGTAG, *arguments])
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def free_ports(count: int) -> list[int]:
    """Free ports of the loopback address, below those that systems give to connections before the server has them."""
    ports: list[int] = []
    while len(ports) < count:
        port = random.choice([port for port in range(20_000, 32_000) if port not in ports])
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            ports.append(port)
    return ports


def keras_predictions(keras_file: Path, images: np.ndarray) -> np.ndarray:
    """Labels as the tutorial gets them: from Keras itself, without any of the serving."""
    from hangtag.optional import require

    keras = require("keras", extra="export", what="the demo")
    return keras.models.load_model(keras_file).predict(images / 255.0, verbose=0).argmax(axis=1)


def report(
    data: Dataset,
    results: dict[str, Classification],
    keras_labels: np.ndarray,
    seconds: dict[str, float],
    output: Path,
) -> None:
    """Print the table, write the summary; raise if the answers differ."""
    labels = {"keras": keras_labels} | {name: result.indices for name, result in results.items()}
    accuracy = {name: float((found == data.test_labels).mean()) for name, found in labels.items()}
    summary = {
        "images": len(data.test_images),
        "model_version": results["grpc"].model_version,
        "accuracy": accuracy,
        "seconds": seconds,
        "server": "embedded",
    }
    (output / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    print(f"\n{'':7}{'accuracy':>10}{'seconds':>10}{'images/s':>12}")
    for name, value in accuracy.items():
        timing = f"{seconds[name]:>10.2f}{len(data.test_images) / seconds[name]:>12,.0f}" if name in seconds else ""
        print(f"{name:7}{value:>10.4f}{timing}")
    print(f"\n{output / 'predictions.png'}\n{output / 'summary.json'}")
    for name, found in labels.items():
        different = int((found != keras_labels).sum())
        if different:
            raise DemoError(f"{name} and keras disagree on {different} of {len(found):,} images")


def setup_seconds() -> float:
    """What `make setup` took, if it had something to do in this run of make."""
    note = Path("build/setup-seconds")
    if not note.exists():
        return 0.0
    seconds = float(note.read_text())
    note.unlink()
    return seconds


if __name__ == "__main__":
    raise SystemExit(main())
