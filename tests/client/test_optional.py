"""Modules of extras, imported when they are needed."""

from __future__ import annotations

import subprocess
import sys

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
