"""The notebooks run from the first cell to the last, with fewer epochs, and show their pictures."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import nbformat
import pytest

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture(scope="module")
def notebooks() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_notebooks", ROOT / "examples" / "make_notebooks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_files_are_what_the_script_writes(notebooks, language):
    """But for outputs, which the files have: nine pictures, and no log line that names a folder of their author's."""
    stored = nbformat.read(notebooks.FILES[language], as_version=4)
    made = notebooks.notebook(language)
    assert [cell["source"] for cell in stored.cells] == [cell["source"] for cell in made.cells]
    outputs = [output for cell in stored.cells for output in cell.get("outputs", [])]
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 9
    assert {output["output_type"] for output in outputs} <= {"stream", "display_data", "execute_result"}
    assert not [output for output in outputs if re.search(r"/\w+/", output.get("text", ""))]
    assert notebooks.FILES[language].stat().st_size < 600_000


def test_every_cell_runs(notebooks, monkeypatch, tmp_path):
    """One run for both: the code is the same but for the language, and not every machine has a Chinese font."""
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")
    monkeypatch.chdir(tmp_path)
    made = notebooks.notebook("en")
    first = made.cells[1]
    first["source"] = (
        first["source"].replace("epochs = 10\n", "epochs = 1\n").replace("(5, 10, 15, 30)", "(1, 2)")
        + "\nfrom dataclasses import replace\n"
        "load_all = load_fashion_mnist\n"
        "def load_fashion_mnist():\n"
        "    data = load_all()\n"
        "    return replace(data, train_images=data.train_images[:3000], train_labels=data.train_labels[:3000])"
    )
    outputs = [output for cell in notebooks.execute(made).cells for output in cell.get("outputs", [])]
    pictures = [output for output in outputs if "image/png" in output.get("data", {})]
    assert len(pictures) == 9
    assert not [output for output in outputs if output["output_type"] == "error"]
