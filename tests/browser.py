"""A real headless Chromium, driven by selenium: the machine's own, else Debian's package unpacked without root.

`Page` is the playground in it.
"""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from selenium import webdriver
from selenium.common.exceptions import NoSuchElementException, StaleElementReferenceException
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import Select

from programs import tree
from support import eventually, free_port

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
        service = Service(driver, port=free_port(), env=own | home | environment)
        opened = webdriver.Chrome(options=options, service=service)
        try:
            yield opened
        finally:
            opened.quit()


class Page:
    """The page as a person sees it: elements by CSS selector, and waiting for what they show."""

    def __init__(self, browser: webdriver.Chrome, url: str) -> None:
        self.browser, self.url = browser, url

    def open(self, tab: str = "") -> None:
        self.browser.get("about:blank")
        self.browser.get(f"{self.url}/#{tab}")
        self.wait(lambda: self.text("#status").startswith(("Connected", "已连接")), "a connection")

    def __getitem__(self, selector: str) -> WebElement:
        return self.browser.find_element(By.CSS_SELECTOR, selector)

    def all(self, selector: str) -> list[WebElement]:
        return self.browser.find_elements(By.CSS_SELECTOR, selector)

    def text(self, selector: str) -> str:
        """Of the first such element, "" if there is none; the page may draw it again at any moment."""
        while True:
            try:
                found = self.all(selector)
                return found[0].text if found else ""
            except StaleElementReferenceException:
                continue

    def active_id(self) -> str:
        """The id of the element that the keyboard would reach."""
        return self.browser.switch_to.active_element.get_attribute("id") or ""

    def wait(self, condition: Callable[[], object], what: str) -> None:
        def holds() -> object:
            try:
                return condition()
            except (NoSuchElementException, StaleElementReferenceException):  # the page is just being drawn again
                return False

        eventually(holds, what)

    def choose(self, select: str, value: str) -> None:
        def chosen() -> bool:
            Select(self[select]).select_by_value(value)
            return True

        self.wait(chosen, f"{value} in {select}")
