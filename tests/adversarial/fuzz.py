#!/usr/bin/env python3
"""Send random REST and gRPC requests to two servers, and write those that they answer differently.

    fuzz.py [--oracle HOST:GRPC,REST] [--subject HOST:GRPC,REST] [--seconds 60] [--seed 0] [--write cases.jsonl]

The oracle is any running TensorFlow Serving, or server that claims to answer as it does, on the recorded models (see
tests/serving/conformance). Without an oracle or a subject the embedded server is started for it: the oracle by grpcio
and without fast paths, the subject by the compiled gRPC server and with them. What is written has the format of
`corpus.jsonl`, with the oracle's answer. Exits 1 when an answer differs.
"""

from __future__ import annotations

import argparse
import base64
import json
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import grpc

TESTS = Path(__file__).resolve().parents[1]
CONFORMANCE = TESTS / "serving" / "conformance"
sys.path[:0] = [str(CONFORMANCE), str(TESTS)]

import replay  # noqa: E402

from support import serving  # noqa: E402

TYPES = [
    "float32",
    "float64",
    "int32",
    "int64",
    "uint8",
    "int8",
    "int16",
    "uint16",
    "uint32",
    "uint64",
    "bool",
    "string",
]
RARE = ["float16", "bfloat16", "complex64", "raw", "two", "scalar_out", "special", "nope", ""]
FASHION = ["serving_default", "labels", "top", "classify", "regress", "float_images", "nope"]
NUMBERS = [
    *("0", "1", "-1", "255", "256", "-0", "3.0", "0.5", "1e2", "1E-3", "2147483648", "9223372036854775808"),
    *(
        "18446744073709551616",
        "1.7976931348623159e308",
        "1e309",
        "1e-400",
        "3.4028236e38",
        "0.1",
        "123456789.123456789",
    ),
    *("NaN", "Infinity", "-Infinity", "Inf", "-606.1233787985758", "1e7", "1e-46", "00", "1.", ".5", "+1", "0x1", "1e"),
]
SCALARS = [
    "true",
    "false",
    "null",
    '"a"',
    '""',
    '"\\u00e4"',
    '"\\ud800"',
    '{"b64":"YQ=="}',
    '{"b64":"?"}',
    "{}",
    '{"x":1}',
]
UNUSED = ['"foo":[1]', '"output_filter":["y"]', '"inputs":[2]', '"signature_name":3', '"a":{}']
PREDICTION = "/tensorflow.serving.PredictionService/"

VERSIONS = 3  # that the recorded models' config names, of two models


class Target(NamedTuple):
    """Addresses of one server."""

    grpc: str
    rest: str


# ---- requests


def rest_case(rng: random.Random) -> dict[str, Any]:
    """A REST request in the corpus format, without an answer."""
    kind = rng.random()
    if kind < 0.75:
        model = rng.choice(["types"] * 4 + ["fashion", "nope"])
        return _rest("POST", f"/v1/models/{model}{_place(rng, 0.1)}:predict", _predict_body(rng, model))
    if kind < 0.85:
        verb = rng.choice(["classify", "regress"])
        return _rest("POST", f"/v1/models/fashion{_place(rng, 0.1)}:{verb}", _examples_body(rng))
    path = f"/v1/models/{rng.choice(['fashion', 'types', 'nope', '%66ashion', '%', 'a%2', ''])}{_place(rng, 0.5)}"
    path += rng.choice(["", "", "/metadata", "/Metadata", ":predict", "/", "?x=1"])
    return _rest(rng.choice(["GET"] * 5 + ["POST", "PUT", "DELETE", "OPTIONS"]), path, b"")


def _rest(method: str, path: str, body: bytes) -> dict[str, Any]:
    encoded = base64.b64encode(body).decode() if body or method == "POST" else None
    return {"kind": "rest", "method": method, "path": path, "headers": {}, "body_b64": encoded}


def _place(rng: random.Random, share: float) -> str:
    places = ["/versions/1", "/versions/01", "/versions/77", "/labels/stable", "/labels/nope", "/versions/9" + "9" * 22]
    return rng.choice(places) if rng.random() < share else ""


def _value(rng: random.Random, depth: int = 0) -> str:
    if depth < 3 and rng.random() < 0.45:
        if rng.random() < 0.6:  # a regular list: what most requests hold
            item = _value(rng, depth + 1)
            return "[" + ",".join([item] * rng.randrange(4)) + "]"
        return "[" + ",".join(_value(rng, depth + 1) for _ in range(rng.randrange(4))) + "]"
    return rng.choice(NUMBERS if rng.random() < 0.75 else SCALARS)


def _predict_body(rng: random.Random, model: str) -> bytes:
    signature = rng.choice(FASHION if model == "fashion" else TYPES * 3 + RARE)
    value = _value(rng)
    key = rng.choice(["instances", "inputs"])
    if key == "instances" and rng.random() < 0.9:
        value = f"[{value}]"
    members = [f'"{key}":{value}']
    if rng.random() < 0.9:
        members.append(f'"signature_name":"{signature}"')
    if rng.random() < 0.15:
        members.append(rng.choice(UNUSED))
    rng.shuffle(members)
    blank = rng.choice(["", "", " ", "\n\t"])
    body = ("{" + f",{blank}".join(members) + "}").encode()
    if rng.random() < 0.1:  # cut, or with a byte changed
        at = rng.randrange(len(body))
        body = body[:at] if rng.random() < 0.5 else body[:at] + bytes([rng.randrange(32, 127)]) + body[at + 1 :]
    return body


def _examples_body(rng: random.Random) -> bytes:
    image = rng.choice(["[" + ",".join(["0.5"] * 784) + "]", _value(rng, 2), "18446744073709551615"])
    examples = rng.choice([f'[{{"image":{image}}}]', f'{{"image":{image}}}', "[]", "null", f"[{image}]"])
    name = rng.choice(["classify", "regress", "top", "nope"])
    return f'{{"signature_name":"{name}","examples":{examples}}}'.encode()


def grpc_case(rng: random.Random) -> dict[str, Any]:
    """A gRPC request in the corpus format, without an answer."""
    from google.protobuf.message import EncodeError
    from tensorflow_serving.apis import predict_pb2

    model = rng.choice(["types"] * 5 + ["fashion", "nope", ""])
    request = predict_pb2.PredictRequest()
    request.model_spec.name = model
    request.model_spec.signature_name = rng.choice(TYPES + RARE if model != "fashion" else FASHION)
    if rng.random() < 0.1:
        request.model_spec.version.value = rng.choice([1, 2, 77])
    for alias in rng.choice([["x"]] * 6 + [["images"], ["a", "b"], ["a"], []]):
        _fill_tensor(rng, request.inputs[alias])
    if rng.random() < 0.15:
        request.output_filter.extend(rng.choices(["y", "sum", "product", "nope"], k=rng.randrange(1, 3)))
    try:
        body = request.SerializeToString()
    except EncodeError:
        body = b""
    if body and rng.random() < 0.1:
        at = rng.randrange(len(body))
        body = body[:at] if rng.random() < 0.5 else body[:at] + bytes([rng.randrange(256)]) + body[at + 1 :]
    return {"kind": "grpc", "method": PREDICTION + "Predict", "request_b64": base64.b64encode(body).decode()}


def _fill_tensor(rng: random.Random, tensor: Any) -> None:
    tensor.dtype = rng.choice([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 14, 17, 19, 22, 23] * 3 + [0, 11, 12, 13, 18, 21, 29])
    for _ in range(rng.choice([0, 1, 1, 1, 2, 2, 3])):
        tensor.tensor_shape.dim.add(size=rng.choice([0, 1, 1, 2, 3, -1, 2**40]))
    form = rng.random()
    if form < 0.4:
        tensor.tensor_content = rng.randbytes(rng.choice([0, 1, 2, 4, 8, 16, 24]))
    elif form < 0.5:
        tensor.tensor_content = bytes([1, 2]) + b"abb"
    elif form < 0.9:
        for field, values in (
            ("float_val", [0.5, 1e-40, 3.0]),
            ("double_val", [0.1, -2.0]),
            ("int_val", [1, 200, -1, 70000]),
            ("int64_val", [1, -(2**63)]),
            ("string_val", [b"", b"a", b"\xff"]),
            ("bool_val", [True, False]),
            ("half_val", [15360, 70000]),
            ("scomplex_val", [1.0, 2.0]),
            ("uint32_val", [7]),
            ("uint64_val", [2**64 - 1]),
        ):
            if rng.random() < 0.4:
                getattr(tensor, field).extend(rng.choices(values, k=rng.randrange(1, 4)))


# ---- answers


def answer(target: Target, channel: grpc.Channel, case: dict[str, Any]) -> dict[str, Any]:
    """What a server answers, in the corpus format."""
    if case["kind"] == "rest":
        return replay.send_rest(target.rest, case)
    got = replay.send_grpc(channel, case)
    return {**got, "bytes_b64": base64.b64encode(got["raw"]).decode()} if "raw" in got else got


def difference(case: dict[str, Any], expected: dict[str, Any], got: dict[str, Any]) -> str:
    """What differs between two answers; empty if nothing does."""
    if "exception" in expected:
        return "" if "exception" in got else f"no answer by the oracle: {expected['exception']}"
    differs = replay.rest_differs if case["kind"] == "rest" else replay.grpc_differs
    return differs(expected if case["kind"] == "rest" else {**case, "response": expected}, got)


def compare(
    oracle: Target, subject: Target, seed: int, seconds: float, count: int = 1 << 62
) -> Iterator[dict[str, Any]]:
    """Cases that the two answer differently, with the oracle's answer and what differs in `difference`."""
    rng = random.Random(seed)
    options = [("grpc.enable_http_proxy", 0)]
    end = time.monotonic() + seconds
    with grpc.insecure_channel(oracle.grpc, options) as ours, grpc.insecure_channel(subject.grpc, options) as theirs:
        for number in range(count):
            if time.monotonic() > end:
                return
            case = {"id": f"fuzz.{seed}.{number}", **(rest_case(rng) if rng.random() < 0.5 else grpc_case(rng))}
            expected, got = answer(oracle, ours, case), answer(subject, theirs, case)
            if text := difference(case, expected, got):
                expected.pop("raw", None)
                yield {**case, "response": expected, "difference": text}


@contextmanager
def started(*flags: str) -> Iterator[Target]:
    """The embedded server on the recorded models."""
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "models.config"
        config.write_text((CONFORMANCE / "models.config").read_text().replace("MODELS", str(CONFORMANCE / "models")))
        flags = (f"--model_config_file={config}", "--allow_version_labels_for_unavailable_models=true", *flags)
        log = Path(folder) / "log"
        with serving(CONFORMANCE / "models" / "fashion", log, *flags, versions=VERSIONS) as server:
            yield Target(server.grpc, server.rest.removeprefix("http://"))


PLAIN = ("--grpc_front=grpcio", "--fast=off")
FAST = ("--grpc_front=native",)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--oracle", type=_target)
    parser.add_argument("--subject", type=_target)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", type=Path, default=Path("fuzz-cases.jsonl"))
    options = parser.parse_args()
    found = 0
    with ExitStack() as stack:
        oracle = options.oracle or stack.enter_context(started(*PLAIN))
        subject = options.subject or stack.enter_context(started(*FAST))
        for case in compare(oracle, subject, options.seed, options.seconds):
            found += 1
            print(f"DIFFERS {case['kind']} {case['id']}: {case.pop('difference')}", flush=True)
            with options.write.open("a") as file:
                file.write(json.dumps(case) + "\n")
    print(f"{found} differ" + (f", see {options.write}" if found else ""))
    return 1 if found else 0


def _target(text: str) -> Target:
    address, _, rest_port = text.partition(",")
    return Target(address, f"{address.rpartition(':')[0]}:{rest_port}")


if __name__ == "__main__":
    sys.exit(main())
