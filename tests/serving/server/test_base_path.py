"""Which base path `hangtag serve` serves: flags, the variables of TensorFlow Serving's image, and what it refuses."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

import pytest

from hangtag import InvalidInput
from hangtag.cli.main import main
from hangtag_serving.flags import add_flags
from hangtag_serving.server.options import from_flags


def model(*arguments: str):
    parser = argparse.ArgumentParser()
    add_flags(parser)
    return from_flags(parser.parse_args(arguments)).models[0]


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MODEL_NAME", raising=False)
    monkeypatch.delenv("MODEL_BASE_PATH", raising=False)


def test_the_name_is_the_last_folder_unless_a_flag_gives_one():
    assert model() == model("--model_base_path=models/fashion")
    assert model("--model_base_path=/a/shirts").name == "shirts"
    assert model("--model_base_path=/a/shirts", "--model_name=b").name == "b"


def test_the_variables_of_the_docker_image_are_read(monkeypatch, caplog):
    monkeypatch.setenv("MODEL_NAME", "goods")
    with caplog.at_level(logging.INFO, "hangtag.serving"):
        assert (model().name, model().base_path) == ("goods", Path("/models/goods"))
    assert "MODEL_NAME=goods" in caplog.text
    monkeypatch.setenv("MODEL_BASE_PATH", "/srv")
    assert (model().name, model().base_path) == ("goods", Path("/srv/goods"))
    flagged = model("--model_base_path=/a/shirts", "--model_name=b")
    assert (flagged.name, flagged.base_path) == ("b", Path("/a/shirts"))
    monkeypatch.delenv("MODEL_NAME")
    assert (model().name, model().base_path) == ("model", Path("/srv/model"))


@pytest.mark.parametrize("location", ["s3://bucket/models/goods", "gs://bucket/goods", "hdfs://host/goods"])
def test_a_bucket_is_refused_in_one_sentence(capsys, location):
    with pytest.raises(InvalidInput, match="only local folders are served"):
        model(f"--model_base_path={location}")
    assert main(["serve", f"--model_base_path={location}"]) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith(f"hangtag: model goods lies at {location}: ")
