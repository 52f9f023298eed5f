"""A real headless Chromium, driven by selenium: the machine's own, else Debian's package unpacked without root."""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.chrome.service import Service

from programs import tree

_FLAGS = (
    "--headless=new",
    "--no-sandbox",  # Chromium refuses root's sandbox, and containers often have none
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--lang=en-US",
)


def _programs() -> tuple[str, str, dict[str, str]]:
    """Chromium, its driver, and the environment they need."""
    browser, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if browser and driver:
        return browser, driver, dict(os.environ)
    root = tree("chromium", "chromium-driver")
    libraries = root / "usr" / "lib" / f"{platform.machine()}-linux-gnu"
    environment = os.environ | {"LD_LIBRARY_PATH": f"{libraries}:{libraries / 'pulseaudio'}"}
    return str(root / "usr/lib/chromium/chromium"), str(root / "usr/bin/chromedriver"), environment


@contextmanager
def chromium(*flags: str, **environment: str) -> Iterator[webdriver.Chrome]:
    """A browser with a profile of its own, until the block ends."""
    browser, driver, own = _programs()
    with tempfile.TemporaryDirectory(prefix="chromium-") as profile:
        options = webdriver.ChromeOptions()
        options.binary_location = browser
        for flag in (*_FLAGS, f"--user-data-dir={profile}", *flags):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        home = {"HOME": profile, "XDG_CONFIG_HOME": profile, "XDG_CACHE_HOME": str(Path(profile) / "cache")}
        opened = webdriver.Chrome(options=options, service=Service(driver, env=own | home | environment))
        try:
            yield opened
        finally:
            opened.quit()
