"""The wire format of Protocol Buffers, as far as TensorFlow Serving's messages need it.

Source: https://protobuf.dev/programming-guides/encoding/. The messages themselves are in `tensors` and `grpc_codec`.
Reading never copies: submessages and bytes are memoryviews of the received buffer.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5

_MAX_VARINT_BYTES = 10


class WireError(ValueError):
    """The bytes are not a message of the expected kind."""


# ---- writing


def varint(value: int) -> bytes:
    """`value` as a varint; negative numbers take ten bytes, as int32 and int64 fields do.

    >>> varint(300).hex(), len(varint(-1))
    ('ac02', 10)
    """
    if 0 <= value < 0x80:
        return bytes((value,))
    value &= 0xFFFF_FFFF_FFFF_FFFF
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def number(field: int, value: int) -> bytes:
    """A varint field."""
    return varint(field << 3 | VARINT) + varint(value)


def prefix(field: int, size: int) -> bytes:
    """The tag and length before the `size` bytes of a length-delimited field."""
    return varint(field << 3 | LENGTH) + varint(size)


def block(field: int, content: bytes) -> bytes:
    """A length-delimited field: a string, bytes or a submessage."""
    return prefix(field, len(content)) + content


def text(field: int, value: str) -> bytes:
    """A string field, left out when empty as proto3 does."""
    return block(field, value.encode()) if value else b""


# ---- reading

Value = int | memoryview


def fields(buffer: memoryview) -> Iterator[tuple[int, int, Value]]:
    """Yield (field number, wire type, value) for each field; fixed-size values come as memoryviews."""
    position, end = 0, len(buffer)
    while position < end:
        key = buffer[position]
        if key < 0x80:  # nearly all keys and sizes are one byte, and a function call would take longer than reading it
            position += 1
        else:
            key, position = _read_varint(buffer, position)
        field, kind = key >> 3, key & 7
        if field == 0:
            raise WireError("field number 0")
        if kind == VARINT:
            value, position = _read_varint(buffer, position)
            yield field, kind, value
            continue
        if kind == LENGTH:
            if position < end and buffer[position] < 0x80:
                size, position = buffer[position], position + 1
            else:
                size, position = _read_varint(buffer, position)
        elif kind == FIXED32:
            size = 4
        elif kind == FIXED64:
            size = 8
        else:
            raise WireError(f"wire type {kind}")
        if size > end - position:
            raise WireError("a field runs past the end of its message")
        yield field, kind, buffer[position : position + size]
        position += size


def _read_varint(buffer: memoryview, position: int) -> tuple[int, int]:
    value = shift = 0
    for byte in buffer[position : position + _MAX_VARINT_BYTES]:
        value |= (byte & 0x7F) << shift
        shift += 7
        position += 1
        if byte < 0x80:
            return value & 0xFFFF_FFFF_FFFF_FFFF, position
    raise WireError("a number is cut off or too long")


def as_block(value: Value) -> memoryview:
    """A field that must be length-delimited."""
    if isinstance(value, int):
        raise WireError("a number where a message belongs")
    return value


def as_text(value: Value) -> str:
    """A field that must be a UTF-8 string."""
    try:
        return str(as_block(value), "utf-8")
    except UnicodeDecodeError as error:
        raise WireError("a string is not UTF-8") from error


def as_int(value: Value) -> int:
    """A field that must be an int64, in two's complement."""
    if not isinstance(value, int):
        raise WireError("a message where a number belongs")
    return value - (1 << 64) if value >> 63 else value


def map_entry(value: Value) -> tuple[str, memoryview]:
    """The key and the value of a map<string, Message> entry."""
    key, content = "", memoryview(b"")
    for field, _, part in fields(as_block(value)):
        if field == 1:
            key = as_text(part)
        elif field == 2:
            content = as_block(part)
    return key, content


def packed_varints(content: memoryview) -> np.ndarray:
    """All varints of a packed field, as uint64. numpy decodes the first bytes of all, then the second ones."""
    octets = np.frombuffer(content, np.uint8)
    ends = np.flatnonzero(octets < 0x80)
    if octets.size and (not ends.size or ends[-1] != octets.size - 1):
        raise WireError("a number is cut off")
    starts = np.concatenate(([0], ends[:-1] + 1)) if ends.size else ends
    lengths = ends - starts + 1
    values = np.zeros(ends.size, np.uint64)
    for place in range(int(lengths.max(initial=0))):
        if place == _MAX_VARINT_BYTES:
            raise WireError("a number is too long")
        longer = lengths > place
        septets = (octets[starts[longer] + place] & 0x7F).astype(np.uint64)
        values[longer] |= septets << np.uint64(7 * place)
    return values
