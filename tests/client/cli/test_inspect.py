"""`hangtag inspect`: a running model and a version on disk, as a table and as JSON."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from fake_server import FIRST_PIXEL, Model, Signature, model_server
from hangtag.cli.main import main
from support import ROOT

FASHION = ROOT / "tests" / "serving" / "conformance" / "models" / "fashion"


def inspected(capsys, *arguments) -> dict:
    assert main(["inspect", *map(str, arguments), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_a_running_model_and_the_same_version_on_disk_agree(server, exported, capsys, protocol):
    running = inspected(capsys, "--target", server.target(protocol))
    on_disk = inspected(capsys, exported / "1")
    assert running["signatures"] == on_disk["signatures"]
    assert running["class_names"] == on_disk["class_names"]
    assert running["class_names"][9] == "Ankle boot"
    assert running["version"] == on_disk["version"] == 1
    assert running["versions"] == [{"version": 1, "state": "AVAILABLE"}]
    assert on_disk["card"]["class_names"] == on_disk["class_names"]
    assert on_disk["tensorflow"]
    assert running["signatures"]["serving_default"] == {
        "method_name": "tensorflow/serving/predict",
        "inputs": {"images": {"dtype": "DT_UINT8", "shape": [None, 28, 28]}},
        "outputs": {"probabilities": {"dtype": "DT_FLOAT", "shape": [None, 10]}},
    }


def test_a_base_path_means_its_newest_version(capsys):
    assert main(["inspect", str(FASHION)]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"{FASHION / '3'}\nTensorFlow ")
    assert "\nserving_default\n  in   images         uint8 [?, 28, 28]\n  out  probabilities  float [?, 10]\n" in out
    assert "class names: none in the model" in out


def test_it_needs_no_tensorflow():
    code = f"""import sys
from hangtag.cli.main import main
assert main(["inspect", {str(FASHION)!r}]) == 0
assert not {{"tensorflow", "keras", "google.protobuf"}} & set(sys.modules)"""
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_names_with_control_characters_are_shown_escaped(capsys):
    model = Model({**FIRST_PIXEL, "a\x1b[2J\nb": Signature({}, {}, None)})
    with model_server(model, "grpc") as target:
        assert main(["inspect", "--target", target]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert r"a\x1b[2J\nb" in out


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "has no saved_model.pb, and no version below it"),
        (b"", "is not a SavedModel"),
        (b"\x12\x7fcut", "is not a SavedModel: a field runs past the end of its message"),
        (b"\x08\x01", "has no graph"),
    ],
    ids=["no file", "empty", "cut off", "no graph"],
)
def test_a_folder_that_is_no_version_is_one_sentence(tmp_path, capsys, content, message):
    if content is not None:
        (tmp_path / "saved_model.pb").write_bytes(content)
    assert main(["inspect", str(tmp_path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


def test_a_broken_card_leaves_the_rest(tmp_path, capsys):
    (tmp_path / "assets.extra").mkdir()
    (tmp_path / "saved_model.pb").write_bytes((FASHION / "1" / "saved_model.pb").read_bytes())
    for card in ("{", '{"class_names": {"a": 1}}', "[" * 100_000):
        (tmp_path / "assets.extra" / "hangtag.json").write_text(card)
        document = inspected(capsys, tmp_path)
        assert document["class_names"] is None
        assert "serving_default" in document["signatures"]
