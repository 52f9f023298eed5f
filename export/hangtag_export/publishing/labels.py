"""Moves a version label in the order that TensorFlow Serving needs.

The server checks labels before it loads anything. It refuses a config that both adds a version and moves an existing
label to it, including everything else in the file. So a label moves in two steps: first the version is added and
loaded; when it is AVAILABLE, the label is moved. Between loaded versions, one step is enough. This makes a rollback
quick, because the previous version stays loaded.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..base_path import folders
from ..errors import ConfigError, DataError, PromotionError
from .label_history import LabelHistory
from .locks import locked_base_path, locked_config
from .model_config import ModelConfig, replace

Say = Callable[[str], None]
IsAvailable = Callable[[int], bool]
"""Whether a running server has this version AVAILABLE; raises PromotionError if the version cannot be loaded."""
Labelled = Callable[[], int | None]
"""The version that a running server uses for the label; None while it does not know the label."""

_POLL = 0.2  # seconds between two requests for the server's status


@dataclass(frozen=True)
class Place:
    """A label of a model in a config file, and the base path of the model on this machine."""

    config: Path
    model: str
    label: str
    base_path: Path


@dataclass(frozen=True)
class Watch:
    """Functions that ask a running server which versions are loaded, and which version it uses for the label."""

    is_available: IsAvailable
    labelled: Labelled
    timeout: float  # seconds, for each of the two


NoServer = Literal["no server"]
NO_SERVER: NoServer = "no server"
"""Used instead of a Watch if no server reads the file now, so there is nothing to wait for."""


def promote(version: int, place: Place, watch: Watch | NoServer | None, say: Say) -> bool:
    """Move the label to `version`. Returns True if it has moved, False after the first of two steps.

    Without a `watch`, this cannot know when the version is loaded: the first call adds the version, and a second call
    moves the label. With a `watch`, the server uses the label when this returns. Raises ConfigError, DataError or
    PromotionError; then the config is unchanged, unless the server has loaded the version but does not use the label.
    """
    moved = _move_in_steps(version, place, watch, say, undo=False)
    if moved:
        _wait_for_label(version, place, watch, say)
    return moved


def rollback(place: Place, watch: Watch | NoServer | None, say: Say) -> bool:
    """Move the label back to the version before the last promotion, and unload its current version."""
    with _locked(place):
        config = ModelConfig(place.config, place.model)
        current, previous = _last_move(config, place)
        is_loaded = previous in config.wanted(set(folders(place.base_path)))
    if not is_loaded:  # two steps, like a promotion
        moved = _move_in_steps(previous, place, watch, say, undo=True)
        if moved:
            _wait_for_label(previous, place, watch, say)
        return moved
    if isinstance(watch, Watch):
        _wait(previous, place, watch, say)
    with _locked(place):
        config = ModelConfig(place.config, place.model)
        if _last_move(config, place) != (current, previous):
            raise PromotionError(f"another command has moved {place.label} in {place.config} just now: try again")
        history = LabelHistory(config, place.label)
        on_disk = set(folders(place.base_path))
        before = config.wanted(on_disk)
        config.move(place.label, previous)
        config.serve((_served(config, on_disk) - {current}) | set(config.labels.values()))
        config.write()
        history.remove_last()
    say(f"{place.label} is version {previous} again, not {current}, in {place.config}")
    _report_unlabelled(before, config.wanted(on_disk), say)
    _wait_for_label(previous, place, watch, say)
    return True


def _last_move(config: ModelConfig, place: Place) -> tuple[int, int]:
    """The label's version and the previous one. Raises ConfigError or DataError if a rollback is impossible."""
    if place.label not in config.labels:
        raise ConfigError(f"{place.config} has no label {place.label!r}: there is nothing to roll back")
    current = config.labels[place.label]
    previous = LabelHistory(config, place.label).previous()
    if previous is None:
        raise ConfigError(
            f"the previous version of {place.label}, before version {current}, is not known: move the "
            "label with `hangtag versions promote N`"
        )
    if previous not in folders(place.base_path):
        raise DataError(f"{place.base_path} has no version {previous} any more, which {place.label} was before")
    return current, previous


def _move_in_steps(version: int, place: Place, watch: Watch | NoServer | None, say: Say, *, undo: bool) -> bool:
    """`promote` or, with `undo`, `rollback`, but without waiting until the server uses the label."""
    with _locked(place):
        on_disk = _require(version, place)
        config = _read(place)
        text_before = config.text
        if text_before is None:
            say(f"there is no {place.config}: it is created, for the versions in {place.base_path}")
        served = config.wanted(on_disk)
        is_listed = version in served
        is_done = is_listed and config.labels.get(place.label) == version
        # A new label may be added together with its version, if the server allows labels for unavailable versions.
        # Without a server to watch this is the better way, because no existing label can be lost.
        if not is_listed and watch != NO_SERVER and (watch is not None or place.label in config.labels):
            config.serve(_served(config, on_disk) | {version})
            config.write()
            say(f"step 1 of 2: {place.config} lists version {version}; {place.label} moves when that is AVAILABLE")
            _report_unlabelled(served, config.wanted(on_disk), say)
            if watch is None:
                return False
    if isinstance(watch, Watch):
        try:
            _wait(version, place, watch, say)
        except BaseException:
            if not is_listed:
                _take_back(config, text_before, place)
            raise
    if not is_done:
        with _locked(place):
            on_disk = _require(version, place)
            config = _read(place)
            served = config.wanted(on_disk)
            _move(config, place, version, on_disk, undo=undo)
            _report_unlabelled(served, config.wanted(on_disk), say)
    say(f"{place.label} is {'already' if is_done else 'now'} version {version} in {place.config}")
    return True


def _move(config: ModelConfig, place: Place, version: int, on_disk: set[int], *, undo: bool) -> None:
    """Move the label. Its current version stays loaded for a rollback; the version before that is unloaded."""
    history = LabelHistory(config, place.label)
    left, before_that = config.labels.get(place.label), history.previous()
    served = _served(config, on_disk) | {version}
    config.move(place.label, version)
    if left is not None:
        served = (served - {before_that}) | {left}
    config.serve(served | set(config.labels.values()))
    if not undo and left is not None and left != version:
        history.add(left, version)
    config.write()
    if undo:
        history.remove_last()


def _served(config: ModelConfig, on_disk: set[int]) -> set[int]:
    """The versions that are served or that labels need."""
    return (config.specific if config.policy == "specific" else config.wanted(on_disk)) | set(config.labels.values())


def _read(place: Place) -> ModelConfig:
    return ModelConfig(place.config, place.model, create_for=place.base_path)


def _require(version: int, place: Place) -> set[int]:
    """The versions on disk. Raises DataError if `version` is not one of them, or holds no model."""
    present = folders(place.base_path)
    on_disk = set(present)
    if version in on_disk and not any((present[version] / f"saved_model.pb{end}").is_file() for end in ("", "txt")):
        raise DataError(
            f"{present[version]} holds no saved_model.pb, so no server can load it: publish a version first"
        )
    if version not in on_disk:
        listed = ", ".join(map(str, sorted(on_disk))) or "none"
        raise DataError(f"{place.base_path} has no version {version}: it has {listed}")
    return on_disk


def _report_unlabelled(before: set[int], after: set[int], say: Say) -> None:
    """Tell the user if clients without a label will get another version, namely the highest one that is loaded."""
    if after and before and max(after) != max(before):
        say(
            f"note: clients that give no label get the newest version that is loaded: they switch from version "
            f"{max(before)} to {max(after)} as soon as the server reads this config"
        )


@contextmanager
def _locked(place: Place) -> Iterator[None]:
    """Lock the config and the versions against other commands."""
    with ExitStack() as locks:
        try:
            locks.enter_context(locked_base_path(place.base_path, only_read=True))
            locks.enter_context(locked_config(place.config))
        except OSError as error:
            raise ConfigError(f"cannot write {place.config}: {error.strerror}") from error
        yield


def _wait(version: int, place: Place, watch: Watch, say: Say) -> None:
    """Wait until the server has `version` AVAILABLE; raises PromotionError after the timeout."""
    if not _becomes_true(lambda: watch.is_available(version), f"to have version {version} AVAILABLE", watch, say):
        raise PromotionError(
            f"version {version} was not AVAILABLE within {watch.timeout:g} s, so {place.label} was not moved: "
            f"does the server read {place.config} again (--model_config_file_poll_wait_seconds)?"
        )


def _wait_for_label(version: int, place: Place, watch: Watch | NoServer | None, say: Say) -> None:
    """Wait until a watched server uses `version` for the label; raises PromotionError after the timeout."""
    if not isinstance(watch, Watch):
        return
    if not _becomes_true(lambda: watch.labelled() == version, f"to answer to {place.label}", watch, say):
        raise PromotionError(
            f"{place.label} is version {version} in {place.config}, but the server did not use it within "
            f"{watch.timeout:g} s: does it read that file again (--model_config_file_poll_wait_seconds)?"
        )


def _becomes_true(condition: Callable[[], bool], what: str, watch: Watch, say: Say) -> bool:
    """Poll until the condition is true; returns False after the timeout."""
    if condition():
        return True
    say(f"waiting for the server {what}, at most {watch.timeout:g} s")
    end = time.monotonic() + watch.timeout
    while time.monotonic() < end:
        time.sleep(_POLL)
        if condition():
            return True
    return False


def _take_back(config: ModelConfig, before: str | None, place: Place) -> None:
    """Restore the file from before the first step, unless it was changed since then."""
    with _locked(place):
        if config.path.read_text(encoding="utf-8") != config.text:
            return
        if before is None:
            config.path.unlink()
        else:
            replace(config.path, before)
