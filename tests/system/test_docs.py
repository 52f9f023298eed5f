"""The documentation site builds without a warning and without a network, and every link in it works."""

from __future__ import annotations

import os
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit

import pytest

import hangtag
import hangtag_export
from support import ROOT


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", str(folder)]
    # No proxy listens there: a build that fetches anything fails.
    nowhere = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:1")
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=os.environ | nowhere | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    return folder


class Page(HTMLParser):
    """Links, what the page loads, and the anchors of one page."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.anchors: set[str] = set()
        self.feed(file.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value for name, value in attrs if value is not None}
        self.anchors |= {values[name] for name in ("id", "name") if name in values}
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        elif tag in ("script", "img") and "src" in values:
            self.loads.append(values["src"])
        elif tag == "link" and values.get("rel") in ("stylesheet", "icon"):
            self.loads.append(values["href"])


def test_every_link_leads_to_a_page_and_an_anchor(site):
    pages = {file: Page(file) for file in site.rglob("*.html") if file.name != "404.html"}
    assert len(pages) > 20
    broken = []
    for file, page in pages.items():
        for link in page.links + page.loads:
            path, anchor = urldefrag(unquote(link))
            if urlsplit(path).scheme:
                continue
            target = site / path.lstrip("/") if path.startswith("/") else (file.parent / path if path else file)
            target = target.resolve()
            if target.is_dir():
                target = target / "index.html"
            if not target.is_file() or (anchor and target in pages and anchor not in pages[target].anchors):
                broken.append(f"{file.relative_to(site)}: {link}")
    assert broken == []


def test_nothing_is_loaded_from_another_host(site):
    for file in site.rglob("*.html"):
        assert [link for link in Page(file).loads if urlsplit(link).netloc] == [], file


@pytest.mark.parametrize(("module", "page"), [(hangtag, "python-client"), (hangtag_export, "python-export")])
def test_the_reference_has_every_public_name(site, module, page):
    anchors = {anchor.rpartition(".")[2] for anchor in Page(site / "reference" / f"{page}.html").anchors}
    assert set(module.__all__) - {"__version__"} <= anchors


def test_the_chinese_site_has_the_pages_that_are_translated(site):
    for page in ROOT.joinpath("docs").rglob("*.zh-CN.md"):
        name = page.relative_to(ROOT / "docs").as_posix().replace(".zh-CN.md", ".html")
        assert 'lang="zh"' in (site / "zh-CN" / name).read_text(), name


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="each version of Python formats help differently")
def test_the_reference_of_the_commands_is_what_they_print():
    command = [sys.executable, str(ROOT / "docs" / "generate_commands.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
