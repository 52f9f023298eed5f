"""The flags of `hangtag serve`: tensorflow_model_server's, with its defaults, and a few of our own.

Source: tensorflow_serving/model_servers/main.cc, 2.20.0. For an unknown flag, the C++ server prints
``unknown argument`` and runs; this server stops and suggests the nearest flag, so that a typo is noticed.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from .machine import usable_cores

_CPUS = usable_cores()

# Accepted so that a command line for the C++ server works; they have no effect here.
WITHOUT_EFFECT = (
    "enable_profiler",
    "flush_filesystem_caches",
    "num_unload_threads",
    "num_load_threads",
    "per_process_gpu_memory_fraction",
    "remove_unused_fields_from_bundle_metagraph",
    "prefer_tflite_model",
    "mixed_precision",
    "skip_initialize_tpu",
    "thread_pool_factory_config_file",
    "platform_config_file",
    "tensorflow_session_config_file",
    "use_alts_credentials",
    "rest_api_timeout_in_ms",
    "num_tflite_pools",
    "num_tflite_interpreters_per_pool",
    "xla_cpu_compilation_enabled",
    "xla_gpu_compilation_enabled",
)

OWN = {
    "access_log",
    "fast",
    "grace_seconds",
    "grpc_front",
    "host",
    "max_image_pixels",
    "max_inflated_bytes",
    "max_json_depth",
    "max_request_bytes",
    "max_tensor_bytes",
    "path_map",
    "serve_older_versions",
}
"""The flags that tensorflow_model_server does not have."""

DEFAULT_BASE_PATH = "models/fashion"


def boolean(text: str) -> bool:
    """TensorFlow's spelling of a boolean flag."""
    if text.lower() in ("true", "1", "t", "yes"):
        return True
    if text.lower() in ("false", "0", "f", "no"):
        return False
    raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")


def path_map(text: str) -> tuple[str, Path]:
    """``/models=DIR``."""
    prefix, _, folder = text.partition("=")
    if not prefix.startswith("/") or not folder:
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form /PATH/IN/THE/CONFIG=FOLDER")
    return prefix, Path(folder).absolute()


def _file(text: str) -> Path | None:
    """A path; an empty text is none, as with the C++ server."""
    return Path(text) if text else None


def add_flags(serve: argparse.ArgumentParser) -> None:
    """Add all flags to the parser of the command."""

    def flag(name: str, default: Any, text: str, kind: Any = None) -> None:
        kind = kind or type(default)
        shown = {bool: "BOOL", int: "N", float: "SECONDS", Path: "FILE"}.get(kind, "TEXT")
        if kind is bool:
            options: dict[str, Any] = {"type": boolean, "nargs": "?", "const": True}
        else:
            options = {"type": _file if kind is Path else kind}
        serve.add_argument(f"--{name}", metavar=shown, default=default, help=text, **options)

    flag("host", "127.0.0.1", "address to listen on (default %(default)s: this machine only)")
    flag("port", 8500, "of gRPC; 0 is off (default %(default)s)")
    flag("grpc_socket_path", "", "unix socket for gRPC, besides the port or instead of it")
    flag("rest_api_port", 8501, "of REST; 0 is off (default %(default)s)")
    flag("model_name", None, "default: $MODEL_NAME, or the last folder of the base path", str)
    flag(
        "model_base_path",
        None,
        "folder of versions (default: $MODEL_BASE_PATH/$MODEL_NAME if one of them is set, as in TensorFlow Serving's "
        f"image, else {DEFAULT_BASE_PATH})",
        str,
    )
    flag("model_config_file", None, "text file of a ModelServerConfig: several models, policies, labels", Path)
    flag("model_config_file_poll_wait_seconds", 0.0, "between two looks at that file; 0 is once (default 0)")
    serve.add_argument(
        "--path_map",
        type=path_map,
        action="append",
        default=[],
        metavar="/PATH=FOLDER",
        help="where a base path of the config lies on this machine, for a config written for a container",
    )
    flag("file_system_poll_wait_seconds", 1.0, "between two looks for versions; 0 is once (default 1)")
    flag("max_num_load_retries", 5, "for a version that fails (default 5)")
    flag("load_retry_interval_micros", 60_000_000, "between two tries (default 60000000)")
    flag("serve_older_versions", True, "while the newest version does not load, serve the newest that does (ours)")
    flag("allow_version_labels_for_unavailable_models", False, "let a new label name a version not loaded yet")
    flag("enable_model_warmup", True, "run a version's warmup requests before it is available (default true)")
    flag("num_request_iterations_for_warmup", 0, "how often each of them runs; 0 is once")
    flag("enable_batching", False, "collect requests into batches, as --batching_parameters_file says")
    flag("batching_parameters_file", None, "text file of BatchingParameters", Path)
    flag("enable_per_model_batching_parameters", False, "read batching_params.pbtxt of each version")
    flag("grpc_max_threads", 4 * _CPUS, "that answer gRPC calls (default 4 for each CPU)")
    flag("grpc_channel_arguments", "", "k=v,k=v for gRPC's server")
    flag("rest_api_num_threads", 4 * _CPUS, "that answer REST requests (default 4 for each CPU)")
    flag("rest_api_enable_cors_support", False, "let web pages of any origin read the answers")
    flag("enable_grpc_healthcheck_service", False, "answer grpc.health.v1")
    flag("enable_serialization_as_tensor_content", False, "answer with tensor_content instead of typed fields")
    flag("enable_signature_method_name_check", False, "refuse a signature by an API its method_name is not for")
    flag("monitoring_config_file", None, "text file of a MonitoringConfig: Prometheus metrics on the REST port", Path)
    flag("ssl_config_file", None, "text file of an SSLConfig: TLS for gRPC", Path)
    flag("saved_model_tags", "serve", "of the graph to load, separated by commas (default serve)")
    flag("tensorflow_session_parallelism", 0, "threads of TensorFlow, both kinds; 0 lets it choose")
    flag(
        "tensorflow_intra_op_parallelism",
        0,
        "inside an operation; 0: one for small models, else TensorFlow chooses",
    )
    flag("tensorflow_inter_op_parallelism", 0, "threads between operations; 0 lets TensorFlow choose")
    flag("version", False, "print the versions of the server and of TensorFlow")
    flag("access_log", False, "a line of JSON on standard output for each request (ours)")
    flag("grace_seconds", 10.0, "for running requests after SIGTERM (ours, default 10)")
    flag("max_request_bytes", 256 << 20, "of a REST body or, beyond loopback, a gRPC message (ours, default 256 MiB)")
    flag("max_inflated_bytes", 100 << 20, "of a gzipped REST body when inflated (ours, default 100 MiB)")
    flag("max_tensor_bytes", 512 << 20, "that one request and its response may take in memory (ours, default 512 MiB)")
    flag("max_image_pixels", 50_000_000, "that an encoded image in a request may claim (ours, default 50 million)")
    flag("max_json_depth", 254, "of lists and objects in a REST body (ours, at most and by default 254)")
    serve.add_argument(
        "--grpc_front",
        choices=("auto", "native", "grpcio"),
        default="auto",
        help="what carries gRPC (ours): the compiled front where it can, or grpcio",
    )
    serve.add_argument(
        "--fast",
        choices=("on", "off"),
        default="on",
        help="off: every request takes the plain path, to find out whether a fault is in the fast ones (ours)",
    )
    for name in WITHOUT_EFFECT:
        serve.add_argument(f"--{name}", nargs="?", help=argparse.SUPPRESS)
