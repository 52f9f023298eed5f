"""Results are arrays, rows when asked for, and a table in a notebook."""

from __future__ import annotations

import base64
import io
import json
import re

import numpy as np
import pytest
from PIL import Image

from hangtag import Classification, Client
from hangtag.results import data_uri, png

RESULT = Classification(np.array([[0.1, 0.9, 0], [0.5, 0.25, 0.25]], "f4"), ("bag", "<boot>", "hat"), model_version=3)


def test_columns_and_rows_agree():
    assert RESULT.labels.tolist() == [row.label for row in RESULT] == ["<boot>", "bag"]
    assert np.allclose(RESULT.scores, [row.score for row in RESULT])
    top = RESULT.top(2)
    assert [row.top(2) for row in RESULT] == [
        list(zip(labels, scores, strict=True))
        for labels, scores in zip(top.labels.tolist(), top.scores.tolist(), strict=True)
    ]
    assert RESULT.top(9).labels.shape == (2, 3)
    for result in (RESULT, RESULT[0]):
        with pytest.raises(ValueError, match="k is -1: give 0 or more"):
            result.top(-1)
    assert RESULT[-1].label == "bag"
    assert RESULT[1:].labels.tolist() == ["bag"]
    assert RESULT[::-1].labels.tolist() == ["bag", "<boot>"]
    assert RESULT[np.int64(1)].label == "bag"
    assert len(RESULT) == 2


def test_to_dict_is_ready_for_json():
    document = json.loads(json.dumps(RESULT.to_dict()))
    assert document["labels"] == ["<boot>", "bag"]
    assert document["class_names"] == ["bag", "<boot>", "hat"]
    assert document["model_version"] == 3
    assert np.allclose(document["probabilities"], RESULT.probabilities)


def test_one_row_is_ready_for_json_too():
    assert json.loads(json.dumps(RESULT[1].to_dict())) == {
        "label": "bag",
        "score": 0.5,
        "probabilities": [0.5, 0.25, 0.25],
        "class_names": ["bag", "<boot>", "hat"],
    }


def test_arrays_of_booleans_and_numbers_choose_images():
    """Each with its own picture, and all that the whole result says."""
    pictures = np.arange(2 * 9, dtype=np.uint8).reshape(2, 3, 3)
    whole = Classification(
        RESULT.probabilities, RESULT.class_names, model_version=3, thumbnails=pictures, independent=True
    )
    wrong = whole[whole.indices != np.array([1, 1])]
    assert (len(wrong), wrong.labels.tolist()) == (1, ["bag"])
    assert (wrong.model_version, wrong.independent) == (3, True)
    assert wrong._repr_html_().count("<img") == 1
    assert data_uri(pictures[1]) in wrong._repr_html_()
    assert whole[[1, 0, 1]].labels.tolist() == ["bag", "<boot>", "bag"]
    assert whole[[False, True]].labels.tolist() == ["bag"]
    assert len(whole[np.zeros(2, bool)]) == 0
    with pytest.raises(IndexError):
        whole[np.array([5])]
    with pytest.raises(IndexError):
        whole[np.array([True])]


def test_above_gives_every_label_of_an_image():
    result = Classification(np.array([[0.9, 0.6, 0.1], [0, 0.5, 0.2]], "f4"), ("sun", "sea", "snow"))
    assert result.above(0.5) == [["sun", "sea"], []]
    assert result.above(0.15) == [["sun", "sea"], ["sea", "snow"]]


def test_repr_says_what_it_is():
    assert repr(RESULT) == "<Classification of 2 images by version 3: '<boot>' 90.0%, 'bag' 50.0%>"


def test_a_notebook_shows_thumbnails_bars_and_names(server, images):
    with Client(server.grpc, timeout=60, language="zh") as client:
        page = client.classify(images[:30])._repr_html_()
        part = client.classify(images[:30])[10:12]._repr_html_()
    assert page.count("<img") == page.count("<tr>") - 1 == 20
    assert page.count("width:") == 3 * 20
    assert "短靴" in page
    assert "… 10 more" in page
    (first, *_) = re.findall(r"base64,([^\"]+)", page)
    with Image.open(io.BytesIO(base64.b64decode(first))) as shown:
        assert (np.asarray(shown) == images[0]).all()
    (tenth, _) = re.findall(r"base64,([^\"]+)", part)
    with Image.open(io.BytesIO(base64.b64decode(tenth))) as shown:
        assert (np.asarray(shown) == images[10]).all()


def test_names_are_escaped_and_images_need_not_be_known():
    page = RESULT._repr_html_()
    assert "&lt;boot&gt;" in page
    assert "<boot>" not in page
    assert "<img" not in page


def test_thumbnails_of_every_kind():
    random = np.random.default_rng(0)
    for shape in ((5, 7), (5, 7, 3), (28, 28)):
        pixels = random.integers(0, 256, shape).astype(np.uint8)
        with Image.open(io.BytesIO(png(pixels))) as read:
            assert (np.asarray(read) == pixels).all()
    assert data_uri(png(pixels)).startswith("data:image/png;base64,")
    assert data_uri(b"\xff\xd8\xff...").startswith("data:image/jpeg;base64,")
    assert data_uri(random.random((4, 4, 1))).startswith("data:image/png;base64,")
    assert data_uri(np.zeros((3, 3, 5))) == ""
    assert data_uri(b"\x89PNG" + b"\0" * 200_000) == ""
