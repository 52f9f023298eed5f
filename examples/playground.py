"""The playground on the demo's model: serves the newest two versions of models/fashion and opens a page on them.

`make playground` runs this. The older of the two versions gets the label stable, the newer one canary. Both servers
listen on free loopback ports and stop on Ctrl-C.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from demo import HANGTAG, free_ports, running


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--base-path", type=Path, default=Path("models/fashion"))
    parser.add_argument("--port", type=int, default=8600, help="of the page (default 8600)")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that `finally` runs and the server is stopped
    base_path = arguments.base_path.resolve()
    versions = newest_two(base_path)
    if not versions:
        print(f"{arguments.base_path} holds no version: train one with `make train`", file=sys.stderr)
        return 2
    grpc_port, rest_port = free_ports(2)
    targets = ["--target", f"127.0.0.1:{grpc_port}", "--target", f"http://127.0.0.1:{rest_port}"]
    page = [*HANGTAG, "playground", *targets, "--model", base_path.name, "--port", str(arguments.port)]
    with tempfile.TemporaryDirectory() as folder:
        flags = write_config(Path(folder), base_path, versions)
        with running("serve", *flags, f"--port={grpc_port}", f"--rest_api_port={rest_port}"):
            try:
                return subprocess.run(page).returncode
            except KeyboardInterrupt:
                return 0


def newest_two(base_path: Path) -> list[int]:
    """The highest two version numbers, the lower one first."""
    return sorted(int(path.name) for path in base_path.glob("[0-9]*") if path.name.isdecimal())[-2:]


def write_config(folder: Path, base_path: Path, versions: list[int]) -> list[str]:
    """Write a model config file and a monitoring config file; returns the flags that name them."""
    policy = " ".join(f"versions: {version}" for version in versions)
    labels = zip(("stable", "canary"), versions, strict=False)
    (folder / "models.config").write_text(
        f'model_config_list {{ config {{ name: "{base_path.name}" base_path: "{base_path}"\n'
        f'  model_platform: "tensorflow" model_version_policy {{ specific {{ {policy} }} }}\n'
        + "".join(f'  version_labels {{ key: "{label}" value: {version} }}\n' for label, version in labels)
        + "} }\n"
    )
    (folder / "monitoring.config").write_text("prometheus_config { enable: true }\n")
    return [
        f"--model_config_file={folder / 'models.config'}",
        f"--monitoring_config_file={folder / 'monitoring.config'}",
        "--allow_version_labels_for_unavailable_models=true",
    ]


if __name__ == "__main__":
    raise SystemExit(main())
