"""Modules of extras, imported when they are needed."""

from __future__ import annotations

import subprocess
import sys

import pytest

IMPORT_IN_THREADS = """
import sys, threading
from pathlib import Path
folder = Path(sys.argv[1])
for number in range(8):
    (folder / f"slow{number}.py").write_text("import time; time.sleep(0.02); done = True")
sys.path.insert(0, str(folder))
from hangtag.optional import require
failures = []
def load(number):
    try:
        assert require(f"slow{number // 2}", extra="x", what="the test").done
    except BaseException as error:
        failures.append(error)
threads = [threading.Thread(target=load, args=(number,)) for number in range(16)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print("heard", failures, file=sys.stderr)
"""


def test_threads_that_import_at_once_get_whole_modules_and_keep_standard_error(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_IN_THREADS, tmp_path], capture_output=True, text=True, check=True
    )
    assert done.stderr == "heard []\n"


PACKAGE = """
import gc
def there(name):
    try:
        __import__(name)
    except ImportError:
        return False
    return True

found = there("pandas"), there("sklearn"), there("keras"), gc.isenabled()
"""
IMPORT_PACKAGE = """
import gc, sys
import sklearn
from hangtag.cli.main import main
from hangtag.optional import require
if "command" in sys.argv:
    main([])
found, frozen = require(sys.argv[1], extra="export", what="the test").found, gc.get_freeze_count()
require("late", extra="export", what="the test")
assert gc.get_freeze_count() == frozen, "objects of a later time are not frozen"
print(found, frozen > 0)
assert gc.isenabled()
import keras, pandas
"""


@pytest.mark.parametrize(
    ("package", "way", "expected"),
    [
        ("keras", "command", "(False, True, True, False) True"),
        ("keras", "library", "(True, True, True, False) False"),
        ("tensorflow", "command", "(False, True, False, False) True"),
        ("tensorflow", "library", "(True, True, True, False) False"),
    ],
)
def test_commands_hide_from_a_package_what_they_do_not_need_of_it(package, way, expected, tmp_path):
    """What is loaded already stays, and what was hidden can be imported afterwards.

    The import searches for no garbage. A command does not search what it has imported later, either.
    """
    for name, text in (
        ("keras", ""),
        ("pandas", ""),
        ("sklearn", ""),
        ("late", "made = [[]]"),
        (package, PACKAGE),
        ("program", IMPORT_PACKAGE),
    ):
        (tmp_path / f"{name}.py").write_text(text)
    command = [sys.executable, tmp_path / "program.py", package, way]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.endswith(f"{expected}\n")
