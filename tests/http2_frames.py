"""HTTP/2 frames made by hand, for what no library would send."""

from __future__ import annotations

import socket
import struct

DATA, HEADERS, RESET, SETTINGS, PING, GOAWAY, WINDOW, CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
END_STREAM, END_HEADERS = 1, 4
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
PREDICT = "/tensorflow.serving.PredictionService/Predict"


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def integer(value: int, bits: int, first: int = 0) -> bytes:
    """RFC 7541, 5.1."""
    most = (1 << bits) - 1
    if value < most:
        return bytes([first | value])
    out, value = bytearray([first | most]), value - most
    while value >= 128:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def literal(name: str, value: str) -> bytes:
    """A header without indexing."""
    parts = (text.encode() for text in (name, value))
    return b"\0" + b"".join(integer(len(part), 7) + part for part in parts)


def call_headers(path: str = PREDICT, *extra: tuple[str, str]) -> bytes:
    """The header block of a gRPC call."""
    usual = [(":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "localhost")]
    usual += [("te", "trailers"), ("content-type", "application/grpc"), *extra]
    return b"".join(literal(name, value) for name, value in usual)


def message(body: bytes, flag: int = 0) -> bytes:
    return struct.pack(">BI", flag, len(body)) + body


def call(stream: int, body: bytes) -> bytes:
    """A complete unary call, of at most 16 KiB."""
    return frame(HEADERS, END_HEADERS, stream, call_headers()) + frame(DATA, END_STREAM, stream, message(body))


def connect(address: str, settings: bytes = b"") -> socket.socket:
    """A connection that has sent its preface."""
    host, _, port = address.rpartition(":")
    connection = socket.create_connection((host, int(port)), 60)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.sendall(PREFACE + frame(SETTINGS, 0, 0, settings))
    return connection
