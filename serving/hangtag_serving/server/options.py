"""Turns the flags into the server's options. All files that flags name are read here, before anything starts."""

from __future__ import annotations

import argparse
import ipaddress
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from hangtag.errors import InvalidInput

from ..api.rest_resources import RestOptions
from ..batching.parameters import BatchingOptions, read_batching
from ..config_files import parse_file
from ..flags import DEFAULT_BASE_PATH
from ..grpc.interface import Tls
from ..limits import DEFAULT, Limits
from ..models.lifecycle import ManagerOptions
from ..models.model_config import ModelConfig, not_local, read_config
from ..models.saved_model import LoadOptions

log = logging.getLogger("hangtag.serving")

_METRICS_PATH = "/monitoring/prometheus/metrics"


@dataclass(frozen=True)
class ServerOptions:
    """All options of the server. A port of 0 is off. Times are in seconds, sizes in bytes."""

    models: list[ModelConfig]
    config_file: Path | None
    config_poll_seconds: float
    path_map: Mapping[str, Path]
    early_labels: bool
    host: str
    port: int
    rest_api_port: int
    grpc_socket_path: str
    grpc_threads: int
    rest_threads: int
    grpc_front: str
    fast: bool
    channel_arguments: tuple[tuple[str, int | str], ...]
    tls: Tls | None
    health: bool
    tensor_content: bool
    access_log: bool
    grace_seconds: float
    max_request_bytes: int
    warmup: bool
    warmup_iterations: int
    batching: BatchingOptions | None
    per_model_batching: bool
    limits: Limits = DEFAULT
    rest: RestOptions = field(default_factory=RestOptions)
    load: LoadOptions = field(default_factory=LoadOptions)
    manager: ManagerOptions = field(default_factory=ManagerOptions)

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the server."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


def from_flags(flags: argparse.Namespace) -> ServerOptions:
    """Check the flags and read their files; raises InvalidInput, or ServingError for a model config."""
    if not (flags.port or flags.rest_api_port or flags.grpc_socket_path):
        raise InvalidInput("both ports are 0, which is off: give --port or --rest_api_port")
    if flags.port == flags.rest_api_port:
        raise InvalidInput(f"gRPC and REST cannot both have port {flags.port}")
    for name in ("port", "rest_api_port"):
        if not 0 <= getattr(flags, name) < 65536:
            raise InvalidInput(f"--{name} is {getattr(flags, name)}: a port is between 1 and 65535, 0 is off")
    if not 1 <= flags.max_json_depth <= 254:
        raise InvalidInput(f"--max_json_depth is {flags.max_json_depth}: give 1 to 254")
    limits = Limits(_positive(flags, "max_tensor_bytes"), _positive(flags, "max_image_pixels"))
    path_map = dict(flags.path_map)
    if flags.model_config_file is not None:
        models = read_config(flags.model_config_file, path_map)
    else:
        models = [_one_model(flags)]
    return ServerOptions(
        models=models,
        config_file=flags.model_config_file,
        config_poll_seconds=flags.model_config_file_poll_wait_seconds,
        path_map=path_map,
        early_labels=flags.allow_version_labels_for_unavailable_models,
        host=flags.host,
        port=flags.port,
        rest_api_port=flags.rest_api_port,
        grpc_socket_path=flags.grpc_socket_path,
        grpc_threads=_positive(flags, "grpc_max_threads"),
        rest_threads=_positive(flags, "rest_api_num_threads"),
        grpc_front=flags.grpc_front,
        fast=flags.fast == "on",
        channel_arguments=_channel_arguments(flags.grpc_channel_arguments),
        tls=None if flags.ssl_config_file is None else _tls(flags.ssl_config_file),
        health=flags.enable_grpc_healthcheck_service,
        tensor_content=flags.enable_serialization_as_tensor_content,
        access_log=flags.access_log,
        grace_seconds=flags.grace_seconds,
        max_request_bytes=_positive(flags, "max_request_bytes"),
        warmup=flags.enable_model_warmup,
        warmup_iterations=max(1, flags.num_request_iterations_for_warmup),
        batching=_batching(flags),
        per_model_batching=flags.enable_per_model_batching_parameters,
        limits=limits,
        rest=RestOptions(
            metrics_path=None if flags.monitoring_config_file is None else _metrics_path(flags.monitoring_config_file),
            cors=flags.rest_api_enable_cors_support,
            max_inflated_bytes=_positive(flags, "max_inflated_bytes"),
            max_json_depth=flags.max_json_depth,
            limits=limits,
        ),
        load=_load(flags),
        manager=ManagerOptions(
            poll_seconds=flags.file_system_poll_wait_seconds,
            max_retries=flags.max_num_load_retries,
            retry_seconds=flags.load_retry_interval_micros / 1e6,
            falls_back=flags.serve_older_versions,
        ),
    )


def _one_model(flags: argparse.Namespace) -> ModelConfig:
    """The model of --model_name and --model_base_path, or of the variables that TensorFlow Serving's image uses."""
    variables = {name: os.environ[name] for name in ("MODEL_NAME", "MODEL_BASE_PATH") if os.environ.get(name)}
    name, location = flags.model_name, flags.model_base_path
    if location is None and variables:
        log.info(
            "serving the model of the environment variables %s",
            " and ".join(f"{key}={value}" for key, value in variables.items()),
        )
        name = name or variables.get("MODEL_NAME", "model")
        location = f"{variables.get('MODEL_BASE_PATH', '/models')}/{variables.get('MODEL_NAME', 'model')}"
    elif location is None:
        location = DEFAULT_BASE_PATH
    name = name or variables.get("MODEL_NAME") or Path(location).absolute().name
    if not location:
        raise InvalidInput("--model_base_path is empty: give the folder of the model's versions")
    if "://" in location:
        raise InvalidInput(not_local(name, location))
    return ModelConfig(name, Path(location).absolute())


def _positive(flags: argparse.Namespace, name: str) -> int:
    value: int = getattr(flags, name)
    if value < 1:
        raise InvalidInput(f"--{name} is {value}: give 1 or more")
    return value


def _load(flags: argparse.Namespace) -> LoadOptions:
    both, intra, inter = (
        flags.tensorflow_session_parallelism,
        flags.tensorflow_intra_op_parallelism,
        flags.tensorflow_inter_op_parallelism,
    )
    if both and (intra or inter):
        raise InvalidInput(
            "--tensorflow_session_parallelism sets the other two: give it, or --tensorflow_intra_op_parallelism and "
            "--tensorflow_inter_op_parallelism"
        )
    return LoadOptions(
        tags=tuple(flags.saved_model_tags.split(",")),
        intra_op_threads=both or intra,
        inter_op_threads=both or inter,
        checks_methods=flags.enable_signature_method_name_check,
    )


def _batching(flags: argparse.Namespace) -> BatchingOptions | None:
    if not flags.enable_batching:
        if flags.batching_parameters_file is not None:
            raise InvalidInput(
                "server_options.batching_parameters_file is set without setting server_options.enable_batching to true."
            )
        return None
    if flags.batching_parameters_file is None:
        return BatchingOptions()
    return read_batching(flags.batching_parameters_file)


def _channel_arguments(text: str) -> tuple[tuple[str, int | str], ...]:
    pairs: list[tuple[str, int | str]] = []
    for pair in filter(None, text.split(",")):
        key, equals, value = pair.partition("=")
        if not equals:
            raise InvalidInput(f"--grpc_channel_arguments has {pair!r}: give k=v,k=v")
        pairs.append((key, int(value) if value.lstrip("-").isdecimal() else value))
    return tuple(pairs)


def _metrics_path(file: Path) -> str | None:
    prometheus = parse_file(file, "MonitoringConfig", "monitoring config file").prometheus_config
    return (prometheus.path or _METRICS_PATH) if prometheus.enable else None


def _tls(file: Path) -> Tls:
    message = parse_file(file, "SSLConfig", "SSL config file")
    if not (message.server_key and message.server_cert):
        raise InvalidInput(f"the SSL config file {file} lacks server_key or server_cert")
    if message.client_verify and not message.custom_ca:
        raise InvalidInput(
            f"the SSL config file {file} has client_verify and no custom_ca: give the authority that signs clients"
        )
    return Tls(
        message.server_key.encode(),
        message.server_cert.encode(),
        message.custom_ca.encode() or None,
        message.client_verify,
    )
