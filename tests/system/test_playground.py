"""The playground in a real browser: one Chromium, one playground and one model server for all tests, in this order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from selenium.webdriver import ActionChains, Chrome, Keys
from selenium.webdriver.common.by import By

from browser import Page, chromium
from hangtag import Client
from hangtag.fashion_mnist import CLASS_NAMES, CLASS_NAMES_ZH
from playgrounds import Playground, playground, two_version_server, write_config
from support import Server, free_port


@pytest.fixture(scope="module")
def ports() -> tuple[int, int]:
    return free_port(), free_port()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def server(folder: Path, ports: tuple[int, int]) -> Iterator[Server]:
    with two_version_server(folder, ports) as running:
        yield running


@pytest.fixture(scope="module")
def running(server: Server) -> Iterator[Playground]:
    with playground("--target", server.grpc, "--target", server.rest) as started:
        yield started


@pytest.fixture(scope="module")
def browser() -> Iterator[Chrome]:
    with chromium() as opened:
        yield opened


@pytest.fixture
def page(browser: Chrome, running: Playground) -> Iterator[Page]:
    browser.set_window_size(1280, 1000)
    page = Page(browser, running.url)
    page.open()
    yield page
    messages = [entry["message"] for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
    assert [message for message in messages if "Failed to load resource" not in message] == []


@pytest.fixture
def answers(server: Server) -> Callable[..., str]:
    """What the SDK answers for the same pixels."""

    def answer(pixels: np.ndarray, version: int = 2) -> str:
        with Client(server.grpc, version=version, timeout=60) as client:
            return client.classify(pixels)[0].label

    return answer


def test_the_first_screen_shows_an_answer(page, answers, images):
    page.wait(lambda: page.text(".verdict strong"), "an answer")
    number = int(page["#samples button"].get_attribute("aria-label").split()[-1])
    assert page.text(".verdict strong") == answers(images[number])
    assert "over gRPC" in page.text(".verdict small")
    assert len(page.all(".bars li")) == 10
    page.wait(lambda: page["#pixels"].get_attribute("naturalWidth") == "28", "the image")
    assert page["#samples button"].get_attribute("aria-pressed") == "true"


def test_files_are_uploaded(page, answers, images, tmp_path):
    for number in (11, 12):
        Image.fromarray(images[number]).save(tmp_path / f"{number}.png")
    page["#file"].send_keys(f"{tmp_path / '11.png'}\n{tmp_path / '12.png'}")
    page.wait(lambda: len(page.all("#files button")) == 2, "two images")
    page.wait(lambda: page.text(".verdict strong") == answers(images[11]), "the answer for the first")
    page["#files button:nth-child(2)"].click()
    page.wait(lambda: page.text(".verdict strong") == answers(images[12]), "the answer for the second")
    page.choose("#prepare", "photo")
    page.wait(lambda: "trimmed and inverted" in page.text("figcaption"), "another preparation")


def test_what_is_no_image_is_one_sentence_and_the_next_image_works(page, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no image")
    page["#file"].send_keys(str(tmp_path / "broken.png"))
    page.wait(lambda: "neither PNG nor JPEG" in page.text("#result [role=alert]"), "an error")
    page["#samples button"].click()
    page.wait(lambda: page.text(".verdict strong"), "an answer")


def test_an_image_is_pasted(page):
    """A paste event with a PNG, as Ctrl-V of a screenshot makes it."""
    page.browser.execute_script("""
        const canvas = Object.assign(document.createElement("canvas"), {width: 28, height: 28});
        canvas.toBlob((blob) => {
          const data = new DataTransfer();
          data.items.add(new File([blob], "pasted.png", {type: "image/png"}));
          document.dispatchEvent(new ClipboardEvent("paste", {clipboardData: data, bubbles: true}));
        });""")
    page.wait(lambda: page.all("#files button[aria-label='pasted.png']"), "the pasted image")


def test_a_drawing_is_classified(page):
    page["#draw"].click()
    board = page["#canvas"]
    before = page["#pixels"].get_attribute("src")
    pen = ActionChains(page.browser, duration=20).move_to_element_with_offset(board, -80, 0).click_and_hold()
    pen.move_by_offset(80, 60).move_by_offset(60, -90).release().perform()
    page.wait(lambda: page["#pixels"].get_attribute("src") != before, "the drawing's answer")
    drawn = page["#pixels"].get_attribute("src")
    board.send_keys(Keys.ARROW_DOWN, Keys.ARROW_DOWN, Keys.SPACE)
    page.wait(lambda: page["#pixels"].get_attribute("src") != drawn, "the keyboard's dot")
    page["#clear"].click()
    blank = """const {data} = document.getElementById("canvas").getContext("2d").getImageData(0, 0, 28, 28);
        return data.every((value, at) => value === (at % 4 === 3 ? 255 : 0));"""
    page.wait(lambda: page.browser.execute_script(blank), "a blank canvas")


def test_version_label_and_protocol_are_switched(page, answers, images):
    page.wait(lambda: "Version 2" in page.text(".verdict small"), "the newest version")
    number = int(page["#samples button"].get_attribute("aria-label").split()[-1])
    page.choose("#which", "version:1")
    page.wait(lambda: "Version 1" in page.text(".verdict small"), "version 1")
    expected = answers(images[number], 1)
    page.wait(lambda: page.text(".verdict strong") == expected, "its answer")
    page["[name=protocol][value=rest]"].find_element(By.XPATH, "..").click()
    page.wait(lambda: "over REST" in page.text(".verdict small"), "REST")
    page.choose("#which", "label:canary")
    page.wait(lambda: "Version 2" in page.text(".verdict small"), "the canary")


def test_two_versions_stand_side_by_side(page, answers, images):
    number = int(page["#samples button"].get_attribute("aria-label").split()[-1])
    page.choose("#which", "label:stable")
    page.choose("#other", "label:canary")
    page.wait(lambda: len(page.all(".verdict")) == 2, "two answers")
    expected = [answers(images[number], version) for version in (1, 2)]
    page.wait(lambda: [one.text for one in page.all(".verdict strong")] == expected, "both answers")
    differ = expected[0] != expected[1]
    page.wait(lambda: page.text("#agreement") and ("disagree" in page.text("#agreement")) == differ, "what it says")
    page.wait(lambda: [one.text for one in page.all(".which")] == ["stable", "canary"], "both names")


def test_an_evaluation_fills_the_matrix_and_shows_the_images_of_a_cell(page, server, dataset):
    page.choose("#other", "version:1")
    page["#tab-evaluate"].click()
    page.choose("#count", "500")
    page["#start"].click()
    page.wait(lambda: page.text("#start") == "Start" and "500" in page.text("#summary"), "the end of the evaluation")
    with Client(server.grpc, timeout=60) as client:
        predicted = client.classify(dataset.test_images[:500]).indices
    accuracy = (predicted == dataset.test_labels[:500]).mean()
    page.wait(lambda: f"{accuracy:.1%}" in page.text("#summary"), "the accuracy")
    counts = np.zeros((10, 10), int)
    np.add.at(counts, (dataset.test_labels[:500], predicted), 1)

    def shown() -> list[list[int]]:
        rows = (row.find_elements(By.TAG_NAME, "button") for row in page.all("tbody tr"))
        return [[int(cell.text or 0) for cell in row] for row in rows]

    page.wait(lambda: shown() == counts.tolist(), "the matrix")
    one, other = map(int, np.unravel_index(counts.argmax(), counts.shape))
    page[f"[id='cell-{one},{other}']"].click()
    title = f"{CLASS_NAMES[one]} predicted as {CLASS_NAMES[other]}: {counts[one, other]}"
    page.wait(lambda: page.text("#gallery h2") == title, "the title of the cell")
    page.wait(lambda: len(page.all("#gallery button")) == min(counts[one, other], 60), "the images of the cell")
    page["#view button:last-child"].click()
    page.wait(lambda: "Rows: Newest" in page.text("caption"), "where the versions differ")
    page[f"[id='cell-{one},{other}']"].send_keys(Keys.ARROW_RIGHT)
    page.wait(lambda: page.active_id() not in ("", f"cell-{one},{other}"), "another cell to be active")


def test_a_folder_is_evaluated(page, images, dataset, tmp_path):
    for number in range(4):
        place = tmp_path / "set" / CLASS_NAMES[dataset.test_labels[number]].replace("/", "_")
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(images[number]).save(place / f"{number}.png")
    page["#tab-evaluate"].click()
    page.choose("#source", "folder")
    page["#folder"].send_keys(str(tmp_path / "set"))
    page.wait(lambda: page.text("#start") == "Start" and "Images\n4" in page.text("#summary"), "four images")


def test_a_change_of_versions_is_watched(page, folder):
    page["#tab-live"].click()
    page.wait(lambda: len(page.all("#versions li")) == 2, "both versions")
    page.wait(lambda: "stable" in page.text("#versions"), "their labels")
    page["#traffic"].click()
    page.wait(lambda: "Version 2 answers" in page.text("#events"), "an answer of version 2")
    page.wait(lambda: page.text(".figure strong") not in ("–", "0.0"), "throughput")
    page.wait(lambda: page["#throughput path"].get_attribute("d").count("L") > 1, "a line")
    write_config(folder, (3,), labels=False)
    page.wait(lambda: "Version 3 answers" in page.text("#events"), "an answer of version 3")
    page.wait(lambda: "Version 3 is available" in page.text("#events"), "version 3 among the events")
    page["#traffic"].click()
    write_config(folder)
    page.wait(lambda: "Version 1 is available" in page.text("#events"), "version 1 again")


@pytest.fixture(scope="module")
def again(server: Server, folder: Path, ports: tuple[int, int]) -> Iterator[Server]:
    """The model server once more, on the same ports, for the tests from here on."""
    with two_version_server(folder, ports) as running:
        yield running


def test_a_server_that_stops_and_starts_again_is_survived(page, server, request):
    page.wait(lambda: page.text(".verdict strong"), "an answer")
    page.wait(lambda: not page["#banner"].is_displayed(), "the connection")
    server.stop()
    page.wait(lambda: "The model server does not answer" in page.text("#banner"), "the banner")
    page.wait(lambda: page.text("#status") == "Reconnecting…", "the status")
    request.getfixturevalue("again")
    page.wait(lambda: not page["#banner"].is_displayed(), "the connection")
    page["#samples button:nth-child(2)"].click()
    page.wait(lambda: page["#samples button:nth-child(2)"].get_attribute("aria-pressed") == "true", "a choice")
    page.wait(lambda: "Version 2" in page.text(".verdict small"), "an answer after the restart")


def test_a_playground_that_stops_is_noticed(browser, again):
    port = free_port()
    with playground("--target", again.grpc, f"--port={port}") as first:
        page = Page(browser, first.url)
        page.open()
    page.wait(lambda: "The playground was stopped" in page.text("#banner"), "the banner")
    with playground("--target", again.grpc, f"--port={port}"):
        page.wait(lambda: not page["#banner"].is_displayed(), "the connection")


def test_the_page_is_chinese_when_asked_and_stays_so(page, again, tmp_path):
    page.wait(lambda: page.text(".verdict strong") in CLASS_NAMES, "an English answer")
    page["#language"].click()
    page.wait(lambda: page.text(".verdict strong") in CLASS_NAMES_ZH, "a Chinese answer")
    assert page["html"].get_attribute("lang") == "zh-CN"
    page.wait(lambda: [one.text for one in page.all("[role=tab]")] == ["识别", "评估", "监控"], "Chinese tabs")
    page.open()
    page.wait(lambda: page.text("#tab-try") == "识别", "Chinese tabs again")
    (tmp_path / "broken.png").write_bytes(b"no image")
    page["#file"].send_keys(str(tmp_path / "broken.png"))
    page.wait(lambda: "这不是 PNG 或 JPEG 文件" in page.text("#result [role=alert]"), "an error in Chinese")
    page["#language"].click()
    page.wait(lambda: page.text("#tab-try") == "Try", "English again")


def test_the_page_fits_a_phone(page, again):
    page.browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": True}
    )
    try:
        page.choose("#other", "version:1")
        page.wait(lambda: len(page.all(".verdict")) == 2, "two answers")
        for tab in ("try", "evaluate", "live"):
            page[f"#tab-{tab}"].click()
            page.wait(lambda it=tab: page[f"#{it}"].is_displayed(), tab)
            width = page.browser.execute_script("return document.documentElement.scrollWidth")
            assert width <= 360, tab
        page["#tab-try"].click()
        page.wait(lambda: page["#try"].is_displayed(), "try")
        small = """return [...document.querySelectorAll("button, select, .button")]
            .filter((one) => one.offsetHeight && one.offsetHeight < 32).length;"""
        assert page.browser.execute_script(small) == 0
    finally:
        page.browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_every_control_has_a_name_and_is_reached_by_the_keyboard(page, again):
    """The names that a screen reader speaks, from Chromium's own accessibility tree."""
    page.wait(lambda: page.text(".verdict strong"), "an answer")
    nodes = page.browser.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    roles = {"button", "combobox", "MenuListPopup", "radio", "tab", "link", "img", "image", "textbox"}
    unnamed = [
        node["role"]["value"]
        for node in nodes
        if not node["ignored"] and node["role"]["value"] in roles - {"MenuListPopup"} and not node["name"]["value"]
    ]
    assert unnamed == []
    page["#tab-evaluate"].click()
    page.wait(lambda: page["#evaluate"].is_displayed(), "the other tab")
    page.browser.execute_script("document.querySelector('.skip').focus()")
    ActionChains(page.browser).send_keys(Keys.ENTER).perform()  # to the content, and not to another tab
    page.wait(lambda: page.active_id() == "main", "the content to be active")
    assert page["#evaluate"].is_displayed()
    page["#tab-try"].click()
    page.wait(lambda: page.text(".verdict strong") in page["#spoken"].get_attribute("textContent"), "the spoken answer")
    reached = set()
    for _ in range(30):
        page["body"].send_keys(Keys.TAB) if not reached else ActionChains(page.browser).send_keys(Keys.TAB).perform()
        active = page.browser.switch_to.active_element
        reached.add(active.get_attribute("id") or active.get_attribute("class"))
    assert {"language", "model", "which", "other", "file", "draw", "shuffle"} <= reached
