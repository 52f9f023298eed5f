"""Names that matplotlib's own font cannot write are drawn with one that can, or refused."""

from __future__ import annotations

import pytest

from hangtag import fonts
from hangtag.errors import InvalidInput
from hangtag.fashion_mnist import CLASS_NAMES


def test_names_in_latin_letters_need_no_other_font(monkeypatch):
    monkeypatch.setattr("matplotlib.font_manager.findSystemFonts", lambda: pytest.fail("no need to look"))
    fonts.check(CLASS_NAMES)


def test_a_character_that_no_font_has_is_one_sentence_that_says_what_to_install():
    with pytest.raises(
        InvalidInput, match=r"^no installed font has the characters \U00105555…: install .*fonts-noto-cjk"
    ):
        fonts.check(["bag", "\U00105555"])  # from a private use area
