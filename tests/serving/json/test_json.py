"""The JSON dialect: what the C++ server's parser takes, refuses and repeats, by the fast path and the plain one."""

from __future__ import annotations

import json
import math
import tracemalloc
from contextlib import suppress
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hangtag.protocol import dtypes
from hangtag_serving.errors import ServingError
from hangtag_serving.fast.json_arrays import JsonTemplates, read_numbers
from hangtag_serving.json import outputs, parser
from hangtag_serving.json.excerpts import excerpt
from hangtag_serving.json.inputs import decode_base64, read_inputs
from hangtag_serving.json.request import parse_document
from hangtag_serving.limits import Budget, Limits

REFUSED = [
    (b'{"a" 1}', "Missing a colon after a name of object member. at offset: 5"),
    (b'{"a":1,}', "Missing a name for object member. at offset: 7"),
    (b"[1,]", "Invalid value. at offset: 3"),
    (b"[1 2]", "Missing a comma or ']' after an array element. at offset: 3"),
    (b"[01]", "Missing a comma or ']' after an array element. at offset: 2"),
    (b"[1e]", "Miss exponent in number. at offset: 3"),
    (b"[-]", "Invalid value. at offset: 2"),
    (b"[tru]", "Invalid value. at offset: 4"),
    (b"nope", "Invalid value. at offset: 1"),
    (b'["a', "Missing a closing quotation mark in string. at offset: 3"),
    (b'["\\x"]', "Invalid escape character in string. at offset: 2"),
    (b'["\\u12g4"]', "Incorrect hex digit after \\u escape in string. at offset: 2"),
    (b'["\\ud800"]', "The surrogate pair in string is invalid. at offset: 2"),
    (b"[" * 300, "The document is nested too deeply. at offset: 254"),
    (b"[" * 100_000, "The document is nested too deeply. at offset: 254"),
]


@pytest.mark.parametrize(("body", "part"), REFUSED, ids=[part[:30] for _, part in REFUSED])
def test_errors_have_rapidjsons_text_and_offset(body, part):
    with pytest.raises(ServingError) as caught:
        parser.parse(body)
    assert (caught.value.code, caught.value.message) == ("INVALID_ARGUMENT", f"JSON Parse error: {part}")


def test_the_dialect_is_wider_than_json():
    assert parser.parse(b"[1] and more") == [1]
    assert parser.parse(b"\xef\xbb\xbf[1]") == [1]
    assert parser.parse(b"[Inf, -Infinity]") == [math.inf, -math.inf]
    assert math.isnan(parser.parse(b"NaN"))
    assert parser.parse(b'{"a": 1, "a": 2}').find(b"a") == 1
    assert parser.parse(b'["\xff"]') == [b"\xff"]
    assert parser.parse(b'["\\ud83d\\ude00"]') == ["\U0001f600".encode()]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=5),
    max_leaves=30,
)


def same(value, expected):
    """Equal; a double may be off in its last digits, as RapidJSON reads it."""
    if isinstance(expected, float) and isinstance(value, float):
        return math.isclose(value, expected, rel_tol=1e-14, abs_tol=1e-300)
    if isinstance(expected, dict):
        return value.keys() == expected.keys() and all(same(value[key], expected[key]) for key in expected)
    if isinstance(expected, list):
        return len(value) == len(expected) and all(map(same, value, expected))
    return value == expected


@given(json_values)
def test_json_is_read_as_python_reads_it(value):
    def plain(item):
        if isinstance(item, parser.Object):
            return {name.decode("utf-8", "surrogatepass"): plain(inner) for name, inner in item.members}
        if isinstance(item, list):
            return [plain(inner) for inner in item]
        return item.decode("utf-8", "surrogatepass") if isinstance(item, bytes) else item

    text = json.dumps(value)
    assert same(plain(parser.parse(text.encode())), json.loads(text))


OUTPUTS = {
    "one of numbers": {"a": np.zeros((100, 10), np.float32)},
    "one with NaN": {"a": np.full((100, 10), np.nan, np.float32)},
    "two": {"a": np.zeros((100, 5)), "b": np.zeros((100, 5), np.int32)},
    "strings": {"a": np.array([[b"a" * 100]] * 100, object)},
    "bytes": {"a_bytes": np.array([[b"a" * 100]] * 100, object)},
}


@pytest.mark.parametrize("arrays", OUTPUTS.values(), ids=OUTPUTS)
def test_outputs_are_counted_before_they_become_json(arrays):
    """As text, and as the objects that they are on the way."""
    outputs.predictions(arrays, True, Budget())
    tracemalloc.start()
    try:
        text = outputs.predictions(arrays, True, Budget())
        needed = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(text) > 3000
    with pytest.raises(ServingError, match="max_tensor_bytes"):
        outputs.predictions(arrays, True, Budget(Limits(tensor_bytes=needed // 2)))


@pytest.mark.parametrize(
    ("read", "text"),
    [(decode_base64, b"A " * 100_000), (parser.parse, b'"' + rb"\u00e9" * 100_000 + b'"')],
    ids=["blanks in base64", "escapes"],
)
def test_strings_take_little_more_memory_than_their_text(read, text):
    read(text)
    tracemalloc.start()
    try:
        read(text)
        assert tracemalloc.get_traced_memory()[1] < 4 * len(text)
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"1.7976931348623159e308", math.inf),
        (b"1.8e308", math.inf),
        (b"-1.8e308", -math.inf),
        (b"1e-400", 0.0),
        (b"0.1", 0.1),
        (b"18446744073709551615", 2**64 - 1),
        (b"18446744073709551616", 2.0**64),
        (b"-0", 0),
        (b"0." + b"0" * 1_000_000 + b"1e1000001", 1.0),
    ],
    ids=range(9),
)
def test_numbers_at_the_edges_are_read_as_rapidjson_reads_them(text, expected):
    assert parser.parse(text) == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize(
    ("text", "offset"), [(b"[1e309]", 1), (b"[1e400]", 1), (b"9" * 400, 0), (b"9" * 1_000_000, 0)], ids="abcd"
)
def test_numbers_that_no_double_holds_are_refused(text, offset):
    with pytest.raises(ServingError) as caught:
        parser.parse(text)
    assert caught.value.message == f"JSON Parse error: Number too big to be stored in double. at offset: {offset}"


def test_a_document_that_takes_too_much_memory_is_refused():
    for body in (b"[" + b"0," * 1000 + b"true]", b'["' + b"a" * 40_000 + b'"]', b"[" + b"{}," * 1000 + b"1]"):
        with pytest.raises(ServingError, match="max_tensor_bytes=10000 "):
            parser.parse(body, budget=Budget(Limits(tensor_bytes=10_000)))


@given(st.binary(max_size=200))
def test_no_bytes_make_the_parser_fail(body):
    with suppress(ServingError):
        parser.parse(body)


def test_excerpts_are_printed_as_rapidjson_prints():
    document = parser.parse(b'{"a":[1,2.5,{"b":null}],"c":"\\u0001\\"","d":{},"e":[true,1e30,3e-7,1e17]}')
    assert excerpt(document) == (
        '{\n    "a": [1, 2.5, {\n            "b": null\n        }],\n    "c": "\\u0001\\"",\n    "d": {},\n'
        '    "e": [true, 1e30, 3e-7, 100000000000000000.0]\n}'
    )
    assert excerpt(parser.parse(b"[1, NaN, 2]")) == "[1, "
    assert len(excerpt(list(range(1000)))) < 270


NUMBERS = {"DT_FLOAT": st.floats(width=32), "DT_UINT8": st.integers(-(2**31), 2**31 - 1), "DT_INT64": st.integers()}


@pytest.mark.parametrize("name", NUMBERS)
@given(data=st.data())
def test_the_fast_path_agrees_with_the_plain_one(name, data):
    """Any nesting, ragged or not: the same array, and none where the plain path refuses."""
    leaf = NUMBERS[name]
    nested = st.recursive(leaf, lambda inner: st.lists(inner, min_size=1, max_size=3), max_leaves=12)
    value = data.draw(nested | st.lists(st.lists(leaf, min_size=2, max_size=2), min_size=1, max_size=4))
    key = data.draw(st.sampled_from(["instances", "inputs"]))
    body = json.dumps({key: value}).encode()
    number = dtypes.BY_NAME[name].number
    matched = JsonTemplates().match(body)
    fast = read_numbers(matched.text, number, 254) if matched is not None else None
    try:
        arrays, as_rows = read_inputs(
            parse_document(body, 254, Budget())[0], {"x": SimpleNamespace(dtype=number)}, Budget()
        )
    except ServingError:
        assert fast is None, "the plain path refuses it"
        return
    if fast is not None:
        assert matched is not None
        plain = arrays["x"]
        assert (fast.dtype, fast.shape, fast.tobytes()) == (plain.dtype, plain.shape, plain.tobytes())
        assert matched.as_rows == as_rows
    elif arrays["x"].size and arrays["x"].ndim:
        assert b"Infinity" in body or b"NaN" in body, "an array that the fast path should have read"


def test_integers_wrap_as_in_cpp():
    specs = {"x": SimpleNamespace(dtype=dtypes.BY_NAME["DT_UINT8"].number)}
    arrays, _ = read_inputs(parse_document(b'{"instances": [256, -1, 300]}', 254, Budget())[0], specs, Budget())
    assert arrays["x"].tolist() == [0, 255, 44]
    assert arrays["x"].dtype == np.uint8


def test_numbers_of_a_fixed_width_are_read_as_json_does():
    """As the client writes pixels: blanks before each number, and before each bracket."""
    rows = ["[" + ",".join(f"{value:3}" for value in range(start, 256)) + "]  " for start in range(4)]
    text = "[" + " ,".join(rows) + "]"
    assert parser.parse(text.encode()) == json.loads(text)
