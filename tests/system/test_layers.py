"""Which package imports which: dependencies go one way, and packages and modules stay small.

Import statements are read, not executed. Those in functions and under TYPE_CHECKING count like all others.
"""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest

from support import ROOT

PACKAGES = {
    "hangtag": ROOT / "client" / "hangtag",
    "hangtag_export": ROOT / "export" / "hangtag_export",
    "hangtag_serving": ROOT / "serving" / "hangtag_serving",
}
MAY_IMPORT = {"hangtag": set(), "hangtag_export": {"hangtag"}, "hangtag_serving": {"hangtag"}}
MAY_IMPORT_FAST = {"server", "grpc", "http", "fast"}
MODULES = range(3, 11)  # in a package
MOST_LINES = 300

Graph = Mapping[str, Mapping[str, str]]
"""Layer to the layers that it imports, each with one import statement of them all."""


def modules(package: str) -> Iterator[Path]:
    return PACKAGES[package].rglob("*.py")


@cache
def imports(file: Path, package: str) -> list[tuple[str, int]]:
    """The full names that a module's import statements name, and their lines."""
    folder = file.relative_to(PACKAGES[package].parent).parts[:-1]
    found: list[tuple[str, int]] = []
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [(alias.name, node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            start = folder[: len(folder) - node.level + 1] if node.level else ()
            base = ".".join([*start, *([node.module] if node.module else [])])
            found += [(f"{base}.{alias.name}", node.lineno) for alias in node.names]
    return found


def layer(name: str, package: str) -> str:
    """The sub-package or top-level module of a full name; `__init__` for what the package itself defines."""
    part = [*name.split("."), "__init__"][1]
    folder = PACKAGES[package]
    return part if (folder / part).is_dir() or (folder / f"{part}.py").is_file() else "__init__"


@cache
def graph(package: str) -> Graph:
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for file in sorted(modules(package)):
        path = file.relative_to(PACKAGES[package])
        importing = path.parts[0].removesuffix(".py")
        for name, line in imports(file, package):
            if name.split(".")[0] == package and layer(name, package) != importing:
                found[importing].setdefault(layer(name, package), f"{package}/{path}:{line} imports {name}")
    return found


def cycle(graph: Graph) -> list[str]:
    """The import statements of one cycle; empty if there is none."""
    done: set[str] = set()

    def visit(node: str, path: list[str]) -> list[str]:
        if node in path:
            around = [*path[path.index(node) :], node]
            return [graph[one][other] for one, other in pairwise(around)]
        if node in done:
            return []
        done.add(node)
        return next(filter(None, (visit(other, [*path, node]) for other in graph.get(node, {}))), [])

    return next(filter(None, (visit(node, []) for node in list(graph))), [])


def test_a_cycle_is_noticed():
    assert cycle({"a": {"b": "1"}, "b": {"c": "2"}, "c": {"b": "3"}}) == ["2", "3"]
    assert cycle({"a": {"b": "1", "c": "2"}, "b": {"c": "3"}}) == []


@pytest.mark.parametrize("package", PACKAGES)
def test_dependencies_within_a_package_go_one_way(package):
    assert len(graph(package)) > 8, "import statements are read"
    around = cycle(graph(package))
    assert not around, "a cycle:\n" + "\n".join(around)


@pytest.mark.parametrize("package", PACKAGES)
def test_the_client_knows_neither_of_the_others_and_they_do_not_know_each_other(package):
    foreign = PACKAGES.keys() - {package} - MAY_IMPORT[package]
    wrong = [
        f"{file}:{line} imports {name}"
        for file in modules(package)
        for name, line in imports(file, package)
        if name.split(".")[0] in foreign
    ]
    assert not wrong, "\n".join(wrong)


def test_only_the_transports_and_what_starts_them_know_the_fast_paths():
    importing = {name for name, others in graph("hangtag_serving").items() if "fast" in others}
    assert importing, "the rule has a subject"
    assert importing <= MAY_IMPORT_FAST


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_have_three_to_ten_modules_and_modules_stay_small(package):
    folders: dict[Path, int] = defaultdict(int)
    wrong = []
    for file in modules(package):
        folders[file.parent] += not file.stem.startswith("__")
        lines = len(file.read_text(encoding="utf-8").splitlines())
        if lines > MOST_LINES:
            wrong.append(f"{file} has {lines} lines")
    wrong += [f"{folder} has {count} modules" for folder, count in folders.items() if count not in MODULES]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("package", PACKAGES)
def test_the_documentation_lists_the_layers_in_their_order(package):
    """Each line of the list imports from the lines below it alone, and everything is in the list."""
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    (block,) = re.findall(rf"^    {package}\n((?:      .*\n)+)", text, re.MULTILINE)
    lines = [re.findall(r"\w+", line.partition("#")[0]) for line in block.splitlines()]
    rank = {name: number for number, names in enumerate(lines) for name in names}
    folder = PACKAGES[package]
    assert rank.keys() == {path.parent.name for path in folder.glob("*/__init__.py")} | {
        path.stem for path in folder.glob("[!_]*.py")
    }
    upwards = [
        statement
        for name, others in graph(package).items()
        for other, statement in others.items()
        if "__init__" not in (name, other) and rank[name] >= rank[other]
    ]
    assert not upwards, "these import from the same line or above:\n" + "\n".join(upwards)
