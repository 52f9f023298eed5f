"""Examines the server's flags in a deployment."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

from ..flags import OWN, add_flags
from . import FAIL, WARN, Finding

Flags = Mapping[str, str]

_BOOLEAN = ("true", "false")


@cache
def known_flags(*, is_embedded: bool) -> frozenset[str]:
    """The flags of `hangtag serve`, or those of tensorflow_model_server."""
    parser = argparse.ArgumentParser(add_help=False)
    add_flags(parser)
    names = frozenset(vars(parser.parse_args([])))
    return names if is_embedded else names - OWN


def is_on(flags: Flags, name: str) -> bool:
    """Whether a boolean flag is on; a flag without a value is."""
    return flags.get(name, "false").lower() not in ("false", "0", "f", "no")


@dataclass(frozen=True)
class Rule:
    """A possible mistake in the flags: its condition, and the finding to report."""

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
        "with --enable_serialization_as_tensor_content REST responses contain process memory, and a string output over "
        "REST ends the server",
        "remove the flag",
    ),
    Rule(
        "rest-threads",
        FAIL,
        lambda flags: flags.get("rest_api_num_threads") == "1",
        "--rest_api_num_threads=1 freezes REST: its event loop takes that thread",
        "give at least 2, or remove the flag",
    ),
    Rule(
        "batching",
        FAIL,
        lambda flags: bool(flags.get("batching_parameters_file")) and not is_on(flags, "enable_batching"),
        "--batching_parameters_file without --enable_batching prevents the server from starting",
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
        "has no model: neither --model_config_file nor --model_base_path is given",
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
        "the first start with version labels fails: labels are assigned before versions are loaded",
        "--allow_version_labels_for_unavailable_models=true",
    ),
    Rule(
        "config-poll",
        WARN,
        lambda flags: (
            bool(flags.get("model_config_file")) and flags.get("model_config_file_poll_wait_seconds", "0") == "0"
        ),
        "reads its model config once: `hangtag versions promote` and `rollback` have no effect before a restart",
        "--model_config_file_poll_wait_seconds=10",
    ),
)

CPP_RULES = (
    Rule(
        "grpc-threads",
        WARN,
        lambda flags: "grpc_max_threads" not in flags,
        "answers 4 gRPC calls per core at a time and refuses others: Server Threadpool Exhausted",
        "--grpc_max_threads=64",
    ),
    Rule(
        "load-retries",
        WARN,
        lambda flags: "max_num_load_retries" not in flags,
        "retries a version that does not load for five minutes before it reports the error",
        "--max_num_load_retries=1 --load_retry_interval_micros=2000000",
    ),
)
"""Mistakes that only matter for the C++ server."""


def examine_words(subject: str, command: Sequence[str]) -> Iterator[Finding]:
    """Arguments that the C++ server ignores: its flags need two dashes and, unless they are boolean, ``=VALUE``."""
    for word, following in pairwise([*command, "-"]):
        name, equals, _ = word.lstrip("-").partition("=")
        dashes = len(word) - len(word.lstrip("-"))
        if name not in known_flags(is_embedded=False):
            continue
        if dashes == 1:
            message = f"{word} has one dash: the server ignores it"
            yield Finding(FAIL, "flag-form", subject, message, f"-{word}")
        elif dashes == 2 and not equals and not following.startswith("-") and following.lower() not in _BOOLEAN:
            message = f"{word} has its value after a space: the server ignores both"
            yield Finding(FAIL, "flag-form", subject, message, f"{word}={following}")


def examine_flags(subject: str, flags: Flags, *, is_embedded: bool) -> Iterator[Finding]:
    """Report unknown flags, then the mistakes above."""
    known = known_flags(is_embedded=is_embedded)
    for flag in flags:
        if flag not in known:
            nearest = difflib.get_close_matches(flag, sorted(known), 1)
            effect = "is refused" if is_embedded else "the server ignores it and starts all the same"
            fix = f"--{nearest[0]}" if nearest else "remove it"
            yield Finding(FAIL, "unknown-flag", subject, f"--{flag} is not a flag of the server: {effect}", fix)
    for rule in RULES if is_embedded else (*RULES, *CPP_RULES):
        if rule.holds(flags):
            yield Finding(rule.level, rule.code, subject, rule.message, rule.fix)
