"""The C++ server's recorded answers, read by the two dialects."""

from __future__ import annotations

import json

import numpy as np
import pytest

from hangtag import BadResponse, InvalidInput, ModelNotFound, ServerError, UnknownSignature
from hangtag.errors import from_http, from_status, server_text
from hangtag.model import ModelSpec, Signature, TensorSpec
from hangtag.protocol import grpc_codec, protobuf, rest_codec
from recorded_responses import Recording, recordings

GRPC, REST = recordings("grpc"), recordings("rest")


def named(records: list[Recording]) -> dict[str, Recording]:
    return {record.name: record for record in records}


def the_id(record: Recording) -> str:
    return f"{record.protocol}-{record.name}"


def test_both_protocols_tell_the_same_of_a_model():
    """One model, described over gRPC and in JSON, gives equal metadata and status."""
    grpc, rest = named(GRPC), named(REST)
    spec = ModelSpec("fashion")
    over_grpc = grpc_codec.metadata(spec).decode(grpc["metadata"].body)
    over_rest = rest_codec.metadata(spec).decode(rest["metadata"].body)
    real = {name for name in over_grpc.signatures if not name.startswith("__")}
    assert {"serving_default", "labels"} <= real
    assert (over_grpc.name, over_grpc.version) == (over_rest.name, over_rest.version)
    for name in real:
        assert over_grpc.signatures[name] == over_rest.signatures[name]
    assert grpc_codec.status(spec).decode(grpc["status"].body) == rest_codec.status(spec).decode(rest["status"].body)
    versions = [number for number, _, _ in protobuf.fields(memoryview(grpc["status"].body))]
    assert len(versions) == len(grpc_codec.status(spec).decode(grpc["status"].body))


def read_rest(name: str, **outputs: str) -> dict[str, np.ndarray]:
    """The outputs of a recorded REST answer, whose dtypes (and names) only the signature gives."""
    signature = Signature({}, {output: TensorSpec("", dtype, (None,)) for output, dtype in outputs.items()})
    request = rest_codec.predict(ModelSpec("types"), {"x": np.zeros(1)}, signature)
    return request.decode(named(REST)[name].body).outputs


def test_rest_answers_of_every_dtype():
    assert read_rest("types.float32", y="DT_FLOAT")["y"].tolist() == np.array([1, 2.5, -3e-7, 1e30], "f4").tolist()
    assert read_rest("types.float64", y="DT_DOUBLE")["y"][1] == 0.33333333333333331
    assert read_rest("types.int64", y="DT_INT64")["y"].tolist() == [1, -2, 9007199254740993]
    assert read_rest("types.uint64", y="DT_UINT64")["y"].tolist() == [18446744073709551615]
    assert read_rest("types.bool", y="DT_BOOL")["y"].tolist() == [True, False]
    assert read_rest("types.string", y="DT_STRING")["y"].tolist() == [b"a", "中文".encode(), b""]
    assert read_rest("types.raw.columnar", y_bytes="DT_STRING")["y_bytes"].tolist() == [b"\xff\xd8\xff"]


def test_rest_answers_in_both_forms():
    """Rows of objects and columns, one output and several, scalars."""
    assert read_rest("types.float32.scalar", y="DT_FLOAT")["y"].shape == ()
    assert read_rest("types.float32.matrix.columnar", y="DT_FLOAT")["y"].tolist() == [[1, 2], [3, 4]]
    rows = read_rest("types.two", product="DT_FLOAT", sum="DT_FLOAT")
    columns = read_rest("types.two.columnar", product="DT_FLOAT", sum="DT_FLOAT")
    assert rows["product"][0] == 2
    assert columns["product"].tolist() == [3, 8]
    labels = read_rest("predict.signature.labels.columnar", class_name="DT_STRING")
    assert labels["class_name"].tolist() == [b"Dress", b"Trouser"]


@pytest.mark.parametrize(
    ("dtype", "text"),
    [
        ("DT_FLOAT", "[true]"),
        ("DT_FLOAT", '["1"]'),
        ("DT_FLOAT", "[null]"),
        ("DT_BOOL", "[1]"),
        ("DT_INT32", "[0.5]"),
        ("DT_INT32", "[3000000000]"),
        ("DT_INT64", "[18446744073709551615]"),
        ("DT_INT64", "[1e30]"),
        ("DT_UINT8", "[256]"),
        ("DT_UINT8", "[-1]"),
        ("DT_STRING", '[{"b64": "!!!!"}]'),
    ],
)
def test_a_value_that_its_dtype_cannot_hold_is_a_bad_response(dtype, text):
    """numpy alone would make another number of it."""
    signature = Signature({}, {"x": TensorSpec("x", dtype, (None,))})
    request = rest_codec.predict(ModelSpec("m"), {"i": np.zeros((1, 1), np.float32)}, signature)
    with pytest.raises(BadResponse):
        request.decode(f'{{"predictions": {text}}}'.encode())


def test_bare_nan_and_infinity_are_numbers():
    row = read_rest("types.special", y="DT_FLOAT")["y"][0]
    assert np.isposinf(row[0])
    assert np.isneginf(row[1])
    assert np.isnan(row[2])


EXPECTED = {
    "error.unknown_model": ModelNotFound,
    "error.unknown_version": ModelNotFound,
    "error.version_not_served": ModelNotFound,
    "error.model_name_escaped": ModelNotFound,
    "error.unknown_label": ModelNotFound,
    "status.unknown_model": ModelNotFound,
    "status.query": ModelNotFound,
    "metadata.unknown_model": ModelNotFound,
    "metadata.unknown_version": ModelNotFound,
    "metadata.unknown_label": ModelNotFound,
    "error.signature_unknown": UnknownSignature,
    "error.url_root": ServerError,
    "error.url_outside": ServerError,
    "metrics.off_path": ServerError,
    "error.version_over_int64": ServerError,  # its body is empty
    "types.float16.columnar": ServerError,  # 501
}


@pytest.mark.parametrize("record", [r for r in GRPC + REST if not r.ok], ids=the_id)
def test_every_refusal_has_its_exception_and_keeps_the_servers_message(record):
    if record.protocol == "grpc":
        error, message = from_status(record.status, record.details, "there"), record.details
    else:
        error = from_http(record.status, record.body, "there")
        message = json.loads(record.body)["error"] if record.body.startswith(b"{") else ""
    assert type(error) is EXPECTED.get(record.name, InvalidInput)
    assert server_text(message) in str(error)
    assert "\n\n" not in str(error)
