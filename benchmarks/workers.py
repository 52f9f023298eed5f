"""One client against one server, in a process of its own: two copies of TensorFlow's messages clash within one.

    python benchmarks/workers.py NAME TARGET

Prints a JSON object of measurements: seconds, the least of a few repetitions, unless a name says otherwise.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from measures import REPEATS, alternately, least, per_call, resident

IMAGES = np.random.default_rng(0).integers(0, 256, (10_000, 28, 28)).astype(np.uint8)
HALF_BLACK = np.where(np.random.default_rng(1).random(IMAGES.shape) < 0.5, IMAGES, 0).astype(np.uint8)
CHUNKS = (256, 512, 1024, 2048)


def chunked(size: int, images: np.ndarray = IMAGES) -> Iterator[np.ndarray]:
    return (images[start : start + size] for start in range(0, len(images), size))


# ---- the codec


def codec_hangtag(_: str) -> dict[str, float]:
    from hangtag.model import ModelSpec
    from hangtag.protocol import grpc_codec
    from servers import probabilities

    images, spec, answer = IMAGES[:256], ModelSpec("fashion", None, None, "serving_default"), probabilities(256)
    return {
        "tobytes": per_call(images.tobytes),
        "encode": per_call(lambda: grpc_codec.predict_request(spec, {"images": images})),
        "decode": per_call(lambda: grpc_codec.read_predict_response(answer)),
    }


def codec_tensorflow(_: str) -> dict[str, float]:
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2

    from servers import probabilities

    images, answer = IMAGES[:256], probabilities(256)

    def encode() -> bytes:
        request = predict_pb2.PredictRequest()
        request.model_spec.name = "fashion"
        request.inputs["images"].CopyFrom(tf.make_tensor_proto(images))
        return request.SerializeToString()

    parsed = predict_pb2.PredictResponse.FromString(answer)
    return {
        "encode": per_call(encode, 300),
        "decode": per_call(lambda: tf.make_ndarray(parsed.outputs["probabilities"]), 300),
        "decode with parsing": per_call(
            lambda: tf.make_ndarray(predict_pb2.PredictResponse.FromString(answer).outputs["probabilities"]), 300
        ),
    }


# ---- ten thousand images, over gRPC


def grpc_hangtag(target: str) -> dict[str, float]:
    import grpc

    from hangtag import Client
    from hangtag.model import ModelSpec
    from hangtag.protocol.grpc_codec import predict_request
    from servers import PREDICT

    with grpc.insecure_channel(target, [("grpc.enable_http_proxy", 0)]) as channel:
        spec = ModelSpec("fashion", None, None, "serving_default")

        def request(count: int) -> bytes:
            return predict_request(spec, {"images": IMAGES[:count]})

        raw = channel.unary_unary(PREDICT)
        with Client(target, channel=channel) as client:
            client.classify(IMAGES)
            found = {"10,000 images": least(lambda: client.classify(IMAGES))}
            for count in (1, 32, 256):
                body, images = request(count), IMAGES[:count]
                raw_times, classify_times = alternately(
                    lambda body=body: raw(body), lambda images=images: client.classify(images)
                )
                found |= {f"raw round trip of {count}": raw_times, f"classify {count}": classify_times}
            return found


def async_hangtag(target: str) -> dict[str, float]:
    """10,000 images in turn with AsyncClient and with Client, in one event loop and in one thread."""
    from hangtag import AsyncClient, Client

    async def both() -> dict[str, float]:
        times: dict[str, list[float]] = {"AsyncClient": [], "Client": []}
        async with AsyncClient(target) as client:
            with Client(target) as threaded:
                for _ in range(REPEATS):
                    began = time.perf_counter()
                    await client.classify(IMAGES)
                    between = time.perf_counter()
                    threaded.classify(IMAGES)
                    times["Client"].append(time.perf_counter() - between)
                    times["AsyncClient"].append(between - began)
        return {name: min(found) for name, found in times.items()}

    return asyncio.run(both())


def photos(target: str) -> dict[str, float]:
    """64 photos of 224 x 224 x 3 pixels, 9.6 MB in all, beside requests of the same bytes and number."""
    import grpc

    from hangtag import Client
    from hangtag.model import ModelSpec
    from hangtag.protocol.grpc_codec import predict_request
    from servers import PREDICT

    images = np.random.default_rng(0).integers(0, 256, (64, 224, 224, 3)).astype(np.uint8)
    spec = ModelSpec("fashion", None, None, "serving_default")
    limits = [("grpc.enable_http_proxy", 0), ("grpc.max_send_message_length", -1)]
    with grpc.insecure_channel(target, limits) as channel, Client(target, channel=channel) as client:
        raw = channel.unary_unary(PREDICT)
        rows = client.classify(images) and round((2 << 20) / images[0].nbytes)
        bodies = [predict_request(spec, {"images": part}) for part in chunked(rows, images)]

        def send() -> None:
            for call in [raw.future(body) for body in bodies]:
                call.result()

        times: dict[str, list[float]] = {"raw": [], "classify": []}
        for _ in range(REPEATS):
            for name, action in (("raw", send), ("classify", lambda: client.classify(images))):
                began = time.perf_counter()
                action()
                times[name].append(time.perf_counter() - began)
    return {name: sorted(found)[REPEATS // 2] for name, found in times.items()}


def memory(target: str) -> dict[str, float]:
    """How much memory a call of 10,000 images takes beside them, in bytes for each of theirs."""
    from hangtag import Client

    with Client(target) as client:
        for _ in range(20):
            client.classify(IMAGES[:256])
        before = resident()
        Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
        for _ in range(10):
            client.classify(IMAGES)
        return {"bytes for each": (resident("VmHWM") - before) * 2**20 / IMAGES.nbytes}


def files(target: str) -> dict[str, float]:
    """2,000 JPEG files by their paths, beside the same files that are already in memory."""
    from PIL import Image

    from hangtag import Client

    with tempfile.TemporaryDirectory() as folder, Client(target) as client:
        paths = [Path(folder) / f"{number}.jpg" for number in range(2000)]
        for path, image in zip(paths, IMAGES, strict=False):
            Image.fromarray(image).save(path)
        held = [path.read_bytes() for path in paths]
        times: dict[str, list[float]] = {"paths": [], "bytes": []}
        for _ in range(7):
            for name, images in (("bytes", held), ("paths", paths)):
                began = time.perf_counter()
                client.classify(images)
                times[name].append(time.perf_counter() - began)
    return {name: min(found) for name, found in times.items()}


def grpc_tensorflow(target: str) -> dict[str, float]:
    return _tensorflow(target, map)


def grpc_tensorflow_threads(target: str) -> dict[str, float]:
    with ThreadPoolExecutor(4) as pool:
        return _tensorflow(target, pool.map)


def _tensorflow(target: str, each: Callable[..., Iterator[np.ndarray]]) -> dict[str, float]:
    import grpc
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

    with grpc.insecure_channel(target, [("grpc.enable_http_proxy", 0)]) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)

        def predict(images: np.ndarray) -> np.ndarray:
            request = predict_pb2.PredictRequest()
            request.model_spec.name = "fashion"
            request.inputs["images"].CopyFrom(tf.make_tensor_proto(images))
            return tf.make_ndarray(stub.Predict(request, 60).outputs["probabilities"])

        def classify(size: int) -> np.ndarray:
            return np.concatenate(list(each(predict, chunked(size)))).argmax(axis=1)

        return {f"10,000 images by {size}": least(lambda size=size: classify(size)) for size in CHUNKS}


def grpc_ovms(target: str) -> dict[str, float]:
    from ovmsclient import make_grpc_client

    from hangtag import Client

    with Client(target) as ours:
        version = ours.metadata().version
    client = make_grpc_client(target)

    def classify(size: int) -> np.ndarray:
        parts = [client.predict({"images": images}, "fashion", model_version=version) for images in chunked(size)]
        return np.concatenate(parts).argmax(axis=1)

    return {f"10,000 images by {size}": least(lambda size=size: classify(size)) for size in CHUNKS}


# ---- and over REST


def rest_hangtag(target: str) -> dict[str, float]:
    from hangtag import Client

    with Client(f"http://{target}", version=1, labels=[str(n) for n in range(10)]) as client:
        return {
            "10,000 images": least(lambda: client.classify(IMAGES), 5),
            "half black": least(lambda: client.classify(HALF_BLACK), 5),
        }


def rest_requests(target: str) -> dict[str, float]:
    import requests

    url = f"http://{target}/v1/models/fashion/versions/1:predict"
    with requests.Session() as session:

        def classify(size: int, source: np.ndarray = IMAGES) -> np.ndarray:
            parts = []
            for images in chunked(size, source):
                answer = session.post(url, data=json.dumps({"instances": images.tolist()}), timeout=60)
                parts.append(np.array(answer.json()["predictions"]))
            return np.concatenate(parts).argmax(axis=1)

        found = {f"10,000 images by {size}": least(lambda size=size: classify(size), 2) for size in (64, 256, 1024)}
        return found | {"half black": least(lambda: classify(256, HALF_BLACK), 2)}


# ---- a million images


def stream(target: str) -> dict[str, float]:
    from hangtag import Client

    def million() -> Iterator[np.ndarray]:
        for _ in range(100):
            yield from chunked(256)

    peak, stop = [0.0], threading.Event()

    def watch() -> None:
        while not stop.wait(0.01):
            peak[0] = max(peak[0], resident())

    with Client(target) as client:
        for _ in range(5):
            client.classify(IMAGES)
        before = resident()
        watcher = threading.Thread(target=watch)
        watcher.start()
        times: dict[str, list[float]] = {"stream": [], "classify": []}
        for _ in range(3):
            began = time.perf_counter()
            assert sum(len(result) for result in client.classify_stream(million())) == 1_000_000
            times["stream"].append(time.perf_counter() - began)
            began = time.perf_counter()
            for _ in range(100):
                client.classify(IMAGES)
            times["classify"].append(time.perf_counter() - began)
        stop.set()
        watcher.join()
    return {name: min(found) for name, found in times.items()} | {"growth in MiB": peak[0] - before}


if __name__ == "__main__":
    print(json.dumps(globals()[sys.argv[1]](sys.argv[2])))
