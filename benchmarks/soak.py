"""Full load on both doors while versions come and go: no request may fail, and memory may not grow.

Every five seconds a copy of the model is renamed into place as the next version and the oldest is removed. The
figures are printed; the exit code is 1 if a request failed or memory grew by more than a tenth after the first minute.
"""

from __future__ import annotations

import argparse
import re
import shutil
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

from hangtag import Client
from hangtag.errors import HangtagError
from serving import free_port, running


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--version-folder", type=Path, required=True, help="a published version, models/fashion/1")
    parser.add_argument("--seconds", type=float, default=300, help="default 300")
    options = parser.parse_args()
    grpc, rest = free_port(), free_port()
    with tempfile.TemporaryDirectory() as folder:
        base_path = Path(folder) / "fashion"
        shutil.copytree(options.version_folder, base_path / "1")
        command = [sys.executable, "-m", "hangtag.cli", "serve", f"--model_base_path={base_path}", f"--port={grpc}",
                   f"--rest_api_port={rest}"]  # fmt: skip
        with running(list(command), rest) as process:
            targets = [f"127.0.0.1:{grpc}"] * 4 + [f"http://127.0.0.1:{rest}"] * 2
            return soak(targets, base_path, process.pid, options.seconds)


def soak(targets: list[str], base_path: Path, pid: int, seconds: float) -> int:
    over = threading.Event()
    counts, failures = [0] * len(targets), list[str]()
    image = np.zeros((8, 28, 28), np.uint8)

    def load(place: int, target: str) -> None:
        with Client(target, timeout=30, retries=0) as client:
            while not over.is_set():
                try:
                    client.predict({"images": image})
                    counts[place] += 1
                except HangtagError as error:
                    failures.append(f"{target}: {error}")

    threads = [threading.Thread(target=load, args=item) for item in enumerate(targets)]
    for thread in threads:
        thread.start()
    begun, version, after_a_minute = time.monotonic(), 1, 0
    try:
        while time.monotonic() - begun < seconds:
            time.sleep(5)
            version += 1
            shutil.copytree(base_path / str(version - 1), base_path / ".next")
            (base_path / ".next").rename(base_path / str(version))
            if version > 3:
                shutil.rmtree(base_path / str(version - 3))
            if not after_a_minute and time.monotonic() - begun >= min(60, seconds / 3):
                after_a_minute = resident(pid)
    finally:
        over.set()
        for thread in threads:
            thread.join()
    grown = resident(pid) / after_a_minute - 1
    print(f"{sum(counts)} requests, {len(failures)} failed, {version} versions")
    print(f"memory {grown:+.1%} after the first minute")
    for failure in failures[:5]:
        print(failure)
    return 1 if failures or grown > 0.1 else 0


def resident(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", status).group(1))  # type: ignore[union-attr]


if __name__ == "__main__":
    sys.exit(main())
