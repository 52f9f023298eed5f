"""Names that matplotlib's own font cannot write are drawn with one that can, or refused."""

from __future__ import annotations

import logging

import pytest
from matplotlib import font_manager

from hangtag.errors import InvalidInput
from hangtag.fashion_mnist import CLASS_NAMES
from hangtag.plots import fonts


def test_names_in_latin_letters_need_no_other_font(monkeypatch):
    monkeypatch.setattr("matplotlib.font_manager.findSystemFonts", lambda: pytest.fail("no need to look"))
    fonts.check(CLASS_NAMES)


def test_a_character_that_no_font_has_is_one_sentence_that_says_what_to_install():
    with pytest.raises(
        InvalidInput, match=r"^no installed font has the characters \U00105555…: install .*fonts-noto-cjk"
    ):
        fonts.check(["bag", "\U00105555"])  # from a private use area


def test_only_the_warning_about_a_missing_bold_weight_is_dropped(caplog):
    fonts.check(["bag"])
    with caplog.at_level(logging.WARNING):
        font_manager.findfont(font_manager.FontProperties(family="DejaVu Sans", weight=1000))  # it has 400 and 700
        assert caplog.messages == []
        font_manager.findfont(font_manager.FontProperties(family="No Such Font"))
    assert "No Such Font" in caplog.text
