"""Reads and parses the files in protobuf's text format that flags name.

Sources: tensorflow_serving/config/{monitoring_config,ssl_config}.proto and BatchingParameters in
tensorflow_serving/servables/tensorflow/session_bundle_config.proto, which tensorflow-serving-api does not contain.
"""

from __future__ import annotations

import os
import stat
import time
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

from hangtag.errors import InvalidInput
from hangtag.optional import require

# Message name to its fields: name, number and type. A type with a capital letter is another message.
_MESSAGES = {
    "Int64": [("value", 1, "int64")],
    "Bool": [("value", 1, "bool")],
    "String": [("value", 1, "string")],
    "PrometheusConfig": [("enable", 1, "bool"), ("path", 2, "string")],
    "MonitoringConfig": [("prometheus_config", 1, "PrometheusConfig")],
    "SSLConfig": [
        ("server_key", 1, "string"),
        ("server_cert", 2, "string"),
        ("custom_ca", 3, "string"),
        ("client_verify", 4, "bool"),
    ],
    "BatchingParameters": [
        ("max_batch_size", 1, "Int64"),
        ("batch_timeout_micros", 2, "Int64"),
        ("max_enqueued_batches", 3, "Int64"),
        ("num_batch_threads", 4, "Int64"),
        ("thread_pool_name", 5, "String"),
        ("allowed_batch_sizes", 6, "repeated int64"),
        ("pad_variable_length_inputs", 7, "bool"),
        ("enable_large_batch_splitting", 8, "Bool"),
        ("max_execution_batch_size", 9, "Int64"),
    ],
}

_MAX_BYTES = 16 << 20
_PIPE_SECONDS = 2.0


def read_text(path: Path, what: str) -> str:
    """The text of a file of at most 16 MiB. Raises InvalidInput, where `what` describes the file.

    A pipe, such as a shell's ``<(command)``, is read for two seconds at most.
    """
    try:
        with open(path, "rb", opener=_without_waiting) as file:
            content = _read_pipe(file) if stat.S_ISFIFO(os.fstat(file.fileno()).st_mode) else file.read(_MAX_BYTES + 1)
        text = content.decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise InvalidInput(f"cannot read the {what} {path}: {reason}") from error
    if len(content) > _MAX_BYTES:
        raise InvalidInput(f"the {what} {path} is larger than {_MAX_BYTES} bytes")
    return text


def _without_waiting(path: str, flags: int) -> int:
    """Open a file; opening a pipe does not wait for a writer."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _read_pipe(file: BinaryIO) -> bytes:
    """The content of a pipe, until it is closed, too long, or the time is over."""
    content, deadline = b"", time.monotonic() + _PIPE_SECONDS
    while len(content) <= _MAX_BYTES and time.monotonic() < deadline:
        try:
            part = os.read(file.fileno(), 1 << 16)
        except BlockingIOError:  # the writer has not written yet
            part = None
        if part:
            content += part
        elif part == b"" and content:
            break
        else:
            time.sleep(_PIPE_SECONDS / 100)
    return content


def parse_file(path: Path, message: str, what: str) -> Any:
    """The message in a text file; `what` describes the file in errors."""
    return parse_text(read_text(path, what), _classes()[message](), f"{what} {path}")


def parse_text(text: str, message: Any, what: str) -> Any:
    """Fill `message` from protobuf's text format."""
    text_format = require("google.protobuf.text_format", extra="serving", what="hangtag serve")
    try:
        return text_format.Parse(text, message)
    except (text_format.ParseError, RecursionError) as error:
        raise InvalidInput(f"cannot parse the {what}: {error}") from error


@cache
def _classes() -> dict[str, Any]:
    pb = require("google.protobuf.descriptor_pb2", extra="serving", what="hangtag serve")
    pool = require("google.protobuf.descriptor_pool", extra="serving", what="hangtag serve").DescriptorPool()
    factory = require("google.protobuf.message_factory", extra="serving", what="hangtag serve")
    file = pb.FileDescriptorProto(name="hangtag/text_config.proto", package="hangtag", syntax="proto3")
    kind = pb.FieldDescriptorProto
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for field_name, number, type_name in fields:
            entry = message.field.add(name=field_name, number=number, label=kind.LABEL_OPTIONAL)
            if type_name.startswith("repeated "):
                entry.label, type_name = kind.LABEL_REPEATED, type_name.removeprefix("repeated ")
            if type_name[0].isupper():
                entry.type, entry.type_name = kind.TYPE_MESSAGE, f".hangtag.{type_name}"
            else:
                entry.type = getattr(kind, f"TYPE_{type_name.upper()}")
    pool.AddSerializedFile(file.SerializeToString())
    return {name: factory.GetMessageClass(pool.FindMessageTypeByName(f"hangtag.{name}")) for name in _MESSAGES}
