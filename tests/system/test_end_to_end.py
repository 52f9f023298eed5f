"""From a published version to class names, over both protocols, through a real server process."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import requests

from hangtag import Client
from hangtag.fashion_mnist import CLASS_NAMES, CLASS_NAMES_ZH
from support import PATIENCE, eventually, free_port, run, serving


def test_all_answers_are_keras_own(client, images, exported):
    """Ten thousand images come back in order, with the labels that Keras itself predicts."""
    from hangtag.optional import require

    keras = require("keras", extra="export", what="the test")
    expected = keras.models.load_model(exported.parent / "model.keras").predict(images / 255.0, verbose=0)
    result = client.classify(images)
    assert result.probabilities.shape == (10_000, 10)
    assert (result.indices == expected.argmax(axis=1)).all()
    assert np.allclose(result.probabilities, expected, atol=1e-5)


def test_every_form_of_one_image_gets_the_same_answer(client, images, tmp_path):
    """Arrays, floats, files, bytes and PIL images of one picture are one picture."""
    from PIL import Image

    picture = Image.fromarray(images[0])
    file = tmp_path / "boot.png"
    picture.save(file)
    expected = client.classify(images[:1]).probabilities
    forms = [
        images[0],
        images[0][..., np.newaxis],
        images[0].tolist(),
        images[0].astype(np.int64),
        images[0].astype(np.float64),
        images[:1] / 255.0,
        file,
        str(file),
        file.read_bytes(),
        picture,
        [picture],
        [images[0]],
    ]
    for form in forms:
        assert np.allclose(client.classify(form).probabilities, expected, atol=1e-6)


def test_names_come_from_the_model(client, server):
    assert client.labels() == list(CLASS_NAMES)
    with Client(server.grpc, language="zh") as chinese:
        assert chinese.labels() == list(CLASS_NAMES_ZH)
    with Client(server.grpc, labels=[f"class {n}" for n in range(10)]) as own:
        assert own.labels()[9] == "class 9"


def test_status_metadata_and_readiness(client):
    (status,) = client.status()
    assert (status.version, status.state, status.error_code) == (1, "AVAILABLE", "OK")
    model = client.wait_ready()
    assert client.ready()
    assert model == client.metadata()
    assert {"serving_default", "encoded_images", "labels"} <= model.signatures.keys()
    assert str(model.signatures["serving_default"].inputs["images"]) == "uint8 [?, 28, 28]"


def test_any_signature_can_be_called(client, images):
    top = client.predict({"images": images[:3]}, signature="top_classes")
    assert top["classes"].shape == top["scores"].shape == (3, 5)
    assert top["classes"][:, 0].tolist() == [name.encode() for name in client.classify(images[:3]).labels]


def test_curl_gets_ten_probabilities(server, images):
    answer = requests.post(
        f"{server.rest}/v1/models/fashion:predict", json={"instances": images[:1].tolist()}, timeout=60
    )
    (row,) = answer.json()["predictions"]
    assert len(row) == 10
    assert sum(row) == pytest.approx(1, abs=1e-5)


def test_the_command_line_names_a_picture(server, images, tmp_path):
    from PIL import Image

    file = tmp_path / "boot.png"
    Image.fromarray(images[0]).save(file)
    for target in (server.grpc, server.rest):
        done = run("classify", str(file), "--target", target, "--json", "--top=2", f"--plot={tmp_path / 'plot.png'}")
        assert done.returncode == 0, done.stderr
        document = json.loads(done.stdout)
        assert document["label"] == "Ankle boot"
        assert document["top"][0]["label"] == "Ankle boot"
        with Image.open(tmp_path / "plot.png") as plot:
            assert plot.size == (400, 200)
    assert run("labels", "--target", server.grpc, "--language=zh").stdout.split() == list(CLASS_NAMES_ZH)
    assert run("status", "--target", server.rest).stdout.split() == ["1", "AVAILABLE"]
    assert "version 1 is ready" in run("wait", "--target", server.rest).stdout


def test_versions_come_and_go_under_a_base_path_that_was_empty(exported, images, tmp_path):
    """No port opens until there is something to serve, as with the C++ server; then each version takes over."""
    base_path = tmp_path / "fashion"
    base_path.mkdir()
    with serving(base_path, tmp_path / "log", wait=False, prestarted=False) as server, Client(server.grpc) as client:
        eventually(lambda: "No versions of servable fashion found under base path" in server.log_text(), "the warning")
        assert "hangtag export" in server.log_text()
        assert "no port is open until then" in server.log_text()
        assert not client.ready()
        publish_copy(exported / "1", base_path, 1)
        assert client.wait_ready(PATIENCE).version == 1
        assert client.classify(images[:600]).model_version == 1
        publish_copy(exported / "1", base_path, 2)
        eventually(lambda: client.classify(images[:600]).model_version == 2, "version 2, and no failed call before")
        eventually(lambda: [v.state for v in client.status()] == ["AVAILABLE", "END"], "version 1 to be unloaded")
        assert client.labels() == list(CLASS_NAMES)
        assert server.stop(signal.SIGINT) == 0  # SIGTERM: test_lifecycle
        assert "Traceback" not in server.log_text()


def test_a_signal_ends_a_server_that_still_waits(tmp_path):
    with serving(tmp_path, tmp_path / "log", wait=False) as server:
        eventually(lambda: "No versions" in server.log_text(), "the warning")
        assert server.stop() == 0


def test_a_server_that_is_given_a_version_says_so(exported, tmp_path):
    """Rather than advise to export a version into a version."""
    with serving(exported / "1", tmp_path / "log", wait=False) as server:
        eventually(lambda: "is a version (it holds saved_model.pb)" in server.log_text(), "the warning")
        assert "give its parent folder" in server.log_text()
        assert "hangtag export" not in server.log_text()


@pytest.mark.parametrize("flag", ["--port", "--rest_api_port"])
def test_a_taken_port_is_one_sentence(server, exported, flag):
    taken = server.target("grpc" if flag == "--port" else "rest").rsplit(":", 1)[1]
    other = "--rest_api_port" if flag == "--port" else "--port"
    done = run("serve", f"--model_base_path={exported}", f"{flag}={taken}", f"{other}={free_port()}")
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        f"hangtag: port {taken} of 127.0.0.1 is already taken: stop what listens there, or choose another with a flag"
    ]


def publish_copy(version: Path, base_path: Path, number: int) -> None:
    """Put a copy of a version into a base path, at once."""
    staged = base_path / f".copy-{number}"
    shutil.copytree(version, staged)
    staged.rename(base_path / str(number))
