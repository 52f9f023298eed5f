"""The life of a model's versions: seen on disk, loaded, available, drained, unloaded.

Semantics: tensorflow_serving/core/aspired_versions_manager.cc with the availability-preserving policy, the only one
the C++ server uses: a new version is loaded before an old one is unloaded, and if it does not load the old one stays.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .errors import ServingError
from .servable import Servable
from .source import latest, scan

log = logging.getLogger("hangtag.serving")

Load = Callable[[str, int, Path], Servable]


@dataclass
class Version:
    """One version that was ever seen; it stays listed as END for the life of the process."""

    number: int
    folder: Path
    state: str = "START"  # LOADING, AVAILABLE, UNLOADING, END
    error_code: str = "OK"
    error_message: str = ""
    servable: Servable | None = None
    failures: int = 0
    retry_at: float = 0.0
    aspired: bool = True


class ModelManager:
    """Keeps one model's newest version served. `poll_seconds` 0 looks once, less than 0 never (after the start)."""

    def __init__(
        self,
        name: str,
        base_path: Path,
        *,
        poll_seconds: float = 1.0,
        max_retries: int = 5,
        retry_seconds: float = 60.0,
        load: Load = Servable,
    ) -> None:
        self.name, self.base_path = name, base_path
        self._poll_seconds, self._max_retries, self._retry_seconds = poll_seconds, max_retries, retry_seconds
        self._load = load
        self._versions: dict[int, Version] = {}
        self._serving: dict[int, Servable] = {}  # replaced, never changed: readers take no lock
        self._changed = threading.Condition()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name=f"manager-{name}", daemon=True)
        self._last_warning = ""

    # ---- for requests

    @contextmanager
    def use(self, version: int | None = None) -> Iterator[Servable]:
        """The version asked for, or the highest available; it is not unloaded while in use."""
        servable = self._find(version)
        while not servable.acquire():  # retired between the look-up and now: its successor is there already
            servable = self._find(version)
        try:
            yield servable
        finally:
            servable.release()

    def _find(self, version: int | None) -> Servable:
        serving = self._serving
        if version is None:
            if serving:
                return serving[max(serving)]
            raise ServingError("NOT_FOUND", f"Servable not found for request: Latest({self.name})")
        if version not in serving:
            raise ServingError("NOT_FOUND", f"Servable not found for request: Specific({self.name}, {version})")
        return serving[version]

    def versions(self) -> list[Version]:
        """All versions ever seen, highest first."""
        return sorted(self._versions.values(), key=lambda version: -version.number)

    # ---- lifecycle

    def start(self) -> None:
        """Begin to watch the base path, in a thread of its own."""
        self._thread.start()

    def wait_settled(self, stop: threading.Event) -> None:
        """Return when a version is available, all have failed for good, or `stop` is set."""
        with self._changed:
            while not stop.is_set() and not self._settled():
                self._changed.wait(0.1)

    def failures(self) -> list[Version]:
        """Versions that did not load, if none is being served."""
        return [] if self._serving else [version for version in self.versions() if version.error_code != "OK"]

    def stop(self) -> None:
        """Stop watching, wait for running requests, and free every version."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()
        serving, self._serving = self._serving, {}
        for servable in serving.values():
            servable.close()

    def _settled(self) -> bool:
        seen = self._versions.values()
        return bool(self._serving) or bool(seen and all(version.state == "END" for version in seen))

    def _watch(self) -> None:
        self._reconcile()
        while self._poll_seconds > 0 and not self._stopped.wait(self._poll_seconds):
            self._reconcile()

    def _reconcile(self) -> None:
        """One look at the disk, and whatever follows from it."""
        try:
            found = scan(self.base_path)
        except OSError as error:
            # As the C++ server: nothing is unloaded because a mount is away for a moment.
            self._warn(f"Could not find base path {self.base_path} for servable {self.name} ({error.strerror})")
            return
        if not found:
            self._warn(
                f"No versions of servable {self.name} found under base path {self.base_path}. Did you forget to name "
                f"your leaf directory as a number (eg. '/1/')? `hangtag export --base-path {self.base_path}` makes one"
            )
        else:
            self._last_warning = ""
        aspired = latest(found)
        for number, version in self._versions.items():
            version.aspired = version.aspired and number in aspired
        for number in sorted(aspired, reverse=True):
            self._bring_up(number, aspired[number])
        if not found or any(number in self._serving for number in aspired):
            for number in [n for n in self._serving if n not in aspired]:
                self._retire(number)
        with self._changed:
            self._changed.notify_all()

    def _warn(self, words: str) -> None:
        """Say it once, not every second."""
        if words != self._last_warning:
            log.warning("%s", words)
            self._last_warning = words

    def _bring_up(self, number: int, folder: Path) -> None:
        version = self._versions.get(number)
        if version is None or (version.state == "END" and not version.aspired):  # new, or back again
            version = self._versions[number] = Version(number, folder)
        if version.state not in ("START", "LOADING") or time.monotonic() < version.retry_at:
            return
        version.state = "LOADING"
        begun = time.monotonic()
        try:
            servable = self._load(self.name, number, folder)
        except ServingError as error:
            self._failed(version, error)
            return
        version.servable, version.state = servable, "AVAILABLE"
        self._serving = {**self._serving, number: servable}
        log.info("%s version %d is available, loaded in %.2f s", self.name, number, time.monotonic() - begun)

    def _failed(self, version: Version, error: ServingError) -> None:
        version.failures += 1
        left = self._max_retries - version.failures + 1
        again = f"; trying again in {self._retry_seconds:g} s, {left} times more" if left > 0 else ""
        log.error("%s version %d does not load: %s%s", self.name, version.number, error.message, again)
        if left > 0:
            version.retry_at = time.monotonic() + self._retry_seconds
        else:
            version.state, version.error_code, version.error_message = "END", error.code, error.message

    def _retire(self, number: int) -> None:
        version = self._versions[number]
        version.state = "UNLOADING"
        self._serving = {n: servable for n, servable in self._serving.items() if n != number}

        def unload() -> None:
            if version.servable is not None:
                version.servable.close()
            version.servable, version.state = None, "END"
            log.info("%s version %d is unloaded", self.name, number)

        # Not in this thread: a slow request on the old version must not hold up the next one.
        threading.Thread(target=unload, name=f"unload-{self.name}-{number}", daemon=True).start()
