"""Examine a compose or Kubernetes file: how it runs tensorflow_model_server, and what it lets in."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from hangtag.optional import require

from ..flags import add_flags
from .findings import FAIL, OK, WARN, Finding

_SERVER = "tensorflow_model_server"
_OURS = {
    "access_log",
    "grace_seconds",
    "grpc_front",
    "host",
    "max_inflated_bytes",
    "max_json_depth",
    "max_request_bytes",
    "path_map",
}
_IMAGE = "tensorflow/serving"


def examine_deployment(path: Path) -> Iterator[Finding]:
    """Every service or container in the file that is TensorFlow Serving."""
    yaml = require("yaml", extra="serving", what="hangtag doctor on YAML")
    try:
        documents = [one for one in yaml.safe_load_all(path.read_text(encoding="utf-8")) if isinstance(one, dict)]
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        yield Finding(FAIL, str(path), f"cannot be read: {' '.join(str(error).split())}")
        return
    examined = 0
    for document in documents:
        for name, service in (document.get("services") or {}).items():
            if _is_server(service, service.get("entrypoint")):
                examined += 1
                yield from _examine_service(f"{path} {name}", service)
        pod = (((document.get("spec") or {}).get("template") or {}).get("spec")) or {}
        for container in pod.get("containers") or []:
            if _is_server(container, container.get("command")):
                examined += 1
                yield from _examine_container(f"{path} {container.get('name')}", pod, container)
    if examined:
        yield Finding(OK, str(path), f"runs TensorFlow Serving {'once' if examined == 1 else f'{examined} times'}")
    else:
        yield Finding(FAIL, str(path), "runs no TensorFlow Serving", "give a compose file or a Kubernetes Deployment")


def _is_server(part: dict[str, Any], command: Any) -> bool:
    return str(part.get("image", "")).startswith(_IMAGE) or _SERVER in str(command or "")


def _examine_service(subject: str, service: dict[str, Any]) -> Iterator[Finding]:
    yield from _examine_image(subject, service)
    yield from _examine_flags(subject, _words(service.get("command")))
    if not service.get("entrypoint"):
        words = (
            "uses the image's bash entrypoint, which does not hand SIGTERM on: every stop takes the full grace period"
        )
        yield Finding(WARN, subject, words, f'entrypoint: ["{_SERVER}"] and init: true')
    elif not service.get("init"):
        words = "the server as process 1 ignores SIGTERM: every stop takes the full grace period"
        yield Finding(WARN, subject, words, "init: true")
    if str(service.get("user", "root")).split(":")[0] in ("root", "0"):
        yield Finding(WARN, subject, "runs as root", 'user: "65534:65534"')
    for port in service.get("ports") or []:
        if not str(port).startswith(("127.", "[::1]", "localhost")):
            words = f"publishes {port} on all interfaces, and neither door asks who is there"
            yield Finding(WARN, subject, words, f'"127.0.0.1:{port}", or a proxy with tokens in front')
    if not service.get("healthcheck"):
        yield Finding(
            WARN,
            subject,
            "has no health check",
            "ask GET /v1/models/NAME/metadata, which is 200 only when it can answer",
        )


def _examine_container(subject: str, pod: dict[str, Any], container: dict[str, Any]) -> Iterator[Finding]:
    yield from _examine_image(subject, container)
    yield from _examine_flags(subject, _words(container.get("args")))
    path = ((container.get("readinessProbe") or {}).get("httpGet") or {}).get("path", "")
    if not path.endswith("/metadata"):
        words = "its readiness probe is not /v1/models/NAME/metadata: a model that failed to load would count as ready"
        yield Finding(WARN, subject, words, "httpGet on the REST port, path /v1/models/NAME/metadata")
    if not pod.get("shareProcessNamespace"):
        words = "the server as process 1 ignores SIGTERM: every stop takes the full grace period"
        yield Finding(WARN, subject, words, "shareProcessNamespace: true")
    if not (container.get("lifecycle") or {}).get("preStop"):
        words = "has no preStop pause: calls still on their way when a pod ends are cut"
        yield Finding(WARN, subject, words, "preStop: exec: command: [sleep, '15']")
    if not (pod.get("securityContext") or {}).get("runAsNonRoot"):
        yield Finding(WARN, subject, "may run as root", "securityContext: runAsNonRoot: true, runAsUser: 65534")


def _examine_image(subject: str, part: dict[str, Any]) -> Iterator[Finding]:
    image = str(part.get("image", ""))
    if image.startswith(_IMAGE) and (":" not in image or image.endswith((":latest", ":nightly"))):
        yield Finding(WARN, subject, f"image {image} changes without a change here", f"{_IMAGE}:2.20.0, or a digest")


def _examine_flags(subject: str, words: Sequence[str]) -> Iterator[Finding]:
    flags = dict(word.removeprefix("--").partition("=")[::2] for word in words if word.startswith("--"))
    known = _server_flags()
    for flag in flags:
        if flag not in known:
            nearest = difflib.get_close_matches(flag, known, 1)
            words_ = f"--{flag} is no flag of the server, which ignores it and starts all the same"
            yield Finding(FAIL, subject, words_, f"--{nearest[0]}" if nearest else "take it out")
    if flags.get("rest_api_num_threads") == "1":
        words_ = "--rest_api_num_threads=1 freezes REST: its event loop takes the one thread there is"
        yield Finding(FAIL, subject, words_, "give at least 2, or leave it out")
    if "batching_parameters_file" in flags and flags.get("enable_batching", "false") == "false":
        words_ = "--batching_parameters_file without --enable_batching keeps the server from starting"
        yield Finding(FAIL, subject, words_, "--enable_batching=true")
    if "rest_api_port" not in flags:
        yield Finding(WARN, subject, "REST and metrics are off without --rest_api_port", "--rest_api_port=8501")
    if "grpc_max_threads" not in flags:
        words_ = "at 4 threads a core, the default, calls beyond are refused: Server Threadpool Exhausted"
        yield Finding(WARN, subject, words_, "--grpc_max_threads=64")
    if "model_config_file" in flags and "allow_version_labels_for_unavailable_models" not in flags:
        words_ = "a first start with version labels fails: labels are assigned before anything is loaded"
        yield Finding(WARN, subject, words_, "--allow_version_labels_for_unavailable_models=true")


@cache
def _server_flags() -> list[str]:
    """The flags of the C++ server: ours without those that only we have."""
    parser = argparse.ArgumentParser(add_help=False)
    add_flags(parser)
    options = {option.removeprefix("--") for action in parser._actions for option in action.option_strings}
    return sorted(options - _OURS)


def _words(value: Any) -> list[str]:
    if isinstance(value, str):
        return value.split()
    return [str(word) for word in value or []]
