"""Reads and checks the parameters of --enable_batching.

Fields, defaults and texts: tensorflow_serving/servables/tensorflow/session_bundle_config.proto and
tensorflow's shared_batch_scheduler.h, recorded on 2.20.0.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from hangtag.errors import InvalidInput

from ..config_files import parse_file
from ..machine import usable_cores


@dataclass(frozen=True)
class BatchingOptions:
    """The fields of BatchingParameters. Sizes are in rows."""

    max_batch_size: int = 1000
    batch_timeout_seconds: float = 0.0
    max_enqueued_batches: int = 10
    num_batch_threads: int = field(default_factory=usable_cores)
    thread_pool_name: str = ""
    allowed_batch_sizes: tuple[int, ...] = ()
    pad_variable_length_inputs: bool = False
    splits_large_batches: bool = False
    max_execution_batch_size: int = 0

    @property
    def largest_run(self) -> int:
        """The most rows that run together. A request may have `max_batch_size` rows, and is split if necessary."""
        return (self.splits_large_batches and self.max_execution_batch_size) or self.max_batch_size


def read_batching(path: Path) -> BatchingOptions:
    """The parameters in a text file; raises InvalidInput."""
    message = parse_file(path, "BatchingParameters", "batching parameters file")
    default = BatchingOptions()

    def number(field: str, otherwise: int) -> int:
        value: int = getattr(message, field).value if message.HasField(field) else otherwise
        return value

    options = BatchingOptions(
        max_batch_size=number("max_batch_size", default.max_batch_size),
        batch_timeout_seconds=number("batch_timeout_micros", 0) / 1e6,
        max_enqueued_batches=number("max_enqueued_batches", default.max_enqueued_batches),
        num_batch_threads=number("num_batch_threads", default.num_batch_threads),
        thread_pool_name=message.thread_pool_name.value,
        allowed_batch_sizes=tuple(message.allowed_batch_sizes),
        pad_variable_length_inputs=message.pad_variable_length_inputs,
        splits_large_batches=message.enable_large_batch_splitting.value,
        max_execution_batch_size=number("max_execution_batch_size", 0),
    )
    _check(options, path)
    return options


def _check(options: BatchingOptions, path: Path) -> None:
    for name in ("max_batch_size", "max_enqueued_batches", "num_batch_threads"):
        if getattr(options, name) < 1:
            raise InvalidInput(f"{name} in {path} is {getattr(options, name)}: give 1 or more")
    if options.batch_timeout_seconds < 0:
        raise InvalidInput(f"batch_timeout_micros in {path} is below 0")
    if options.largest_run > options.max_batch_size:
        raise InvalidInput(
            "When enable_large_batch_splitting is true, input_batch_size_limit must be greater than or equal to "
            f"max_execution_batch_size: in {path} max_batch_size is {options.max_batch_size}"
        )
    sizes = options.allowed_batch_sizes
    if sizes:
        if list(sizes) != sorted(set(sizes)) or sizes[0] < 1:
            raise InvalidInput(f"allowed_batch_sizes in {path} must be positive and increase")
        # This holds even if smaller batches run because large ones are split.
        if sizes[-1] != options.max_batch_size:
            raise InvalidInput(
                "Last entry in allowed_batch_sizes must match max_batch_size; last entry was "
                f"{sizes[-1]}; expected {options.max_batch_size}"
            )
