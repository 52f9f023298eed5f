"""`hangtag inspect`: shows signatures, class names and card of a running model or of a version on disk."""

from __future__ import annotations

import argparse
import json
import mmap
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..config.target import parse_target
from ..contract import CARD
from ..errors import InvalidInput, UnknownSignature
from ..images.files import read_file
from ..model import Signature, TensorSpec, VersionStatus
from ..protocol import grpc_codec, protobuf
from . import connection
from .terminal import colour, done, one_line

_LARGEST_CARD = 16 << 20  # bytes
_SHOWN = 20  # class names, in the table
_WIDTH = 80


class Inspected(NamedTuple):
    """The properties of a model. `states` is empty for a version on disk; `card` is None for a running model."""

    title: str
    version: int | None
    signatures: Mapping[str, Signature]
    class_names: Sequence[str] | None
    states: Sequence[VersionStatus] = ()
    tags: Sequence[str] = ()
    tensorflow: str = ""
    card: Mapping[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for json."""
        signatures = {
            name: {
                "method_name": signature.method_name,
                "inputs": {key: _spec_dict(spec) for key, spec in sorted(signature.inputs.items())},
                "outputs": {key: _spec_dict(spec) for key, spec in sorted(signature.outputs.items())},
            }
            for name, signature in sorted(self.signatures.items())
        }
        return {
            "title": self.title,
            "version": self.version,
            "versions": [{"version": each.version, "state": each.state} for each in self.states],
            "tags": list(self.tags),
            "tensorflow": self.tensorflow,
            "signatures": signatures,
            "class_names": None if self.class_names is None else list(self.class_names),
            "card": self.card,
        }


def register(commands: Any) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "inspect",
        description="Show the signatures of a model with their dtypes and shapes, its class names, and its model "
        "card. PATH is a model on disk; without it, --target and --model choose a running model.",
        examples=[
            "hangtag inspect --target localhost:8500 --model fashion",
            "hangtag inspect models/fashion/1 --json",
        ],
    )
    parser.add_argument(
        "path", metavar="PATH", nargs="?", help="version folder, or base path (its newest version is used)"
    )
    connection.add_server(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=_inspect)


def _inspect(arguments: argparse.Namespace) -> int:
    if arguments.path == "":
        raise InvalidInput("the path is empty: give a version's folder, or a base path")
    inspected = _running(arguments) if arguments.path is None else read_version(Path(arguments.path))
    if arguments.json:
        print(json.dumps(inspected.to_dict(), indent=2))
    else:
        print("\n".join(_table(inspected)))
    next_step = "hangtag classify IMAGE" if arguments.path is None else "hangtag serve --model_base_path BASE_PATH"
    done(f"{len(inspected.signatures)} signatures", next_step=next_step)
    return 0


def _running(arguments: argparse.Namespace) -> Inspected:
    with connection.client(arguments) as client:
        model = client.metadata()
        states = client.status()
        try:
            names = client.labels()
        except (UnknownSignature, InvalidInput):  # a model that Hangtag did not make, without class names or scores
            names = None
    title = f"{model.name} version {model.version} at {parse_target(arguments.target)}"  # without a password
    signatures = {name: signature for name, signature in model.signatures.items() if not _internal(name)}
    return Inspected(title, model.version, signatures, names, states)


def _internal(name: str) -> bool:
    """Whether TensorFlow added the signature for loading the model."""
    return name.startswith("__")


# ---- a version on disk


def read_version(folder: Path) -> Inspected:
    """The SavedModel of a version, read without TensorFlow; raises InvalidInput."""
    folder = _version_folder(folder)
    try:
        with (folder / "saved_model.pb").open("rb") as file:
            content = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        tags, tensorflow, signatures = _read_saved_model(content)
    except OSError as error:
        raise InvalidInput(f"cannot read {folder / 'saved_model.pb'}: {error.strerror}") from error
    except ValueError as error:  # an empty file, or WireError
        raise InvalidInput(f"{folder / 'saved_model.pb'} is not a SavedModel: {error}") from error
    card = _read_card(folder / CARD)
    names = None if card is None else card.get("class_names")
    if not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        names = None
    version = int(folder.name) if folder.name.isdecimal() else None
    return Inspected(str(folder), version, signatures, names, (), tags, tensorflow, card)


def _version_folder(folder: Path) -> Path:
    """`folder` itself, or the newest version below it."""
    if (folder / "saved_model.pb").is_file():
        return folder
    try:
        versions = [entry for entry in folder.iterdir() if entry.name.isdecimal() and entry.is_dir()]
    except OSError as error:
        raise InvalidInput(f"cannot read {folder}: {error.strerror}") from error
    if not versions:
        raise InvalidInput(f"{folder} has no saved_model.pb, and no version below it")
    return max(versions, key=lambda entry: int(entry.name))


def _read_saved_model(content: memoryview) -> tuple[list[str], str, dict[str, Signature]]:
    """Tags, TensorFlow's version and signatures of the first graph. Source: saved_model.proto, meta_graph.proto."""
    graph = next((protobuf.as_block(value) for field, _, value in protobuf.fields(content) if field == 2), None)
    if graph is None:
        raise InvalidInput("saved_model.pb has no graph")
    tags: list[str] = []
    tensorflow = ""
    signatures: dict[str, Signature] = {}
    for field, _, value in protobuf.fields(graph):
        if field == 1:  # MetaInfoDef
            for inner, _, part in protobuf.fields(protobuf.as_block(value)):
                if inner == 4:
                    tags.append(protobuf.as_text(part))
                elif inner == 5:
                    tensorflow = protobuf.as_text(part)
        elif field == 5:  # signature_def
            name, signature = protobuf.map_entry(value)
            if not _internal(name):
                signatures[name] = grpc_codec.read_signature(signature)
    return tags, tensorflow, signatures


def _read_card(path: Path) -> dict[str, Any] | None:
    """The model card; None if there is none or it cannot be read."""
    try:
        content = read_file(path, _LARGEST_CARD)
        card = json.loads(content) if len(content) <= _LARGEST_CARD else None
    except (OSError, ValueError, RecursionError):
        return None
    return card if isinstance(card, dict) else None


# ---- the table


def _table(inspected: Inspected) -> Iterable[str]:
    yield colour(one_line(inspected.title), "bold")
    if inspected.states:
        yield "versions: " + ", ".join(one_line(f"{each.version} {each.state}") for each in inspected.states)
    if inspected.tensorflow:
        yield one_line(f"TensorFlow {inspected.tensorflow}, tags {', '.join(inspected.tags)}")
    for name, signature in sorted(inspected.signatures.items()):
        yield ""
        yield colour(one_line(name), "bold")
        width = max((len(key) for key in (*signature.inputs, *signature.outputs)), default=0)
        for direction, specs in (("in ", signature.inputs), ("out", signature.outputs)):
            for key, spec in sorted(specs.items()):
                yield one_line(f"  {direction}  {key:{width}}  {spec}")
    yield ""
    yield _names_line(inspected.class_names)
    for key, value in (inspected.card or {}).items():
        if isinstance(value, str | int | float) and not isinstance(value, bool):
            yield one_line(f"{key.replace('_', ' ')}: {value}")[:_WIDTH]


def _names_line(names: Sequence[str] | None) -> str:
    if names is None:
        return "class names: none in the model; give them by --labels FILE"
    more = f", … {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else ""
    text = one_line(f"{len(names):,} classes: {', '.join(names[:_SHOWN])}{more}")
    return textwrap.fill(text, _WIDTH, subsequent_indent="  ", break_on_hyphens=False)


def _spec_dict(spec: TensorSpec) -> dict[str, Any]:
    """A spec for JSON. `shape` is null for an unknown rank, and has null for an open dimension."""
    return {"dtype": spec.dtype, "shape": None if spec.shape is None else list(spec.shape)}
