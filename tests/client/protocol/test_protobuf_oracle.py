"""The wire codec against tensorflow-serving-api: byte-equal requests, equal readings of answers."""

from __future__ import annotations

import numpy as np
import pytest
from google.protobuf import any_pb2
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

import oracle
from hangtag.errors import CODES, server_text
from hangtag.model import ModelSpec, Signature, TensorSpec, VersionStatus
from hangtag.protocol import dtypes, grpc_codec, protobuf, tensors
from hangtag.protocol.dtypes import BFLOAT16, STRING
from recorded_responses import recordings

ROWS = sorted(dtypes.BY_NUMBER.values())
SHAPES = npst.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
FIELDS = {
    5: "float_val",
    6: "double_val",
    7: "int_val",
    8: "string_val",
    9: "scomplex_val",
    10: "int64_val",
    11: "bool_val",
    12: "dcomplex_val",
    13: "half_val",
    16: "uint32_val",
    17: "uint64_val",
}

quick = settings(max_examples=150, deadline=None)


@st.composite
def arrays(draw: st.DrawFn) -> np.ndarray:
    """An array of any dtype that TensorFlow Serving carries, strings and bfloat16 among them."""
    row = draw(st.sampled_from(ROWS))
    shape = draw(SHAPES)
    if row is STRING:
        return draw(npst.arrays(object, shape, elements=st.binary(max_size=9)))
    if row is BFLOAT16:
        return draw(npst.arrays("<u2", shape)).view(BFLOAT16.numpy)
    return draw(npst.arrays(row.numpy, shape))


def as_proto(array: np.ndarray) -> oracle.tensor_pb2.TensorProto:
    row = dtypes.of_array(array)
    proto = oracle.tensor_pb2.TensorProto(dtype=row.number)
    proto.tensor_shape.SetInParent()
    for size in array.shape:
        proto.tensor_shape.dim.add(size=size)
    if row is STRING:
        proto.string_val.extend(array.ravel().tolist())
    else:
        proto.tensor_content = array.tobytes()
    return proto


def test_every_dtype_has_tensorflows_number_name_and_numpy_dtype():
    for row in ROWS:
        assert oracle.types_pb2.DataType.Value(row.name) == row.number
        if row is not BFLOAT16:
            assert oracle.tf.as_dtype(row.number).as_numpy_dtype == (object if row is STRING else row.numpy)


@given(
    st.dictionaries(TEXT.filter(bool), arrays(), max_size=3),
    TEXT,
    st.one_of(st.none(), st.integers(0, 2**63 - 1), TEXT),
    TEXT,
)
@quick
def test_requests_are_byte_for_byte_protobufs(inputs, name, choice, signature):
    """Names, versions and labels, and tensors of every dtype and shape."""
    request = oracle.predict_pb2.PredictRequest()
    request.model_spec.SetInParent()
    request.model_spec.name = name
    request.model_spec.signature_name = signature
    if isinstance(choice, int):
        request.model_spec.version.value = choice
    elif choice is not None:
        request.model_spec.version_label = choice
    for key, array in inputs.items():
        request.inputs[key].CopyFrom(as_proto(array))
    spec = ModelSpec(
        name,
        choice if isinstance(choice, int) else None,
        choice if isinstance(choice, str) else None,
        signature,
    )
    theirs = request.SerializeToString()
    # A map has no order: protobuf's is taken, which is none of the usual ones when a name begins with another.
    order = [protobuf.map_entry(value)[0] for number, _, value in protobuf.fields(memoryview(theirs)) if number == 2]
    assert grpc_codec.predict_request(spec, {key: inputs[key] for key in order}) == theirs


@given(arrays())
@quick
def test_content_is_read_as_make_ndarray_reads_it(array):
    read = tensors.decode(memoryview(as_proto(array).SerializeToString()))
    expected = oracle.tf.make_ndarray(as_proto(array))
    assert_same(read, expected)


@given(arrays(), st.data())
@quick
def test_typed_fields_are_read_as_make_ndarray_reads_them(array, data):
    """All values, or fewer: then the last one is repeated."""
    row = dtypes.of_array(array)
    proto = as_proto(array)
    proto.ClearField("tensor_content")
    sent = data.draw(st.integers(0, array.size))
    values = getattr(proto, FIELDS[row.field])
    del values[:]
    values.extend(typed_values(array, row)[: sent * (2 if row.numpy.kind == "c" else 1)])
    read = tensors.decode(memoryview(proto.SerializeToString()))
    assert read.shape == array.shape
    if sent:
        assert_same(read, oracle.tf.make_ndarray(proto))
    else:  # zeros and empty strings, as the C++ server has it
        assert not any(read.ravel().tolist())
    assert_same(tensors.decode(memoryview(unpacked(proto, FIELDS[row.field]))), read)


def typed_values(array: np.ndarray, row: dtypes.DataType) -> list:
    flat = array.ravel()
    if row.numpy.kind == "c":
        return flat.view(flat.real.dtype).tolist()
    if row is BFLOAT16 or row.name == "DT_HALF":
        return flat.view("<u2").tolist()
    return flat.tolist()


def unpacked(proto: oracle.tensor_pb2.TensorProto, field: str) -> bytes:
    """The same message with every value in a field of its own, as proto2 senders wrote them."""
    bare = oracle.tensor_pb2.TensorProto()
    bare.CopyFrom(proto)
    bare.ClearField(field)
    parts = [bare.SerializeToString()]
    for value in getattr(proto, field):
        single = oracle.tensor_pb2.TensorProto()
        getattr(single, field).append(value)
        ((number, kind, content),) = protobuf.fields(memoryview(single.SerializeToString()))
        if field in ("float_val", "scomplex_val"):
            parts.append(protobuf.varint(number << 3 | protobuf.FIXED32) + bytes(content))
        elif field in ("double_val", "dcomplex_val"):
            parts.append(protobuf.varint(number << 3 | protobuf.FIXED64) + bytes(content))
        elif field == "string_val":
            parts.append(single.SerializeToString())
        else:
            assert kind == protobuf.LENGTH
            parts.append(protobuf.varint(number << 3 | protobuf.VARINT) + bytes(content))
    return b"".join(parts)


def assert_same(read: np.ndarray, expected: np.ndarray) -> None:
    assert read.shape == expected.shape
    if expected.dtype == oracle.tf.bfloat16.as_numpy_dtype:
        expected = expected.astype("f4")
    if read.dtype == object:
        assert read.ravel().tolist() == expected.ravel().tolist()
    else:
        assert read.dtype == expected.dtype
        assert read.tobytes() == expected.tobytes() or np.array_equal(read, expected, equal_nan=True)


@given(st.dictionaries(TEXT, arrays(), max_size=3), st.integers(0, 2**63 - 1))
@quick
def test_a_predict_answer_is_read_whole(outputs, version):
    answer = oracle.predict_pb2.PredictResponse()
    answer.model_spec.version.value = version
    for name, array in outputs.items():
        answer.outputs[name].CopyFrom(as_proto(array))
    reply = grpc_codec.read_predict_response(answer.SerializeToString())
    assert reply.version == version
    assert reply.outputs.keys() == outputs.keys()
    for name in outputs:
        assert_same(reply.outputs[name], oracle.tf.make_ndarray(answer.outputs[name]))


@pytest.mark.parametrize(
    "record", [each for each in recordings("grpc") if each.call == "Predict" and each.ok], ids=lambda each: each.name
)
def test_recorded_predictions_are_read_as_tensorflow_reads_them(record):
    expected = oracle.predict_pb2.PredictResponse.FromString(record.body)
    reply = grpc_codec.read_predict_response(record.body)
    assert reply.version == expected.model_spec.version.value
    assert reply.outputs.keys() == expected.outputs.keys()
    for name, tensor in expected.outputs.items():
        assert np.array_equal(reply.outputs[name], oracle.tf.make_ndarray(tensor))


@given(npst.arrays("f4", SHAPES))
@quick
def test_floats_become_the_bfloat16_that_tensorflow_makes(array):
    ours = dtypes.from_bfloat16(dtypes.to_bfloat16(array))
    with np.errstate(over="ignore", invalid="ignore"):
        theirs = array.astype(oracle.tf.bfloat16.as_numpy_dtype).astype("f4")
    assert np.array_equal(ours, theirs, equal_nan=True)


@given(st.integers(0, 2**63 - 1), st.sampled_from([10, 20, 30, 40, 50]), st.integers(0, 16), TEXT)
@quick
def test_status_is_read(version, state, code, message):
    answer = oracle.get_model_status_pb2.GetModelStatusResponse()
    entry = answer.model_version_status.add(version=version, state=state)
    entry.status.error_code, entry.status.error_message = code, message
    encoded = grpc_codec.status(ModelSpec("m"))
    name = oracle.get_model_status_pb2.ModelVersionStatus.State.Name(state)
    (read,) = encoded.decode(answer.SerializeToString())
    assert read == VersionStatus(version, name, CODES[code], server_text(message))
    assert CODES[code] == oracle.error_codes_pb2.Code.Name(code)
    request = oracle.get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = "m"
    assert encoded.body == request.SerializeToString()


@pytest.mark.parametrize(
    ("shape", "expected"), [([-1, 28, 28], (None, 28, 28)), ([], ()), (None, None)], ids=["batch", "scalar", "unknown"]
)
def test_metadata_is_read(shape, expected):
    signatures = oracle.get_model_metadata_pb2.SignatureDefMap()
    info = oracle.meta_graph_pb2.TensorInfo(name="x:0", dtype=oracle.types_pb2.DT_UINT8)
    info.tensor_shape.SetInParent()
    info.tensor_shape.unknown_rank = shape is None
    for size in shape or []:
        info.tensor_shape.dim.add(size=size)
    signatures.signature_def["serving_default"].inputs["images"].CopyFrom(info)
    signatures.signature_def["serving_default"].method_name = "tensorflow/serving/predict"
    answer = oracle.get_model_metadata_pb2.GetModelMetadataResponse()
    answer.model_spec.name, answer.model_spec.version.value = "fashion", 7
    packed = any_pb2.Any()
    packed.Pack(signatures)
    answer.metadata["signature_def"].CopyFrom(packed)
    encoded = grpc_codec.metadata(ModelSpec("fashion", 7))
    model = encoded.decode(answer.SerializeToString())
    assert (model.name, model.version) == ("fashion", 7)
    assert model.signatures["serving_default"] == Signature(
        {"images": TensorSpec("x:0", "DT_UINT8", expected)}, {}, "tensorflow/serving/predict"
    )
    request = oracle.get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name, request.model_spec.version.value = "fashion", 7
    assert encoded.body == request.SerializeToString()


def test_many_class_names_are_not_encoded_one_by_one(monkeypatch):
    """A request of a few bytes may ask for a million, and other calls wait while Python writes them."""
    strings = np.array([b"boot", b"shirt", b"", b"coat", b"x" * 300] * 1000, object)
    expected = oracle.tensor_pb2.TensorProto(dtype=STRING.number, string_val=strings.tolist())
    expected.tensor_shape.dim.add(size=len(strings))
    sizes = []
    prefix = protobuf.prefix
    monkeypatch.setattr(protobuf, "prefix", lambda field, size: sizes.append((field, size)) or prefix(field, size))
    assert tensors.encode(strings) == expected.SerializeToString()
    assert sorted(size for field, size in sizes if field == 8) == [0, 4, 5, 300]


@pytest.mark.parametrize("strings", [[], [b""], [b"boot", b"", "\u77ed\u9774".encode(), b"x" * 300]])
def test_strings_in_tensor_content_are_decoded(strings):
    """As a server sends them under --enable_serialization_as_tensor_content: all lengths, then all bytes."""
    content = b"".join(protobuf.varint(len(string)) for string in strings) + b"".join(strings)
    made = tensors.head(STRING, (len(strings),)) + protobuf.block(4, content)
    assert tensors.decode(memoryview(made)).tolist() == strings


@pytest.mark.parametrize(
    ("size", "content"),
    [
        (1, b"\x05boo"),
        (1, b"\x02boo"),
        (2, b"\x03boo"),
        (10**9, b"\x00"),
        (1, b"\xff" * 11),
        (3, b"\xff\xff\xff\x7f\x00\x00"),
    ],
    ids=["short", "long", "one length for two", "a billion", "no number", "gigabytes"],
)
def test_strings_in_tensor_content_that_do_not_fit_are_refused(size, content):
    made = tensors.head(STRING, (size,)) + protobuf.block(4, content)
    with pytest.raises(protobuf.WireError):
        tensors.decode(memoryview(made))
