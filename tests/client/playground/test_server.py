"""The playground's HTTP server, by the requests that its page sends and by those that others might."""

from __future__ import annotations

import base64
import io
import json
import re
import socket
import struct
import zlib

import numpy as np
import pytest
import requests
from PIL import Image

from hangtag import Client, HangtagError
from hangtag.playground.images import MAX_BYTES, as_png, read_upload
from hangtag.results import png
from playgrounds import playground
from support import ROOT, eventually, free_port

STATIC = ROOT / "client" / "hangtag" / "playground" / "static"
CHINESE = json.loads((STATIC / "zh.json").read_text())


def shown(document: dict) -> np.ndarray:
    """The pixels of an answer."""
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(document["pixels"].partition(",")[2]))))


# ---- the page


def test_every_file_of_the_page_is_served_with_its_type_and_policy(page):
    for file in STATIC.iterdir():
        found = page.get("/" if file.name == "index.html" else f"/{file.name}")
        assert found.content == file.read_bytes()
        policy = found.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert found.headers["X-Content-Type-Options"] == "nosniff"
    assert page.get("/app.js").headers["Content-Type"].startswith("text/javascript")
    assert page.get("/../server.py").status_code == 404


def test_the_page_loads_nothing_from_other_hosts_and_has_no_inline_code():
    for file in STATIC.iterdir():
        text = file.read_text().replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?://|@import|innerHTML|eval\(", text), file
    assert not re.search(r"<script(?! type=\"module\" src=)| on\w+=| style=", (STATIC / "index.html").read_text())


def test_every_text_of_the_page_has_a_translation():
    sources = "".join(file.read_text() for file in STATIC.glob("*.js") if file.name != "text.js")
    used = re.findall(r'\bt\("([^"]+)"', sources)
    html = (STATIC / "index.html").read_text()
    used += [re.sub(r"\s+", " ", text) for text in re.findall(r"<[^>]* data-t(?: hidden)?>([^<]+)<", html)]
    assert len(used) > 60
    assert [text for text in used if text not in CHINESE] == []


def test_every_kind_of_error_has_a_chinese_sentence():
    source = (STATIC.parent / "server.py").read_text()
    kinds = {error.__name__ for error in HangtagError.__subclasses__() if error.__module__ == "hangtag.errors"}
    kinds |= set(re.findall(r'_refusal\(.*"(\w+)"\)', source))
    assert {"ServerUnavailable", "InvalidInput", "Timeout", "Busy"} <= kinds
    assert [kind for kind in kinds if not CHINESE.get(kind, "").endswith("。")] == []


def test_the_playground_stays_small():
    """It is read from top to bottom, and has no build step. Translations are data."""
    files = [file for file in (*STATIC.iterdir(), *STATIC.parent.glob("*.py")) if file.suffix != ".json"]
    assert sum(len(file.read_text().splitlines()) for file in files) <= 1500


# ---- who may ask


@pytest.mark.parametrize("host", ["localhost:{port}", "127.0.0.1:{port}", "[::1]:{port}", "LOCALHOST"])
def test_names_of_this_machine_are_answered(page, host):
    port = page.url.rpartition(":")[2]
    assert page.get("/api/state", headers={"Host": host.format(port=port)}).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example.org", "localhost.evil.example.org:8600", "", "localhost@evil.org", "[::1"]
)
def test_a_page_that_rebinds_its_name_to_this_machine_gets_nothing(page, host):
    found = page.get("/api/state", headers={"Host": host})
    assert found.status_code in (400, 403)
    assert "targets" not in found.text


@pytest.mark.parametrize("origin", [None, "null", "http://evil.example.org", "http://127.0.0.1:1", "https://localhost"])
def test_other_pages_cannot_post(page, origin):
    headers = {} if origin is None else {"Origin": origin}
    for path in ("/api/classify", "/api/evaluate"):
        found = requests.post(f"{page.url}{path}?model=fashion&sample=0", headers=headers, timeout=60)
        assert found.status_code == 403
        assert found.json()["kind"] == "Origin"


# ---- images


@pytest.mark.parametrize("protocol", ["grpc", "rest"])
def test_an_upload_gets_the_answer_of_the_sdk(page, models, images, protocol):
    found = page.post("/api/classify", png(images[7]), protocol=protocol).json()
    (result,) = found["results"]
    with Client(models.target(protocol), timeout=60) as client:
        expected = client.classify(images[7])[0]
    assert (shown(found) == images[7]).all()
    assert (found["prepared"], found["shape"]) == ("unchanged", [28, 28])
    assert result["top"][0]["name"] == expected.label
    assert result["top"][0]["score"] == pytest.approx(expected.score, rel=1e-4)
    assert [one["score"] for one in result["top"]] == sorted((one["score"] for one in result["top"]), reverse=True)
    assert (result["version"], result["protocol"]) == (2, protocol)
    assert result["milliseconds"] > 0


def test_two_versions_answer_side_by_side(page, images):
    found = page.post("/api/classify", png(images[0]), which="label:stable", other="version:2").json()
    first, second = found["results"]
    assert (first["version"], second["version"]) == (1, 2)
    assert first["top"] != second["top"]


def test_a_test_image_is_classified_by_its_number(page, images):
    assert (shown(page.post("/api/classify", sample=3).json()) == images[3]).all()
    assert (np.asarray(Image.open(io.BytesIO(page.get("/api/samples/3.png").content))) == images[3]).all()
    listed = page.get("/api/samples").json()
    assert (listed["name"], listed["count"], len(listed["items"])) == ("Fashion-MNIST", 10_000, 28)


def test_a_photograph_is_prepared_as_the_data_set_was_made(page):
    photo = io.BytesIO()
    picture = Image.new("RGB", (600, 400), "white")
    picture.paste((30, 30, 120), (200, 50, 400, 350))
    picture.save(photo, "JPEG")
    found = page.post("/api/classify", photo.getvalue()).json()
    assert found["prepared"] == "photo"
    assert shown(found)[0, 0] == 0
    assert shown(found)[14, 14] > 128
    assert page.post("/api/classify", photo.getvalue(), prepare="resize").json()["prepared"] == "resized"


def test_a_photograph_is_turned_as_its_camera_was_held(page):
    picture = Image.new("L", (80, 40))
    picture.paste(255, (0, 0, 40, 40))  # bright on the left, which is above when held upright
    exif = Image.Exif()
    exif[0x0112] = 6
    file = io.BytesIO()
    picture.save(file, "JPEG", exif=exif)
    pixels = shown(page.post("/api/classify", file.getvalue(), prepare="resize").json())
    assert pixels[2].min() > 200
    assert pixels[-3].max() < 50


def test_a_picture_of_16_bits_keeps_its_greys(page):
    file = io.BytesIO()
    Image.fromarray(np.full((28, 28), 0x8000, np.uint16)).save(file, "PNG")
    assert (shown(page.post("/api/classify", file.getvalue()).json()) == 128).all()


def test_a_picture_in_cmyk_can_be_shown_as_a_sample():
    file = io.BytesIO()
    Image.new("CMYK", (40, 30), (0, 200, 200, 0)).save(file, "JPEG")
    red, green, blue = np.asarray(Image.open(io.BytesIO(as_png(read_upload(file.getvalue())))))[0, 0]
    assert red > 200
    assert max(green, blue) < 100


def _bomb(width: int, height: int) -> bytes:
    """A PNG whose header promises more than it has."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(b"\0" * 1000)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )


@pytest.mark.parametrize(
    ("data", "status", "message"),
    [
        (b"", 400, "neither PNG nor JPEG"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", 400, "neither PNG nor JPEG"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 40, 400, "cannot be read|neither PNG"),
        (_bomb(7_200, 7_000), 400, "more than 50,000,000 pixels"),
        (_bomb(60_000, 60_000), 400, "more than 50,000,000 pixels"),
        (_bomb(300, 300), 400, "cannot be decoded"),
        (b"\xff\xd8\xff" + b"x" * MAX_BYTES, 413, "larger than 20 MB"),
    ],
    ids=["empty", "svg", "broken", "many pixels", "very many pixels", "truncated", "many bytes"],
)
def test_what_is_no_image_is_refused_in_one_sentence(page, data, status, message):
    found = page.post("/api/classify", data)
    assert found.status_code == status
    error = found.json()["error"]
    assert re.search(message, error)
    assert "\n" not in error
    assert error in CHINESE or error.startswith("this image cannot be")  # what follows is Pillow's


@pytest.mark.parametrize(
    ("query", "status", "message"),
    [
        ({"which": "latest"}, 400, "use newest, version:NUMBER or label:NAME"),
        ({"which": "version:9"}, 502, "Servable not found"),
        ({"which": "label:none"}, 502, "label"),
        ({"model": "shoes"}, 502, "Servable not found"),
        ({"protocol": "soap"}, 400, "no target for"),
        ({"sample": "10000"}, 400, "no such test image"),
        ({"sample": "-1"}, 400, "not a whole number"),
        ({"sample": "٣"}, 400, "not a whole number"),
        ({"prepare": "crop"}, 400, "use auto, resize or photo"),
    ],
    ids=lambda value: json.dumps(value) if isinstance(value, dict) else "",
)
def test_what_cannot_be_asked_is_refused_in_one_sentence(page, query, status, message):
    found = page.post("/api/classify", **{"sample": "0", **query})
    assert found.status_code == status
    assert message in found.json()["error"]


# ---- evaluation


def test_an_evaluation_streams_what_two_versions_answer(page, models, dataset):
    found = page.post("/api/evaluate", count=600, which="version:1", other="version:2", protocol="rest")
    head, *lines = map(json.loads, found.text.splitlines())
    assert head["total"] == 600
    assert head["names"][9] == "Ankle boot"
    assert [truth for line in lines for truth in line["truth"]] == dataset.test_labels[:600].tolist()
    assert len(lines) > 1
    for side, version in enumerate((1, 2)):
        with Client(models.grpc, version=version, timeout=60) as client:
            expected = client.classify(dataset.test_images[:600]).indices.tolist()
        assert [answer for line in lines for answer in line["predicted"][side]] == expected


def test_an_evaluation_of_no_images_gives_the_class_names(page):
    (head,) = map(json.loads, page.post("/api/evaluate", count=0).text.splitlines())
    assert (head["total"], len(head["names"])) == (0, 10)


# ---- the server's state


def test_the_state_names_versions_labels_and_counters(page):

    def look() -> dict | None:  # None if the model server was too busy to answer in time
        state = page.get("/api/state?model=fashion").json()
        return state if not state["errors"] and state["metrics"] and len(state["labels"]) == 2 else None

    before = eventually(look, "the counters")["metrics"]["latency"]["count"]
    for protocol in ("grpc", "rest"):
        page.post("/api/classify", sample=0, which="version:1", protocol=protocol)

    def counted() -> dict | None:  # which the model server does once it has answered
        state = look()
        metrics = state["metrics"] if state else {"latency": {"count": 0}, "versions": {}}
        return state if metrics["latency"]["count"] >= before + 2 and metrics["versions"].get("1", 0) >= 2 else None

    state = eventually(counted, "both requests to be counted")
    assert [(one["version"], one["state"]) for one in state["versions"]] == [(2, "AVAILABLE"), (1, "AVAILABLE")]
    assert state["labels"] == {"stable": 1, "canary": 2}
    assert state["errors"] == {}
    assert "fashion" in state["models"]
    metrics = state["metrics"]
    assert metrics["latency"]["buckets"][-1][1] == metrics["latency"]["count"]


def test_without_a_model_server_the_page_opens_and_says_so():
    target = f"127.0.0.1:{free_port()}"
    with playground("--target", target) as alone:
        assert alone.get("/").status_code == 200
        assert alone.get("/api/state").json()["reachable"] is False
        eventually(lambda: "Connection refused" in alone.get("/api/state").json()["errors"]["grpc"], "the reason")
        refused = alone.post("/api/classify", sample=0)
        assert refused.status_code == 502
        assert refused.json()["kind"] == "ServerUnavailable"
        assert target in refused.json()["error"]


def test_a_connection_that_sends_nonsense_changes_nothing(page):
    host, port = page.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=60) as raw:
        raw.sendall(b"\x16\x03\x01nonsense\r\n\r\n")
        assert b"400" in raw.recv(100)
    assert page.get("/api/state").status_code == 200
