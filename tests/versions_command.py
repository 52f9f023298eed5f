"""`hangtag versions` in this process, and what it leaves in a config file and a base path."""

from __future__ import annotations

from pathlib import Path

from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from hangtag.cli.main import main


def entry(base_path: Path, policy: str = "", **labels: int) -> str:
    written = " ".join(f'version_labels {{ key: "{label}" value: {number} }}' for label, number in labels.items())
    head = f'name: "fashion" base_path: "{base_path}" model_platform: "tensorflow"'
    return f"# kept by the platform team\nmodel_config_list {{ config {{ {head} {policy} {written} }} }}\n"


def parsed(path: Path) -> model_server_config_pb2.ModelConfig:
    document = text_format.Parse(path.read_text(), model_server_config_pb2.ModelServerConfig())
    (found,) = document.model_config_list.config
    return found


def state(path: Path) -> tuple[list[int], dict[str, int]]:
    """Versions that the specific policy names, and the labels."""
    found = parsed(path)
    return list(found.model_version_policy.specific.versions), dict(found.version_labels)


def numbers(base_path: Path) -> list[str]:
    return sorted(path.name for path in base_path.iterdir())


def versions(*arguments: object) -> int:
    return main(["versions", *map(str, arguments)])
