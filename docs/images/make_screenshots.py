"""Make the pictures of docs/how-to/playground.md.

python docs/images/make_screenshots.py --base-path models/fashion [desktop live …]

The base path needs two versions (train twice). Chromium and the fonts are Debian's, unpacked under build/tools.
"""

from __future__ import annotations

import argparse
import io
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "examples")]

from PIL import Image  # noqa: E402
from playground import newest_two, write_config  # noqa: E402
from selenium.webdriver import ActionChains, Chrome  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.support.ui import Select, WebDriverWait  # noqa: E402

from browser import chromium  # noqa: E402
from playgrounds import playground  # noqa: E402
from programs import tree  # noqa: E402
from support import serving  # noqa: E402

FONTS = """<?xml version="1.0"?><!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig><dir>{fonts}/usr/share/fonts</dir><cachedir>{cache}</cachedir></fontconfig>"""
DESKTOP, TALL, LIVE, PHONE = (1200, 880), (1200, 1090), (1200, 880), (390, 844)

BOOT = (
    *((17, 4), (24, 4), (24, 23), (4, 23), (4, 18), (12, 16), (17, 12), (17, 4)),
    *((20, 5), (20, 20), (7, 20), (16, 17), (22, 8), (22, 20)),
)
"""Strokes of a boot, on the board of 28 x 28."""


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
        few_colours(whole).save(file, optimize=True)
        print(f"{file.relative_to(ROOT)}: {file.stat().st_size // 1024} KB")


def few_colours(image: Image.Image) -> Image.Image:
    """The image in 256 colours: the most frequent ones are kept exactly, so that no surface gets a tint."""
    counted = sorted(image.getcolors(image.width * image.height), reverse=True)
    palette = [channel for _, colour in counted[:176] for channel in colour]
    palette += image.quantize(80, Image.Quantize.MAXCOVERAGE).getpalette()[: 80 * 3]
    colours = Image.new("P", (1, 1))
    colours.putpalette(palette)
    return image.quantize(palette=colours, dither=Image.Dither.NONE)


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


def desktop(camera: Camera, swap: Callable[[], None]) -> None:
    camera.open(DESKTOP)
    find(camera, lambda: float(camera.find(".percent").text.rstrip("%")) < 90)
    camera.save("desktop")


def chinese(camera: Camera, swap: Callable[[], None]) -> None:
    camera.open(DESKTOP, language="zh")
    find(camera, lambda: float(camera.find(".percent").text.rstrip("%")) < 90)
    camera.save("zh")


def canary(camera: Camera, swap: Callable[[], None]) -> None:
    camera.open(DESKTOP)
    compare(camera)
    camera.wait("#agreement")
    find(camera, lambda: "disagree" in camera.find("#agreement").text)
    camera.save("canary")


def matrix(camera: Camera, swap: Callable[[], None]) -> None:
    camera.open(TALL, tab="evaluate")
    compare(camera)
    camera.choose("#count", "2000")
    camera.find("#start").click()
    camera.wait("#summary", "2,000")
    camera.find("[id='cell-6,0']").click()
    camera.save("confusion-matrix")


def live(camera: Camera, swap: Callable[[], None]) -> None:
    camera.open(LIVE, tab="live", scheme="dark")
    camera.find("#traffic").click()
    time.sleep(45)
    swap()
    camera.wait("#events", "Version 2 answers")
    time.sleep(40)
    camera.save("dark")


def phone(camera: Camera, swap: Callable[[], None]) -> None:
    camera.open(PHONE)
    camera.find("#draw").click()
    board = camera.find("#canvas")
    scale = board.size["width"] / 28
    pen = ActionChains(camera.browser, duration=10)
    start, *others = [((x - 14) * scale, (y - 14) * scale) for x, y in BOOT]
    pen.move_to_element_with_offset(board, *map(round, start)).click_and_hold()
    for before, place in pairwise([start, *others]):
        pen.move_by_offset(*(round(to) - round(at) for at, to in zip(before, place, strict=True)))
    pen.release().perform()
    time.sleep(1)
    camera.browser.execute_script("document.querySelector('.tabs').scrollIntoView()")
    drawing = camera.look()

    camera.open(PHONE)
    first = camera.look()

    camera.open(PHONE, scheme="dark", language="zh")
    compare(camera)
    camera.wait("#agreement")
    camera.browser.execute_script("document.getElementById('result').scrollIntoView()")
    camera.save("phone", first, drawing, camera.look())


def compare(camera: Camera) -> None:
    camera.choose("#which", "label:stable")
    camera.choose("#other", "label:canary")


PICTURES = {"live": live, "desktop": desktop, "zh": chinese, "canary": canary, "matrix": matrix, "phone": phone}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pictures", nargs="*", metavar="NAME", help=f"of {', '.join(PICTURES)}; default all")
    parser.add_argument("--base-path", type=Path, default=Path("models/fashion"))
    arguments = parser.parse_args()
    base_path = arguments.base_path.resolve()
    versions = newest_two(base_path)
    fonts = tree("fonts-noto-cjk", "fonts-inter")
    with tempfile.TemporaryDirectory() as name:
        folder, config = Path(name), Path(name, "fonts.conf")
        config.write_text(FONTS.format(fonts=fonts, cache=ROOT / "build" / "tools" / "fontconfig"))
        flags = [*write_config(folder, base_path, versions), "--model_config_file_poll_wait_seconds=1"]
        with (
            serving(base_path, folder / "log", *flags, model=base_path.name) as server,
            playground("--target", server.grpc, "--target", server.rest, "--model", base_path.name) as page,
            chromium("--hide-scrollbars", FONTCONFIG_FILE=str(config)) as browser,
        ):
            for picture in arguments.pictures or PICTURES:
                write_config(folder, base_path, versions[:1] if picture == "live" else versions)
                expected = 1 if picture == "live" else 2
                while len(page.get("/api/state").json()["labels"]) != expected:
                    time.sleep(0.1)
                PICTURES[picture](Camera(browser, page.url), lambda: write_config(folder, base_path, versions))


if __name__ == "__main__":
    main()
