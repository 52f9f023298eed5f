"""Measure everything in one run of at most ten minutes, and write the report: see --help.

Writes docs/benchmarks.json (the figures), the tables of docs/benchmarks.md and of both READMEs, and
build/bench/report.html (one file, with plots).
"""

from __future__ import annotations

import argparse
import datetime
import html
import json
import math
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

from figures import Figure, load

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "docs" / "benchmarks.json"
PAGE = ROOT / "docs" / "benchmarks.md"
READMES = (ROOT / "README.md", ROOT / "README.zh-CN.md")
REPORT = ROOT / "build" / "bench" / "report.html"

GROUPS = {
    "client": "The client, compared with other libraries",
    "serving": "The embedded server",
    "training": "Training, compared with the tutorial's `model.fit`",
}

# The figures that the READMEs show, and how they call them there.
README_ROWS = {
    "client.classify-256": ("`classify` of 256 images over gRPC", "对 256 张图片调用 `classify`（gRPC）"),
    "client.grpc-10000": (
        "10,000 images over gRPC, to a server that returns a constant",
        "10,000 张图片（gRPC，服务器返回固定结果）",
    ),
    "client.rest-10000": ("the same over REST", "同上（REST）"),
    "client.import": ("`from hangtag import Client`", "`from hangtag import Client`"),
    "serving.grpc-b32-c8-constant": ("embedded server, gRPC, 32 images per call", "内嵌服务器，gRPC，每次 32 张"),
    "serving.rest-b32-c8-constant": ("embedded server, REST, 32 images per call", "内嵌服务器，REST，每次 32 张"),
    "training.dense": ("an epoch of `dense`", "`dense` 训练一个 epoch"),
}
BASELINES_ZH = {
    "the round trip of the same bytes": "相同字节的一次往返",
    "tensorflow-serving-api at its best chunk size": "tensorflow-serving-api（最佳分块）",
    "requests with tolist() at its best chunk size": "requests + tolist()（最佳分块）",
    "import numpy": "import numpy",
    "a grpc.aio server that returns a constant": "返回固定结果的 grpc.aio 服务器",
    "`model.fit` as in TensorFlow's tutorial": "TensorFlow 教程中的 `model.fit`",
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base-path", type=Path, default=Path("models/fashion"), help="a published model to serve")
    parser.add_argument(
        "--render", action="store_true", help="measure nothing: write the pages from docs/benchmarks.json"
    )
    parser.add_argument("--peer", nargs=2, metavar=("GRPC", "REST"), help="a running TensorFlow Serving to measure too")
    options = parser.parse_args()
    if not options.render:
        measure(options)
    results = json.loads(RESULTS.read_text())
    figures = load("\n".join(json.dumps(figure) for figure in results["figures"]))
    fill_in(PAGE, page_text(results, figures))
    for file, chinese in zip(READMES, (False, True), strict=True):
        fill_in(file, readme_table(figures, chinese=chinese))
    REPORT.parent.mkdir(parents=True, exist_ok=True)
    REPORT.write_text(as_html(results, figures))
    print(f"\n{REPORT.relative_to(ROOT)}\n{PAGE.relative_to(ROOT)}")
    return 0


def measure(options: argparse.Namespace) -> None:
    """Run each script, and write docs/benchmarks.json."""
    lines = ROOT / "build" / "bench" / "figures.jsonl"
    lines.parent.mkdir(parents=True, exist_ok=True)
    lines.write_text("")
    peer = ["--peer", *options.peer] if options.peer else []
    commands = [
        ["client.py", "--base-path", str(options.base_path)],
        ["serving.py", "--base-path", str(options.base_path), *peer],
        ["training.py", "speed"],
    ]
    began = time.monotonic()
    for name, *arguments in commands:
        print(f"\n{name}", flush=True)
        command = [sys.executable, str(Path(__file__).parent / name), *arguments]
        subprocess.run(command, check=True, env=os.environ | {"HANGTAG_FIGURES": str(lines)})
    results = {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "minutes": round((time.monotonic() - began) / 60, 1),
        "machine": machine(),
        "figures": [asdict(figure) for figure in load(lines.read_text())],
    }
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")


def machine() -> dict[str, str]:
    """What the figures were measured on."""
    text = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    model = re.search(r"model name\s*: (.*)", text)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "processor": f"{cores} cores of {model[1] if model else platform.processor() or platform.machine()}",
        "system": f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        "versions": ", ".join(f"{name} {metadata.version(name)}" for name in ("tensorflow", "grpcio", "numpy")),
        "load": f"{os.getloadavg()[0]:.1f} at the end",
    }


# ---- markdown


def shown(figure: Figure) -> str:
    """A ratio in the form for the README: two digits that count, and its direction."""
    value = f"{figure.median:.2g}" if figure.median < 10 else f"{figure.median:.0f}"
    return f"{value} × the speed" if figure.speed else f"{value} × the cost"


def table(figures: Iterable[Figure]) -> str:
    rows = [
        f"| {figure.what} | {figure.baseline} | {shown(figure)} | {min(figure.ratios):.3g} to {max(figure.ratios):.3g} "
        f"| {figure.absolute} |"
        for figure in figures
    ]
    return "\n".join(["| measured | baseline | ratio (median) | spread | absolute |", "|---|---|---|---|---|", *rows])


def page_text(results: dict[str, Any], figures: list[Figure]) -> str:
    """The part of docs/benchmarks.md that is measured."""
    described = results["machine"]
    text = [
        f"Measured on {results['date']} in one run of {results['minutes']} minutes, on {described['processor']}, "
        f"{described['system']}, {described['versions']}."
    ]
    for group, title in GROUPS.items():
        of_group = [figure for figure in figures if figure.group == group]
        printed = ", ".join(f"`{command}`" for command in sorted({figure.command for figure in of_group}))
        text += [f"## {title}", table(of_group), f"Printed by {printed}."]
    return "\n\n".join(text)


def readme_table(figures: list[Figure], *, chinese: bool) -> str:
    """The figures that a README shows."""
    known = {figure.key: figure for figure in figures}
    rows = ["| 测量项 | 基准 | 结果 |" if chinese else "| measured | baseline | result |", "|---|---|---|"]
    for key, names in README_ROWS.items():
        figure = known[key]
        value, baseline = shown(figure), figure.baseline
        if chinese:
            value = value.replace(" × the speed", " 倍速度").replace(" × the cost", " 倍耗时")
            baseline = BASELINES_ZH.get(baseline, baseline)
        rows.append(f"| {names[chinese]} | {baseline} | {value} |")
    return "\n".join(rows)


def parts(text: str) -> tuple[str, str, str]:
    """What stands before, between and after the markers of a page."""
    before, rest = text.split("<!-- figures -->\n", 1)
    inside, after = rest.split("\n<!-- end of figures -->", 1)
    return before, inside, after


def fill_in(file: Path, text: str) -> None:
    """Put `text` between the markers of a page."""
    before, _, after = parts(file.read_text())
    file.write_text(f"{before}<!-- figures -->\n{text}\n<!-- end of figures -->{after}")


# ---- HTML

STYLE = """
:root { color-scheme: light dark; --line: #8884; --mark: #3f51b5; --text: #222; --back: #fff }
@media (prefers-color-scheme: dark) { :root { --mark: #9fa8da; --text: #ddd; --back: #16181d } }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem;
  color: var(--text); background: var(--back) }
h1 { font-weight: 650 } h2 { margin-top: 2.5rem } p.machine { opacity: .75 }
table { border-collapse: collapse; width: 100% } th, td { text-align: left; padding: .35rem .6rem .35rem 0;
  border-bottom: 1px solid var(--line); vertical-align: middle } td.number { font-variant-numeric: tabular-nums;
  white-space: nowrap } small { opacity: .7 } svg { display: block }
"""


def plot(figure: Figure) -> str:
    """A line from the least to the greatest ratio and a dot at the median, on an axis from 1/100 to 100 times."""
    width, height = 220, 22

    def x(ratio: float) -> float:
        return width / 2 + (math.log10(min(max(ratio, 0.01), 100)) / 4) * width

    middle = height / 2
    return (
        f'<svg width="{width}" height="{height}" role="img" aria-label="{figure.median:.2g}">'
        f'<line x1="{x(1)}" x2="{x(1)}" y1="0" y2="{height}" stroke="currentColor" stroke-opacity=".35"/>'
        f'<line x1="{x(min(figure.ratios)):.1f}" x2="{x(max(figure.ratios)):.1f}" y1="{middle}" y2="{middle}" '
        'stroke="var(--mark)" stroke-width="3"/>'
        f'<circle cx="{x(figure.median):.1f}" cy="{middle}" r="5" fill="var(--mark)"/></svg>'
    )


def as_html(results: dict[str, Any], figures: list[Figure]) -> str:
    """The whole report as one file."""
    described = results["machine"]
    out = [
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>",
        f"<title>Hangtag benchmarks</title><style>{STYLE}</style><h1>Hangtag benchmarks</h1>",
        f"<p class=machine>{results['date']}, one run of {results['minutes']} minutes<br>",
        "<br>".join(html.escape(str(value)) for value in described.values()),
        "</p><p>Each figure is a ratio to a baseline that was measured in the same run. The dot is the median, the bar "
        "the spread, the thin line 1 ×: the baseline itself. The axis is logarithmic, from 1/100 to 100.</p>",
    ]
    for group, title in GROUPS.items():
        out.append(f"<h2>{html.escape(title.replace('`', ''))}</h2><table>")
        out.append("<tr><th>measured<th>ratio<th><th>absolute</tr>")
        for figure in figures:
            if figure.group == group:
                out.append(
                    f"<tr><td>{html.escape(figure.what)}<br><small>to {html.escape(figure.baseline)}</small>"
                    f"<td class=number>{html.escape(shown(figure))}<td>{plot(figure)}"
                    f"<td class=number><small>{html.escape(figure.absolute)}</small></tr>"
                )
        out.append("</table>")
    return "\n".join(out) + "</html>\n"


if __name__ == "__main__":
    sys.exit(main())
