"""Examine the flags that a deployment gives the server."""

from __future__ import annotations

import argparse
import difflib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache

from ..flags import add_flags
from .findings import FAIL, WARN, Finding

Flags = Mapping[str, str]

_NAMES = """
    allow_version_labels_for_unavailable_models batching_parameters_file enable_batching enable_grpc_healthcheck_service
    enable_model_warmup enable_per_model_batching_parameters enable_profiler enable_serialization_as_tensor_content
    enable_signature_method_name_check file_system_poll_wait_seconds flush_filesystem_caches grpc_channel_arguments
    grpc_max_threads grpc_socket_path load_retry_interval_micros max_num_load_retries mixed_precision model_base_path
    model_config_file model_config_file_poll_wait_seconds model_name monitoring_config_file num_load_threads
    num_request_iterations_for_warmup num_tflite_interpreters_per_pool num_tflite_pools num_unload_threads
    per_process_gpu_memory_fraction platform_config_file port prefer_tflite_model
    remove_unused_fields_from_bundle_metagraph rest_api_enable_cors_support rest_api_num_threads rest_api_port
    rest_api_timeout_in_ms saved_model_tags skip_initialize_tpu ssl_config_file tensorflow_inter_op_parallelism
    tensorflow_intra_op_parallelism tensorflow_session_config_file tensorflow_session_parallelism
    thread_pool_factory_config_file use_alts_credentials version xla_cpu_compilation_enabled xla_gpu_compilation_enabled
"""
CPP_FLAGS = frozenset(_NAMES.split())
"""tensorflow_model_server's flags. Source: tensorflow_serving/model_servers/main.cc, 2.20.0."""


@cache
def embedded_flags() -> frozenset[str]:
    """The flags of `hangtag serve`: the C++ server's and its own."""
    parser = argparse.ArgumentParser(add_help=False)
    add_flags(parser)
    return CPP_FLAGS | set(re.findall(r"--(\w+)", parser.format_help()))


def is_on(flags: Flags, name: str) -> bool:
    """Whether a boolean flag is set; without a value it is."""
    return flags.get(name, "false").lower() not in ("false", "0", "f", "no")


@dataclass(frozen=True)
class Rule:
    """A mistake in the flags: when it is made, and what to report."""

    code: str
    level: str
    holds: Callable[[Flags], bool]
    message: str
    fix: str


RULES = (
    Rule(
        "tensor-content",
        FAIL,
        lambda flags: is_on(flags, "enable_serialization_as_tensor_content"),
        "with --enable_serialization_as_tensor_content REST answers hold process memory, and a string output over REST "
        "ends the server",
        "take the flag out",
    ),
    Rule(
        "rest-threads",
        FAIL,
        lambda flags: flags.get("rest_api_num_threads") == "1",
        "--rest_api_num_threads=1 freezes REST: its event loop takes that thread",
        "give at least 2, or take the flag out",
    ),
    Rule(
        "batching",
        FAIL,
        lambda flags: bool(flags.get("batching_parameters_file")) and not is_on(flags, "enable_batching"),
        "--batching_parameters_file without --enable_batching keeps the server from starting",
        "--enable_batching=true",
    ),
    Rule(
        "session-threads",
        FAIL,
        lambda flags: (
            flags.get("tensorflow_session_parallelism", "0") != "0"
            and any(flags.get(f"tensorflow_{kind}_op_parallelism", "0") != "0" for kind in ("intra", "inter"))
        ),
        "--tensorflow_session_parallelism and --tensorflow_intra_op_parallelism or inter exclude each other",
        "give one of them",
    ),
    Rule(
        "no-models",
        FAIL,
        lambda flags: not flags.get("model_config_file") and not flags.get("model_base_path"),
        "names no model: neither --model_config_file nor --model_base_path is given",
        "--model_config_file=/config/models.config",
    ),
    Rule(
        "rest-off",
        WARN,
        lambda flags: flags.get("rest_api_port", "0") == "0",
        "REST and metrics are off without --rest_api_port",
        "--rest_api_port=8501",
    ),
    Rule(
        "labels",
        WARN,
        lambda flags: (
            bool(flags.get("model_config_file")) and not is_on(flags, "allow_version_labels_for_unavailable_models")
        ),
        "a first start with version labels fails: labels are assigned before anything is loaded",
        "--allow_version_labels_for_unavailable_models=true",
    ),
    Rule(
        "config-poll",
        WARN,
        lambda flags: (
            bool(flags.get("model_config_file")) and flags.get("model_config_file_poll_wait_seconds", "0") == "0"
        ),
        "reads its model config once: `hangtag versions promote` and `rollback` have no effect until a restart",
        "--model_config_file_poll_wait_seconds=10",
    ),
)

CPP_RULES = (
    Rule(
        "grpc-threads",
        WARN,
        lambda flags: "grpc_max_threads" not in flags,
        "answers 4 gRPC calls for each core at a time and refuses the others: Server Threadpool Exhausted",
        "--grpc_max_threads=64",
    ),
    Rule(
        "load-retries",
        WARN,
        lambda flags: "max_num_load_retries" not in flags,
        "tries a version that does not load for five minutes before it says so",
        "--max_num_load_retries=1 --load_retry_interval_micros=2000000",
    ),
)
"""What only the C++ server does."""


def examine_flags(subject: str, flags: Flags, *, is_embedded: bool) -> Iterator[Finding]:
    """Unknown flags, then the mistakes above."""
    known = embedded_flags() if is_embedded else CPP_FLAGS
    for flag in flags:
        if flag not in known:
            nearest = difflib.get_close_matches(flag, sorted(known), 1)
            effect = "is refused" if is_embedded else "the server ignores it and starts all the same"
            fix = f"--{nearest[0]}" if nearest else "take it out"
            yield Finding(FAIL, "unknown-flag", subject, f"--{flag} is not a flag of the server: {effect}", fix)
    for rule in RULES if is_embedded else (*RULES, *CPP_RULES):
        if rule.holds(flags):
            yield Finding(rule.level, rule.code, subject, rule.message, rule.fix)
