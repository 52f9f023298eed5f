"""The flags of every command that talks to a server: its address, the model, TLS and headers."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..contract import RANGES, SCORES
from ..errors import InvalidInput

if TYPE_CHECKING:
    from ..client import Client

DEFAULT_TARGET = "localhost:8500"


def add_server(
    parser: argparse.ArgumentParser,
    timeout: float = 10.0,
    timeout_help: str = "deadline for the whole command (default %(default)g)",
) -> None:
    """Add target, model, version, labels, language, timeout, and the flags of `add_trust`."""
    parser.add_argument(
        "--target",
        default=DEFAULT_TARGET,
        help=f"server address: host:port for gRPC, http://host:port for REST (default {DEFAULT_TARGET})",
    )
    parser.add_argument("--model", default="fashion", help="model name on the server (default fashion)")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--version", type=int, metavar="N", help="use this version instead of the newest")
    which.add_argument("--label", metavar="LABEL", help="use the version with this label, for example stable")
    add_labels(parser)
    parser.add_argument(
        "--language", choices=("en", "zh"), default="en", help="language of the Fashion-MNIST class names (default en)"
    )
    add_timeout(parser, timeout, timeout_help)
    add_trust(parser)


def add_labels(parser: argparse.ArgumentParser) -> None:
    """Add --labels."""
    parser.add_argument(
        "--labels",
        metavar="FILE",
        help="read class names from a text file (one per line) or a JSON file, not from the model",
    )


def add_timeout(
    parser: argparse.ArgumentParser, seconds: float = 10.0, text: str = "deadline for each call (default %(default)g)"
) -> None:
    """Add --timeout."""
    parser.add_argument("--timeout", type=float, default=seconds, metavar="SECONDS", help=text)


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Add flags for models that Hangtag did not make, which may not describe their pixels and scores."""
    group = parser.add_argument_group("models that Hangtag did not make")
    group.add_argument(
        "--pixels", choices=RANGES, help="pixel range that the model expects; files and integers are converted to it"
    )
    group.add_argument(
        "--scores", choices=SCORES, help="meaning of the model's scores (default: derived from the name of the output)"
    )
    group.add_argument(
        "--model-output", metavar="NAME", help="output that has the scores, if the model has several outputs"
    )


def add_trust(parser: argparse.ArgumentParser) -> None:
    """Add the flags for TLS and headers."""
    parser.add_argument("--tls", action="store_true", help="use TLS for host:port, like grpcs://host:port")
    parser.add_argument("--ca", metavar="FILE", help="PEM file of the CA that signed the server's certificate")
    parser.add_argument("--cert", metavar="FILE", help="PEM file of the client certificate, for mutual TLS")
    parser.add_argument("--key", metavar="FILE", help="PEM file of the private key for --cert")
    parser.add_argument(
        "--header",
        metavar="'NAME: VALUE'",
        action="append",
        default=[],
        help="send this HTTP header or gRPC metadata with every request; @FILE reads one header per line, which keeps "
        "secrets out of the process list; may be repeated",
    )


def client(arguments: argparse.Namespace, **options: Any) -> Client:
    """A client for the server that the flags of `add_server` name."""
    from ..client import Client

    return Client(
        arguments.target,
        version=arguments.version,
        version_label=arguments.label,
        language=arguments.language,
        **model_options(arguments),
        **trust(arguments),
        **options,
    )


def model_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """The client's arguments that do not depend on the server, including those of `add_model_options` if added."""
    return {
        "model": arguments.model,
        "labels": arguments.labels,
        "timeout": arguments.timeout,
        "pixels": getattr(arguments, "pixels", None),
        "scores": getattr(arguments, "scores", None),
        "output": getattr(arguments, "model_output", None),
    }


def trust(arguments: argparse.Namespace) -> dict[str, Any]:
    """The client's arguments from the flags of `add_trust`; raises InvalidInput."""
    if not arguments.debug:
        # Otherwise gRPC's C core writes several lines about a failed handshake to standard error.
        os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    tls = None
    if arguments.tls or arguments.ca or arguments.cert or arguments.key:
        from ..config.target import TLS

        tls = TLS(arguments.ca, arguments.cert, arguments.key)
    return {"tls": tls, "headers": _headers(arguments.header)}


def _headers(given: Iterable[str]) -> dict[str, str]:
    """The headers of --header. Errors never show a value, which may be a secret."""
    headers: dict[str, str] = {}
    for text in given:
        if text.startswith("@"):
            lines = [(f"line {number} of {text[1:]}", line) for number, line in enumerate(_lines(text[1:]), 1)]
        else:
            lines = [("--header", text)]
        for where, line in lines:
            if not line.strip():
                continue
            name, colon, value = line.partition(":")
            name = name.strip()
            if not colon or not name:
                raise InvalidInput(f"{where} is neither 'NAME: VALUE' nor @FILE with such lines")
            if name.lower() in map(str.lower, headers):
                raise InvalidInput(f"{where} repeats the header {name}")
            headers[name] = value.strip()
    return headers


def _lines(file: str) -> list[str]:
    try:
        return Path(file).read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise InvalidInput(f"cannot read the headers in {file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{file} is not text: give one header per line") from error
