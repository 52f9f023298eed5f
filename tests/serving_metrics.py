"""What a server's /metrics say."""

from __future__ import annotations

import re
from pathlib import Path

import requests

from support import Server


def monitoring(folder: Path) -> str:
    """The flag that turns metrics on."""
    file = folder / "monitoring.config"
    file.write_text("prometheus_config { enable: true }")
    return f"--monitoring_config_file={file}"


def metric(server: Server, name: str, **labels: str) -> float:
    """The sum over all series of that name with these labels; 0 if there is none."""
    text = requests.get(f"{server.rest}/monitoring/prometheus/metrics", timeout=60).text
    found = re.findall(rf"^{re.escape(name)}(?:\{{(.*)\}})? (\S+)$", text, re.MULTILINE)
    wanted = [f'{label}="{value}"' for label, value in labels.items()]
    return sum(float(value) for series, value in found if all(pair in series for pair in wanted))
