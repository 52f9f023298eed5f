"""Classifies very many images with a Ray Data job, whose actors call the server with the SDK.

>>> import ray                                                             # doctest: +SKIP
>>> from hangtag.ray_data import classify, classify_to_parquet
>>> classify_to_parquet("photos/", "server:8500", "named/")                # doctest: +SKIP
>>> images = ray.data.read_parquet("images/")                              # doctest: +SKIP
>>> classify(images, "server:8500", column="pixels").show(3)               # doctest: +SKIP

The machines of the cluster need ``hangtag``, but not TensorFlow. Ray: https://docs.ray.io/en/latest/data/data.html
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .client import Client
from .contract import IMAGE_SUFFIXES
from .errors import HangtagError, InvalidInput
from .optional import require

if TYPE_CHECKING:
    import numpy as np
    from ray.data import Dataset

PICTURES = [suffix.removeprefix(".") for suffix in IMAGE_SUFFIXES]
"""The extensions of the image files in a folder."""

_ACTOR_CPUS = 0.5  # an actor mostly waits for the server
_RAYS_ADVICE = "\nFailed to apply UDF"  # the beginning of advice that Ray adds to every message


def classify(
    images: Dataset,
    target: str,
    *,
    column: str,
    prefix: str = "",
    probabilities: bool = False,
    actors: int = 2,
    batch_size: int = 1024,
    **options: Any,
) -> Dataset:
    """`images` with two more columns: ``label`` (string) and ``score`` (float32, 0..1). The job runs lazily.

    `column` has arrays of the shape that the model takes, PNG or JPEG files as bytes, or paths to such files. `prefix`
    is put before the names of the new columns, for a dataset that already has a ``label``. `probabilities` adds a
    third column, float32 [C]. At most `actors` processes, each with its own Client, load `batch_size` images at a time,
    and at most `actors` times the client's `concurrency` (4) requests run at once. `options` are the arguments of
    `Client`: model, version, timeout, retries …

    Raises InvalidInput for bad arguments. Ray raises later errors where the dataset is consumed, as an exception of
    both Ray's and our type: ``except ServerUnavailable`` catches it.
    """
    ray_data = _ray_data()
    if actors < 1 or batch_size < 1:
        raise InvalidInput("actors and batch_size must be at least 1")
    Client(target, **options).close()  # checks the arguments; nothing is sent
    named = images.map_batches(
        _Classifier,
        batch_size=batch_size,
        batch_format="numpy",
        compute=ray_data.ActorPoolStrategy(min_size=1, max_size=actors),
        fn_constructor_args=(target, options, column, prefix, probabilities),
        num_cpus=_ACTOR_CPUS,
    )
    named.context.raise_original_map_exception = True  # so that Ray's exception is also a ServerUnavailable
    return named


def classify_to_parquet(
    images: Dataset | str | Sequence[str], target: str, output: str, *, column: str | None = None, **options: Any
) -> None:
    """Classify a dataset, or the image files under paths, and write everything except the images to Parquet.

    For files, the column ``path`` is written. `output` is a folder that must not exist, on this machine or in a store
    that Ray can write to (``s3://…``); it is removed if the job fails. `column` and `options` are the arguments of
    `classify`. Raises the HangtagError of the actor that failed, or InvalidInput if the output exists.
    """
    ray_data = _ray_data()
    if isinstance(images, ray_data.Dataset):
        if column is None:
            raise InvalidInput("the column with the images is not given: give column=")
    else:
        if column is not None:
            raise InvalidInput("column is for a dataset, not for files: leave it out")
        images, column = _files(ray_data, images), "bytes"
    named = classify(images, target, column=column, **options).drop_columns([column])
    output = output if "://" in output else str(Path(output).absolute())  # Ray's workers run in other folders
    store, folder = _new_folder(output)
    try:
        with _ray_not_asking_for_an_issue():
            named.write_parquet(output)
        return
    except BaseException as error:
        with suppress(FileNotFoundError):
            store.delete_dir(folder)
        cause = getattr(error, "cause", None)
        if not isinstance(cause, HangtagError):
            raise
    # Ray's exception holds the job's actors, and they hold CPUs, for which the next job would wait. So ours is raised
    # when Ray's is gone, and the cycles that it was part of are collected.
    gc.collect()
    cause.args = (str(cause).partition(_RAYS_ADVICE)[0],)
    raise cause


class _Classifier:
    """The code of an actor: one Client that classifies batches."""

    def __init__(self, target: str, options: dict[str, Any], column: str, prefix: str, probabilities: bool) -> None:
        self._client = Client(target, **options)
        self._column, self._prefix, self._probabilities = column, prefix, probabilities

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        if self._column not in batch:
            raise InvalidInput(f"the dataset has no column {self._column!r}; it has {', '.join(batch)}")
        result = self._client.classify(batch[self._column])
        new = {f"{self._prefix}label": result.labels, f"{self._prefix}score": result.scores}
        if self._probabilities:
            new[f"{self._prefix}probabilities"] = result.probabilities
        if taken := batch.keys() & new.keys():
            raise InvalidInput(f"the dataset already has a column {min(taken)!r}: give a prefix for the new ones")
        return batch | new


@contextmanager
def _ray_not_asking_for_an_issue() -> Iterator[None]:
    """Within the block, suppress Ray's request to report an error, which it logs for every error of ours."""
    logger = logging.getLogger("ray.data.exceptions")
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before


def _ray_data() -> Any:
    return require("ray.data", extra="ray", what="hangtag.ray_data")


def _files(ray_data: Any, paths: str | Sequence[str]) -> Any:
    given = [paths] if isinstance(paths, str) else list(paths)
    try:
        return ray_data.read_binary_files(given, include_paths=True, file_extensions=PICTURES)
    except (OSError, ValueError) as error:
        raise InvalidInput(f"no image files at {', '.join(given)}: {error}") from error


def _new_folder(output: str) -> tuple[Any, str]:
    """The file system of `output` and the path in it; raises InvalidInput if the path exists."""
    from pyarrow import ArrowException
    from pyarrow.fs import FileSystem, FileType

    try:
        store, folder = FileSystem.from_uri(output)
        there = store.get_file_info(folder).type is not FileType.NotFound
    except (ArrowException, OSError) as error:
        raise InvalidInput(f"cannot write to {output}: {error}") from error
    if there:
        raise InvalidInput(f"{output} exists: give a folder that does not")
    return store, folder
