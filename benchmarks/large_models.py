"""Models of real size behind the embedded server: speed, memory and the first call. See --help.

The `cnn` for Fashion-MNIST, and MobileNetV2, ResNet50 and VGG16 for photos of 224 x 224, all with random weights. They
are published into --models, and served by `hangtag serve` with one config. The baseline is a process that only runs
the same SavedModel in a TensorFlow session, without a server.

--peer GRPC adds a running TensorFlow Serving, which must serve the config that this script prints: start the script
once to publish the models, then the server, then the script again.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from figures import record
from hangtag import Client
from hangtag.cli.terminal import counted
from hangtag.model import ModelSpec
from hangtag.protocol.grpc_codec import predict_request
from measures import resident
from processes import per_round
from serving import count_calls, framed, raw_answer, served

SHAPES = {"cnn": (28, 28), "mobilenet": (224, 224, 3), "resnet50": (224, 224, 3), "vgg16": (224, 224, 3)}
KERAS_NAMES = {"mobilenet": "MobileNetV2", "resnet50": "ResNet50", "vgg16": "VGG16"}
CELLS = [("cnn", 1, 8), ("cnn", 32, 4), ("cnn", 256, 2), ("mobilenet", 1, 4), ("mobilenet", 8, 2)]
CELLS += [("resnet50", 1, 4), ("resnet50", 8, 2), ("vgg16", 1, 2), ("vgg16", 8, 1)]
"""Model, images in a call, clients."""
COMMAND = "python benchmarks/large_models.py"


# ---- in processes of their own


def publish_model(model: str, base_path: str) -> None:
    """Publish a model with random weights."""
    import keras

    from hangtag_export import publish
    from hangtag_export.training import architectures

    keras.utils.set_random_seed(1)
    names = [f"class {number}" for number in range(10)]
    if model == "cnn":
        publish(architectures.build("cnn", SHAPES["cnn"], 10), names, base_path, pixels="0..1", scores="logits")
    else:
        make = getattr(keras.applications, KERAS_NAMES[model])
        publish(make(weights=None, classes=10), names, base_path, pixels="0..255")


def run_session(folder: str, shape: list[int], batch: int, clients: int, seconds: float) -> None:
    """Print the figures of a TensorFlow session that `clients` threads use."""
    import tensorflow as tf

    images = np.random.default_rng(0).integers(0, 256, (batch, *shape), np.uint8)
    session = tf.compat.v1.Session(graph=tf.Graph())
    with session.graph.as_default():
        graph = tf.compat.v1.saved_model.loader.load(session, ["serve"], folder)
    signature = graph.signature_def["serving_default"]
    call = session.make_callable([each.name for each in signature.outputs.values()], [signature.inputs["images"].name])
    call(images)
    end = time.monotonic() + seconds

    def work(_: int) -> int:
        done = 0
        while time.monotonic() < end:
            call(images)
            done += 1
        return done

    start = time.monotonic()
    with ThreadPoolExecutor(clients) as pool:
        rate = sum(pool.map(work, range(clients))) / (time.monotonic() - start)
    print(json.dumps({"rate": rate, "peak": resident("VmHWM")}))


IN_A_PROCESS = {function.__name__: function for function in (publish_model, run_session)}


def in_a_process(name: str, *arguments: object) -> str:
    """What the function of that name prints."""
    command = [sys.executable, __file__, "--run", name, json.dumps(arguments)]
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "2"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{name} failed:\n{done.stderr}")
    return done.stdout


# ---- measurements


def session(folder: Path, model: str, batch: int, clients: int, seconds: float) -> dict[str, float]:
    """Calls a second, and the peak memory in MiB."""
    printed = in_a_process("run_session", str(folder / model / "1"), SHAPES[model], batch, clients, seconds)
    measured: dict[str, float] = json.loads(printed.splitlines()[-1])
    return measured


def publish(folder: Path) -> Path:
    """Publish the models that are not there yet; returns the path of their config."""
    blocks = []
    for model in SHAPES:
        base_path = folder / model
        if not (base_path / "1").exists():
            print(f"publishing {base_path}", flush=True)
            in_a_process("publish_model", model, str(base_path))
        blocks.append(f"config {{ name: '{model}' base_path: '{base_path.absolute()}' model_platform: 'tensorflow' }}")
    config = folder / "models.config"
    config.write_text("model_config_list {\n  " + "\n  ".join(blocks) + "\n}\n")
    return config


def measure_speed(folder: Path, servers: dict[str, str], rounds: int, seconds: float) -> None:
    """Load every server, and the session, in turn."""
    for model, batch, clients in CELLS:
        images = np.random.default_rng(0).integers(0, 256, (batch, *SHAPES[model]), np.uint8)
        request = predict_request(ModelSpec(model), {"images": images})
        body = folder / "request.bin"
        body.write_bytes(framed(request))
        rates: dict[str, list[float]] = {}
        for turn in range(rounds):
            for name in list(servers)[:: 1 if turn % 2 else -1]:
                size = len(raw_answer(servers[name], request))
                calls = count_calls(servers[name], body, clients, 2 * clients, size) * seconds
                calls = max(2 * clients, round(calls))
                rates.setdefault(name, []).append(count_calls(servers[name], body, clients, calls, size))
            alone = session(folder, model, batch, clients, seconds)
            rates.setdefault("a session alone", []).append(alone["rate"])
        ours = rates.pop("hangtag serve")
        for name, theirs in rates.items():
            record(
                f"large.{model}-b{batch}-c{clients}-{'peer' if 'Serving' in name else 'session'}",
                f"{model}, {counted(batch, 'image')} per call, {counted(clients, 'client')}",
                name,
                per_round(ours, theirs),
                command=COMMAND,
                speed=True,
                absolute=f"{statistics.median(ours):.4g} calls/s",
            )


def measure_first_call(folder: Path, model: str, rounds: int) -> None:
    """The first call after AVAILABLE beside the next nine, and peak memory beside a session's."""
    image = np.zeros((1, *SHAPES[model]), np.uint8)
    first, memory = [], []
    for _ in range(rounds):
        flags = f"--model_name={model}", f"--model_base_path={folder / model}"
        with served(*flags) as (target, _, process), Client(target, model=model, timeout=120) as client:
            times = []
            for _ in range(10):
                start = time.perf_counter()
                client.predict({"images": image})
                times.append(time.perf_counter() - start)
            first.append(times[0] / statistics.median(times[1:]))
            memory.append(resident("VmHWM", process) / session(folder, model, 1, 1, 0)["peak"])
    record(f"large.{model}-first", f"{model}: the first call", "the nine after it", first, command=COMMAND)
    record(
        f"large.{model}-memory", f"{model}: peak memory of `hangtag serve`", "a session alone", memory, command=COMMAND
    )


def measure_start(folder: Path, rounds: int) -> None:
    """Until `hangtag serve` is ready, beside TensorFlow's import."""
    ratios, more = [], []
    for _ in range(rounds):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", "import tensorflow"], check=True, stderr=subprocess.DEVNULL)
        imported = time.perf_counter() - start
        start = time.perf_counter()
        with served("--model_name=cnn", f"--model_base_path={folder / 'cnn'}"):
            ready = time.perf_counter() - start
        ratios.append(ready / imported)
        more.append(ready - imported)
    record(
        "large.start",
        "`hangtag serve` until it is ready",
        "import tensorflow",
        ratios,
        command=COMMAND,
        absolute=f"{statistics.median(more):+.2f} s",
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, help="where the models are published (default: a temporary folder)")
    parser.add_argument("--rounds", type=int, default=3, help="medians are taken of so many (default 3)")
    parser.add_argument("--seconds", type=float, default=2.0, help="for each figure (default 2)")
    parser.add_argument("--peer", metavar="GRPC", help="the gRPC address of a running TensorFlow Serving")
    parser.add_argument("--run", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        IN_A_PROCESS[options.run[0]](*json.loads(options.run[1]))
        return 0
    with ExitStack() as opened:
        folder = options.models or Path(opened.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(parents=True, exist_ok=True)
        config = publish(folder)
        print(f"--model_config_file={config}", flush=True)
        measure_start(folder, options.rounds)
        for model in ("resnet50", "vgg16"):
            measure_first_call(folder, model, options.rounds)
        target, *_ = opened.enter_context(served(f"--model_config_file={config}"))
        peers = {"TensorFlow Serving": options.peer} if options.peer else {}
        measure_speed(folder, {"hangtag serve": target, **peers}, options.rounds, options.seconds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
