"""The lifecycle of a model's versions: discovered on disk, loaded, warmed up, available, drained, unloaded.

Semantics: tensorflow_serving/core/aspired_versions_manager.cc with the availability-preserving policy, the only one
that the C++ server uses: a new version is loaded before an old one is unloaded. If it does not load, the old one stays.
"""

from __future__ import annotations

import gc
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..errors import INTERNAL, ServingError
from .model_config import ModelConfig
from .servable import Servable
from .version_policy import Latest, Versions, scan, why_none

log = logging.getLogger("hangtag.serving")

Load = Callable[[str, int, Path], Servable]


@dataclass(frozen=True)
class ManagerOptions:
    """How versions are found and loaded. Times are in seconds.

    `poll_seconds` of 0 or less: the disk is read once. `falls_back`: while no aspired version loads, serve the newest
    older one that does.
    """

    poll_seconds: float = 1.0
    max_retries: int = 5
    retry_seconds: float = 60.0
    falls_back: bool = True


@dataclass
class Version:
    """A version that was found on disk. After it is unloaded, it stays in the status as END until the process ends."""

    number: int
    folder: Path
    state: str = "START"  # LOADING, AVAILABLE, UNLOADING, END
    error_code: str = "OK"
    error_message: str = ""
    servable: Servable | None = None
    failures: int = 0
    retry_at: float = 0.0
    aspired: bool = True
    """Whether the version policy chooses it. A fallback version is not aspired."""


class ModelManager:
    """Loads and unloads the versions of one model according to its config."""

    def __init__(self, config: ModelConfig, options: ManagerOptions, load: Load = Servable) -> None:
        self.name = config.name
        self._config, self._options, self._load = config, options, load
        self._versions: dict[int, Version] = {}
        self._serving: dict[int, Servable] = {}  # replaced, never changed: readers take no lock
        self._newest: Servable | None = None
        self._changed = threading.Condition()
        self._wake, self._stopped, self._dropped = threading.Event(), threading.Event(), False
        self._thread = threading.Thread(target=self._watch, name=f"manager-{self.name}", daemon=True)
        self._unloading: list[threading.Thread] = []
        self._last_warning = ""
        # Results of the last scan of the disk: the config that matched no version, and whether all versions failed.
        self._empty_for: ModelConfig | None = None
        self._all_failed = False

    # ---- for requests

    @contextmanager
    def use(self, version: int | None = None) -> Iterator[Servable]:
        """The given version, or the highest available one. It is not unloaded while in use."""
        servable = self.acquire(version)
        try:
            yield servable
        finally:
            servable.release()

    def acquire(self, version: int | None = None) -> Servable:
        """Like `use`, but the caller must release the version."""
        servable = self._find(version)
        while not servable.acquire():  # it was retired since the look-up, so another version is available
            servable = self._find(version)
        return servable

    def _find(self, version: int | None) -> Servable:
        if version is None:
            if self._newest is not None:
                return self._newest
            raise ServingError("NOT_FOUND", f"Servable not found for request: Latest({self.name})")
        servable = self._serving.get(version)
        if servable is None:
            raise ServingError("NOT_FOUND", f"Servable not found for request: Specific({self.name}, {version})")
        return servable

    def versions(self) -> list[Version]:
        """All versions that were ever found, highest first."""
        return sorted(self._versions.copy().values(), key=lambda version: -version.number)

    def is_available(self, version: int) -> bool:
        """Whether the version is available."""
        return version in self._serving

    # ---- lifecycle

    def start(self) -> None:
        """Start the thread that watches the base path."""
        self._thread.start()

    def change(self, config: ModelConfig) -> None:
        """Use `config` from now on."""
        self._config = config
        self._wake.set()

    def drop(self) -> None:
        """Unload every version, because the model is no longer configured. The status keeps its versions."""
        self._dropped = True
        self._wake.set()

    def revive(self, config: ModelConfig) -> None:
        """Serve a dropped model again."""
        self._config, self._dropped, self._all_failed = config, False, False
        self._wake.set()

    def wait_settled(self, stop: threading.Event, *, for_versions: bool) -> None:
        """Wait until a version is available, all have failed for good, the model is dropped, or `stop` is set.

        Without `for_versions`, also return if the base path has no version.
        """
        with self._changed:
            while not (stop.is_set() or self._dropped or self._serving or self._all_failed):
                if not for_versions and self._empty_for is self._config:
                    return
                self._changed.wait(0.1)

    def failure(self) -> str:
        """Why no version is available, with the C++ server's text; empty if one is."""
        if self._serving or self._dropped:
            return ""
        failed = [version for version in self.versions() if version.error_code != "OK"]
        if not failed:
            return f"{{name: {self.name}}} due to error: NOT_FOUND: {self._last_warning}"
        worst = failed[0]
        return f"{{name: {self.name} version: {worst.number}}} due to error: {worst.error_code}: {worst.error_message}"

    def stop(self) -> None:
        """Stop watching, wait for running requests, and free every version."""
        self._stopped.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join()
        for thread in self._unloading:
            thread.join()
        serving = self._serving
        self._publish({})
        for servable in serving.values():
            servable.close()

    def _watch(self) -> None:
        poll = self._options.poll_seconds
        while not self._stopped.is_set():
            try:
                self._reconcile()
            except Exception:
                log.exception("looking after %s failed; trying again", self.name)
            waiting = any(v.state == "LOADING" for v in self._versions.values())  # these wait for a retry
            pause = poll if poll > 0 else (min(self._options.retry_seconds, 1.0) if waiting else None)
            self._wake.wait(pause)
            self._wake.clear()

    def _reconcile(self) -> None:
        """Compare the versions on disk with the available ones; load and unload what differs."""
        config = self._config
        try:
            present = {} if self._dropped else scan(config.base_path)
        except OSError as error:
            # As in C++, nothing is unloaded: a mount may be missing only for a moment.
            self._warn(f"Could not find base path {config.base_path} for servable {self.name} ({error.strerror})")
            self._scanned(empty_for=config)
            return
        aspired = config.policy(present)
        if not self._dropped:
            self._warn(why_none(self.name, config.base_path, present, aspired))
        for number, version in self._versions.items():
            version.aspired = version.aspired and number in aspired
            if not version.aspired and version.state in ("START", "LOADING"):
                version.state = "END"  # no longer aspired before it was loaded
        for number in sorted(aspired, reverse=True):
            if not self._stopped.is_set():
                self._load_if_due(number, aspired[number])
        if aspired and self._options.falls_back and isinstance(config.policy, Latest):
            self._fall_back(present, aspired)
        if not aspired or any(number in self._serving for number in aspired):
            for number in [n for n in self._serving if n not in aspired]:
                self._retire(number)
        self._scanned(empty_for=None if aspired or self._dropped else config)

    def _scanned(self, *, empty_for: ModelConfig | None) -> None:
        """Store the results of a scan, and wake the threads that wait for it."""
        aspired = [version for version in self._versions.values() if version.aspired]
        with self._changed:
            self._empty_for = empty_for
            self._all_failed = bool(aspired) and all(version.state == "END" for version in aspired)
            self._changed.notify_all()

    def _fall_back(self, present: Versions, aspired: Versions) -> None:
        """While no version is available, try the older ones once each, newest first.

        The C++ server does not: if it is restarted while the newest version is broken, it exits or serves nothing.
        """
        for number in sorted(present.keys() - aspired.keys(), reverse=True):
            if self._serving or self._stopped.is_set():
                return
            if number < max(aspired) and number not in self._versions:
                self._versions[number] = Version(number, present[number], aspired=False)
                if self._load_version(self._versions[number], retries=0):
                    log.warning(
                        "%s: no version of the policy loads; serving version %d, the newest version that loads",
                        self.name,
                        number,
                    )

    def _warn(self, text: str) -> None:
        """Log `text` once, not at every poll; an empty text means that nothing is wrong."""
        if text and text != self._last_warning:
            log.warning("%s", text)
        self._last_warning = text

    def _load_if_due(self, number: int, folder: Path) -> None:
        version = self._versions.get(number)
        if version is None or (version.state == "END" and not version.aspired):  # new, or aspired again
            version = self._versions[number] = Version(number, folder)
        if version.servable is not None and version.folder != folder:  # as with the C++ server, which says nothing
            log.warning(
                "%s version %d is still served from %s: %s has the same number, rename it",
                *(self.name, number, version.folder, folder),
            )
            version.folder = folder  # for the next scan, so that it is logged once
        if version.state in ("START", "LOADING") and time.monotonic() >= version.retry_at:
            self._load_version(version, self._options.max_retries)

    def _load_version(self, version: Version, retries: int) -> bool:
        """Try to load the version; returns whether it is available now. A failure is retried up to `retries` times."""
        version.state = "LOADING"
        begun = time.monotonic()
        try:
            servable = self._load(self.name, version.number, version.folder)
        except Exception as error:
            if not isinstance(error, ServingError):  # any error counts as a failed attempt
                log.exception("%s version %d cannot be loaded", self.name, version.number)
                error = ServingError("INTERNAL", INTERNAL)
            self._failed(version, error, retries)
            return False
        version.servable, version.state = servable, "AVAILABLE"
        self._publish({**self._serving, version.number: servable})
        log.info("%s version %d is available, loaded in %.2f s", self.name, version.number, time.monotonic() - begun)
        return True

    def _failed(self, version: Version, error: ServingError, retries: int) -> None:
        version.failures += 1
        left = retries - version.failures + 1
        again = f"; trying again in {self._options.retry_seconds:g} s, {left} times more" if left > 0 else ""
        log.error("%s version %d does not load: %s%s", self.name, version.number, error.message, again)
        if left > 0:
            version.retry_at = time.monotonic() + self._options.retry_seconds
        else:
            version.state, version.error_code, version.error_message = "END", error.code, error.message

    def _retire(self, number: int) -> None:
        version = self._versions[number]
        version.state = "UNLOADING"
        self._publish({n: servable for n, servable in self._serving.items() if n != number})

        def unload() -> None:
            if version.servable is not None:
                version.servable.close()
            version.servable, version.state = None, "END"
            gc.collect()  # TensorFlow's graphs have reference cycles, so their memory is not freed without this
            log.info("%s version %d is unloaded", self.name, number)

        # In another thread, because a slow request on the old version must not delay the next version.
        thread = threading.Thread(target=unload, name=f"unload-{self.name}-{number}", daemon=True)
        self._unloading = [thread, *(t for t in self._unloading if t.is_alive())]
        thread.start()

    def _publish(self, serving: dict[int, Servable]) -> None:
        self._newest = serving[max(serving)] if serving else None
        self._serving = serving
