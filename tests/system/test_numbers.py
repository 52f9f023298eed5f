"""The figures of the READMEs and of docs/benchmarks.md are those of the last results that were committed."""

from __future__ import annotations

import json
import sys

import pytest

from support import ROOT


@pytest.fixture(scope="module")
def report():
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        import report
    finally:
        sys.path.pop(0)
    return report


@pytest.fixture(scope="module")
def results(report):
    found = json.loads(report.RESULTS.read_text())
    return found, report.load("\n".join(json.dumps(figure) for figure in found["figures"]))


@pytest.mark.parametrize(("name", "chinese"), [("README.md", False), ("README.zh-CN.md", True)])
def test_a_readme_shows_the_committed_figures(report, results, name, chinese):
    _, inside, _ = report.parts((ROOT / name).read_text())
    assert inside == report.readme_table(results[1], chinese=chinese)
    assert inside.count("\n") > 3


def test_the_page_of_benchmarks_shows_the_committed_figures(report, results):
    _, inside, _ = report.parts(report.PAGE.read_text())
    assert inside == report.page_text(*results)


def test_the_report_is_one_file_with_every_figure(report, results):
    found, figures = results
    page = report.as_html(found, figures)
    assert page.count("<svg") == len(figures)
    assert "http" not in page  # nothing is loaded from anywhere
