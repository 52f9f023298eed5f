"""Move a version label in the order that TensorFlow Serving needs.

The server checks labels before it loads anything: a config that names a new version and moves an existing label to it
is refused at every poll, for ever, and with it everything else in the file. So a label moves in two steps: the version
is added and loaded; once it is AVAILABLE the label follows. Between loaded versions a label moves in one step, at once,
which is what makes rolling back quick: the version a label came from stays loaded.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from ..errors import ConfigError, DataError, PromotionError
from .atomic import folders
from .model_config import ModelConfig, changing, replace

Say = Callable[[str], None]
IsAvailable = Callable[[int], bool]
"""Whether a running server has this version AVAILABLE; raises PromotionError when it never will."""
Labelled = Callable[[], int | None]
"""The version by which a running server answers to the label; None while it does not know the label."""

_POLL = 0.2  # seconds between two looks at the server


@dataclass(frozen=True)
class Place:
    """Which label of which model in which file, and where the model's versions lie on this machine."""

    config: Path
    model: str
    label: str
    base_path: Path


@dataclass(frozen=True)
class Watch:
    """How to see what a running server has loaded, and what it takes the label for."""

    is_available: IsAvailable
    labelled: Labelled
    timeout: float  # seconds, for each of the two


Nobody = Literal["nobody"]
NOBODY: Nobody = "nobody"
"""Instead of a watch: no server reads the file now, so there is nothing to wait for."""


def promote(version: int, place: Place, watch: Watch | Nobody | None, say: Say) -> bool:
    """Let the label mean `version`; True when it does, False when only the first of two steps could be taken.

    Without a `watch`, nobody can say when the version is loaded: the first call adds it, and a second call moves the
    label. With one, the server answers to the label when this returns. Raises ConfigError, DataError or PromotionError;
    then the config is as it was, unless the server has the version and does not answer to the label.
    """
    moved = _move_in_steps(version, place, watch, say)
    if moved:
        _wait_for_label(version, place, watch, say)
    return moved


def _move_in_steps(version: int, place: Place, watch: Watch | Nobody | None, say: Say) -> bool:
    """What `promote` does, but for waiting until the server answers to the label."""
    on_disk = set(folders(place.base_path))
    if version not in on_disk:
        raise DataError(f"{place.base_path} has no version {version}: it has {_listed(on_disk)}")
    with changing(place.config):
        config = _read(place)
        before = config.text
        if before is None:
            say(f"there is no {place.config}: it is begun, for the versions in {place.base_path}")
        listed = version in config.wanted(on_disk)
        there = listed and config.labels.get(place.label) == version
        # A label that is new may come in one step with its version, if the server allows labels for unavailable
        # versions; without a server to watch that is the better bet, since no label can be lost.
        if not listed and watch != NOBODY and (watch is not None or place.label in config.labels):
            config.serve(_keeping(config, on_disk) | {version})
            config.write()
            say(f"step 1 of 2: {place.config} lists version {version}; {place.label} follows once that is AVAILABLE")
            if watch is None:
                return False
    if isinstance(watch, Watch):
        try:
            _wait(version, place, watch, say)
        except BaseException:
            if not listed:
                _take_back(config, before)
            raise
    if not there:
        with changing(place.config):
            _move(_read(place), place, version, on_disk)
    say(f"{place.label} is {'already' if there else 'now'} version {version} in {place.config}")
    return True


def rollback(place: Place, watch: Watch | Nobody | None, say: Say) -> bool:
    """Let the label mean again what it meant before the last promotion. The version it leaves is unloaded."""
    with changing(place.config):
        config = ModelConfig(place.config, place.model)
        if place.label not in config.labels:
            raise ConfigError(f"{place.config} has no label {place.label!r}: there is nothing to roll back")
        current = config.labels[place.label]
        previous = _previous(config, place, current)
        on_disk = set(folders(place.base_path))
        if previous not in on_disk:
            raise DataError(f"{place.base_path} has no version {previous}, which {place.label} was before: it is gone")
        loaded = previous in config.wanted(on_disk)
    if not loaded:  # in two steps, as any promotion
        moved = _move_in_steps(previous, place, watch, say)
        if moved:
            _forget_last(place, 2)
            _wait_for_label(previous, place, watch, say)
        return moved
    if isinstance(watch, Watch):
        _wait(previous, place, watch, say)
    with changing(place.config):
        config = ModelConfig(place.config, place.model)
        config.move(place.label, previous)
        config.serve((_keeping(config, on_disk) - {current}) | set(config.labels.values()))
        config.write()
        _forget_last(place)
    say(f"{place.label} is version {previous} again, not {current}, in {place.config}")
    _wait_for_label(previous, place, watch, say)
    return True


def _move(config: ModelConfig, place: Place, version: int, on_disk: set[int]) -> None:
    """Move the label; keep loaded what it leaves, for a rollback, but no longer what it left the time before."""
    left = config.labels.get(place.label)
    keeping = _keeping(config, on_disk) | {version}
    before_that = _history(place)[-1:]
    config.move(place.label, version)
    if left is not None:
        keeping = (keeping - {before_that[0]["from"]} if before_that else keeping) | {left}
    config.serve(keeping | set(config.labels.values()))
    config.write()
    if left is not None and left != version:
        _remember(place, left, version)


def _keeping(config: ModelConfig, on_disk: set[int]) -> set[int]:
    """What is being served, and what the labels need: all of it stays."""
    return (config.specific if config.policy == "specific" else config.wanted(on_disk)) | set(config.labels.values())


def _read(place: Place) -> ModelConfig:
    return ModelConfig(place.config, place.model, create_for=place.base_path)


def _wait(version: int, place: Place, watch: Watch, say: Say) -> None:
    """Return once the server has `version` AVAILABLE; else raise PromotionError."""
    if not _comes_true(lambda: watch.is_available(version), f"to have version {version} AVAILABLE", watch.timeout, say):
        raise PromotionError(
            f"version {version} was not AVAILABLE within {watch.timeout:g} s, so {place.label} was not moved: "
            f"does the server read {place.config} again (--model_config_file_poll_wait_seconds)?"
        )


def _wait_for_label(version: int, place: Place, watch: Watch | Nobody | None, say: Say) -> None:
    """Return once the server, if one is watched, answers to the label by `version`; else raise PromotionError."""
    if not isinstance(watch, Watch):
        return
    if not _comes_true(lambda: watch.labelled() == version, f"to answer to {place.label}", watch.timeout, say):
        raise PromotionError(
            f"{place.label} is version {version} in {place.config}, but the server did not answer so within "
            f"{watch.timeout:g} s: does it read that file again (--model_config_file_poll_wait_seconds)?"
        )


def _comes_true(holds: Callable[[], bool], what: str, timeout: float, say: Say) -> bool:
    """Look until `holds`; False when it did not within `timeout` seconds."""
    if holds():
        return True
    say(f"waiting for the server {what}, at most {timeout:g} s")
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        time.sleep(_POLL)
        if holds():
            return True
    return False


def _take_back(config: ModelConfig, before: str | None) -> None:
    """Put the file back as it was before the first step, unless somebody has changed it since."""
    with changing(config.path):
        if config.path.read_text(encoding="utf-8") != config.text:
            return
        if before is None:
            config.path.unlink()
        else:
            replace(config.path, before)


# ---- what a label was before: one JSON object a line, beside the config


def _history_file(place: Place) -> Path:
    path = place.config.resolve()
    return path.with_name(f"{path.name}.history")


def _all_history(place: Place) -> list[dict[str, Any]]:
    file = _history_file(place)
    try:
        return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise ConfigError(f"{file} cannot be read ({error}): delete it, or promote by number") from error


def _history(place: Place) -> list[dict[str, Any]]:
    """The moves of this label, oldest first."""
    return [entry for entry in _all_history(place) if (entry["model"], entry["label"]) == (place.model, place.label)]


def _remember(place: Place, left: int, version: int) -> None:
    now = datetime.now(UTC).isoformat()
    entry = {"time": now, "model": place.model, "label": place.label, "from": left, "to": version}
    _write_history(place, [*_all_history(place), entry])


def _forget_last(place: Place, count: int = 1) -> None:
    """Take the label's last moves out of the history, so that the next rollback goes one further back."""
    forgotten = _history(place)[-count:]
    _write_history(place, [entry for entry in _all_history(place) if entry not in forgotten])


def _write_history(place: Place, entries: list[dict[str, Any]]) -> None:
    replace(_history_file(place), "".join(json.dumps(entry) + "\n" for entry in entries))


def _previous(config: ModelConfig, place: Place, current: int) -> int:
    """What the label was before; without a history, the next lower version that the config still loads."""
    history = _history(place)
    if history and history[-1]["to"] == current:
        return int(history[-1]["from"])
    lower = [version for version in config.specific if version < current]
    if not lower:
        raise ConfigError(
            f"nothing says what {place.label} was before version {current}: promote a version by its number"
        )
    return max(lower)


def _listed(numbers: set[int]) -> str:
    return ", ".join(map(str, sorted(numbers))) or "none"
