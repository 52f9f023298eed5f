"""The flags of `hangtag serve`: those of tensorflow_model_server, with its defaults, and those of Hangtag only.

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
    """Add all flags to the parser of the command, tensorflow_model_server's and Hangtag's own in a group each."""
    groups = {
        False: serve.add_argument_group("flags of tensorflow_model_server"),
        True: serve.add_argument_group("flags of Hangtag, which tensorflow_model_server does not have"),
    }

    def flag(name: str, default: Any, text: str, kind: Any = None) -> None:
        kind = kind or type(default)
        shown = {bool: "BOOL", int: "N", float: "SECONDS", Path: "FILE"}.get(kind, "TEXT")
        if kind is bool:
            options: dict[str, Any] = {"type": boolean, "nargs": "?", "const": True}
        else:
            options = {"type": _file if kind is Path else kind}
        groups[name in OWN].add_argument(f"--{name}", metavar=shown, default=default, help=text, **options)

    flag("port", 8500, "port for gRPC; 0 turns it off (default %(default)s)")
    flag("grpc_socket_path", "", "unix socket for gRPC, in addition to --port (default: none)")
    flag("rest_api_port", 8501, "port for REST; 0 turns it off (default %(default)s)")
    flag("model_name", None, "name of the model (default: $MODEL_NAME, or the last folder of the base path)", str)
    flag(
        "model_base_path",
        None,
        "folder that holds the versions of the model (default: $MODEL_BASE_PATH/$MODEL_NAME if one of them is set, as "
        f"in the Docker image of TensorFlow Serving, else {DEFAULT_BASE_PATH})",
        str,
    )
    flag(
        "model_config_file",
        None,
        "model config file (ModelServerConfig as text) with one or more models, version policies and labels; replaces "
        "--model_name and --model_base_path",
        Path,
    )
    flag(
        "model_config_file_poll_wait_seconds",
        0.0,
        "interval at which the model config file is read again; 0 reads it once (default 0)",
    )
    flag(
        "file_system_poll_wait_seconds",
        1.0,
        "interval at which the base paths are checked for new versions; 0 checks once (default 1)",
    )
    flag("max_num_load_retries", 5, "how often loading a version is retried after a failure (default %(default)s)")
    flag("load_retry_interval_micros", 60_000_000, "microseconds between these retries (default %(default)s)")
    flag(
        "allow_version_labels_for_unavailable_models",
        False,
        "accept a new label for a version that is not loaded yet (default false)",
    )
    flag("enable_model_warmup", True, "run a version's warmup requests before it becomes AVAILABLE (default true)")
    flag("num_request_iterations_for_warmup", 0, "how often each warmup request is run; 0 runs it once (default 0)")
    flag("enable_batching", False, "collect requests into batches (default false)")
    flag(
        "batching_parameters_file",
        None,
        "batching parameters (BatchingParameters as text), for --enable_batching",
        Path,
    )
    flag(
        "enable_per_model_batching_parameters",
        False,
        "read the batching parameters from batching_params.pbtxt in each version's folder (default false)",
    )
    flag("grpc_max_threads", 4 * _CPUS, "threads that handle gRPC calls (default 4 per CPU)")
    flag("grpc_channel_arguments", "", "options of the gRPC server: KEY=VALUE,KEY=VALUE (default: none)")
    flag("rest_api_num_threads", 4 * _CPUS, "threads that handle REST requests (default 4 per CPU)")
    flag("rest_api_enable_cors_support", False, "let web pages of any origin call the REST API (default false)")
    flag("enable_grpc_healthcheck_service", False, "provide the gRPC service grpc.health.v1 (default false)")
    flag(
        "enable_serialization_as_tensor_content",
        False,
        "encode response tensors as tensor_content instead of typed fields (default false)",
    )
    flag(
        "enable_signature_method_name_check",
        False,
        "reject a request if the method_name of its signature is for another API (default false)",
    )
    flag(
        "monitoring_config_file",
        None,
        "monitoring configuration (MonitoringConfig as text): turns on Prometheus metrics on the REST port",
        Path,
    )
    flag("ssl_config_file", None, "TLS configuration for gRPC (SSLConfig as text)", Path)
    flag("saved_model_tags", "serve", "tags of the graph to load, separated by commas (default %(default)s)")
    flag(
        "tensorflow_session_parallelism",
        0,
        "number of TensorFlow threads, for the next two flags at once; 0 leaves it to them (default 0)",
    )
    flag(
        "tensorflow_intra_op_parallelism",
        0,
        "threads within one operation; 0 uses one for small models and lets TensorFlow choose for others (default 0)",
    )
    flag(
        "tensorflow_inter_op_parallelism",
        0,
        "threads for operations that run in parallel; 0 lets TensorFlow choose (default 0)",
    )
    flag("version", False, "print the versions of Hangtag and TensorFlow, and exit")

    flag("host", "127.0.0.1", "address to listen on (default %(default)s: this machine only)")
    groups[True].add_argument(
        "--path_map",
        type=path_map,
        action="append",
        default=[],
        metavar="/PATH=FOLDER",
        help="local folder for a path in the model config file, as in a container; may be repeated",
    )
    flag(
        "serve_older_versions",
        True,
        "serve the newest older version that loads while the newest one does not load (default true)",
    )
    flag("access_log", False, "write one line of JSON per request to standard output (default false)")
    flag("grace_seconds", 10.0, "time for running requests to finish after SIGTERM (default %(default)g)")
    flag(
        "max_request_bytes",
        256 << 20,
        "largest REST body or gRPC message (default %(default)s, which is 256 MiB)",
    )
    flag(
        "max_inflated_bytes",
        100 << 20,
        "largest gzipped REST body after decompression (default %(default)s, which is 100 MiB)",
    )
    flag(
        "max_tensor_bytes",
        512 << 20,
        "most memory for the tensors of one request and its response (default %(default)s, which is 512 MiB)",
    )
    flag("max_image_pixels", 50_000_000, "most pixels of an encoded image in a request (default %(default)s)")
    flag(
        "max_json_depth", 254, "deepest nesting of lists and objects in a REST body, at most 254 (default %(default)s)"
    )
    groups[True].add_argument(
        "--grpc_front",
        choices=("auto", "native", "grpcio"),
        default="auto",
        help="gRPC server: the compiled one (native), grpcio, or the compiled one where it can be used (auto, default)",
    )
    groups[True].add_argument(
        "--fast",
        choices=("on", "off"),
        default="on",
        help="off turns the fast paths off, to find out whether one of them causes a fault (default on)",
    )
    for name in WITHOUT_EFFECT:
        serve.add_argument(f"--{name}", nargs="?", help=argparse.SUPPRESS)
