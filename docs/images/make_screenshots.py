"""Make the pictures of docs/how-to/playground.md.

python docs/images/make_screenshots.py --base-path models/fashion

The base path needs two versions (train twice). Chromium and the fonts are Debian's, unpacked under build/tools.
"""

from __future__ import annotations

import argparse
import io
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from PIL import Image  # noqa: E402
from selenium.webdriver import ActionChains, Chrome  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.support.ui import Select, WebDriverWait  # noqa: E402

from browser import chromium  # noqa: E402
from programs import tree  # noqa: E402

FONTS = """<?xml version="1.0"?><!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig><dir>{fonts}/usr/share/fonts</dir><cachedir>{cache}</cachedir></fontconfig>"""
DESKTOP, TALL, PHONE = (1200, 880), (1200, 1090), (390, 844)


class Camera:
    """A browser on the playground, at one size of screen."""

    def __init__(self, browser: Chrome, url: str) -> None:
        self.browser, self.url = browser, url

    def open(self, size: tuple[int, int], *, tab: str = "try", language: str = "en", scheme: str = "light") -> None:
        metrics = {"width": size[0], "height": size[1], "deviceScaleFactor": 2, "mobile": size == PHONE}
        self.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        self.browser.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": size == PHONE})
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        self.browser.get(f"{self.url}/style.css")
        self.browser.execute_script("localStorage.language = arguments[0]", language)
        self.browser.get(f"{self.url}/#{tab}")
        self.wait(".verdict" if tab == "try" else "#source option")

    def find(self, selector: str):
        return self.browser.find_element(By.CSS_SELECTOR, selector)

    def wait(self, selector: str, text: str = "") -> None:
        def shown(browser: Chrome) -> bool:
            found = browser.find_elements(By.CSS_SELECTOR, selector)
            return any(text in one.get_attribute("textContent") for one in found)

        WebDriverWait(self.browser, 60).until(shown)

    def choose(self, selector: str, value: str) -> None:
        self.wait(f"{selector} option[value='{value}']")
        Select(self.find(selector)).select_by_value(value)

    def look(self) -> Image.Image:
        time.sleep(1)  # for images and transitions; nothing is asserted here
        return Image.open(io.BytesIO(self.browser.get_screenshot_as_png())).convert("RGB")

    def save(self, name: str, *pictures: Image.Image) -> None:
        """Write what is shown, or `pictures` side by side."""
        parts = pictures or (self.look(),)
        gap = 60
        whole = Image.new("RGB", (sum(part.width + gap for part in parts) - gap, parts[0].height), "white")
        for at, part in enumerate(parts):
            whole.paste(part, (at * (part.width + gap), 0))
        file = Path(__file__).parent / f"playground-{name}.png"
        whole.quantize(256, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(file, optimize=True)
        print(f"{file.relative_to(ROOT)}: {file.stat().st_size // 1024} KB")


@contextmanager
def playground(base_path: Path) -> Iterator[str]:
    """Run examples/playground.py on a free port; yields the page's address."""
    command = [sys.executable, "-u", ROOT / "examples" / "playground.py", "--port=0", f"--base-path={base_path}"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        yield next(found[0] for line in process.stdout if (found := re.search(r"http://\S+(?=/ \()", line)))
    finally:
        process.terminate()
        process.wait(60)


def find(camera: Camera, condition: Callable[[], bool]) -> None:
    """Choose test images until the answer to one of them fulfils `condition`."""
    for _ in range(20):
        for number in range(1, 15):
            camera.find(f"#samples button:nth-child({number})").click()
            camera.wait("#result[aria-busy=false]")
            if condition():
                return
        camera.find("#shuffle").click()
        time.sleep(0.5)


def take(camera: Camera) -> None:
    """All pictures, one after the other."""
    camera.open(DESKTOP)
    find(camera, lambda: float(camera.find(".percent").text.rstrip("%")) < 90)
    camera.save("desktop")

    camera.choose("#which", "label:stable")
    camera.choose("#other", "label:canary")
    camera.wait("#agreement")
    find(camera, lambda: "disagree" in camera.find("#agreement").text)
    camera.save("canary")

    camera.open(TALL, tab="evaluate")
    camera.choose("#which", "label:stable")
    camera.choose("#other", "label:canary")
    camera.choose("#count", "2000")
    camera.find("#start").click()
    camera.wait("#summary", "2,000")
    camera.find("[id='cell-6,0']").click()
    camera.save("confusion-matrix")

    camera.open(DESKTOP, tab="live", scheme="dark")
    camera.find("#traffic").click()
    time.sleep(80)
    camera.save("dark")
    camera.find("#traffic").click()

    camera.open(DESKTOP, language="zh")
    camera.save("zh")

    camera.open(PHONE)
    camera.find("#draw").click()
    board = camera.find("#canvas")
    pen = ActionChains(camera.browser, duration=10)
    pen.move_to_element_with_offset(board, -60, -70).click_and_hold()
    for x, y in ((0, 140), (40, 0), (0, -90), (40, 0), (0, 90), (40, 0), (0, -140), (-120, 0), (120, 12), (-118, 10)):
        pen.move_by_offset(x, y)
    pen.release().perform()
    time.sleep(1)
    camera.browser.execute_script("document.querySelector('.tabs').scrollIntoView()")
    drawing = camera.look()

    camera.open(PHONE)
    first = camera.look()

    camera.open(PHONE, scheme="dark", language="zh")
    camera.choose("#which", "label:stable")
    camera.choose("#other", "label:canary")
    camera.wait("#agreement")
    camera.browser.execute_script("document.getElementById('result').scrollIntoView()")
    camera.save("phone", first, drawing, camera.look())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--base-path", type=Path, default=Path("models/fashion"))
    arguments = parser.parse_args()
    fonts = tree("fonts-noto-cjk", "fonts-inter")
    with tempfile.NamedTemporaryFile("w", suffix=".conf") as config, playground(arguments.base_path) as url:
        config.write(FONTS.format(fonts=fonts, cache=ROOT / "build" / "tools" / "fontconfig"))
        config.flush()
        with chromium("--hide-scrollbars", FONTCONFIG_FILE=config.name) as browser:
            take(Camera(browser, url))


if __name__ == "__main__":
    main()
