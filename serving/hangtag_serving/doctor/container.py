"""A container with a model server, described by a compose or a Kubernetes file, and the checks for both."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import Any

from hangtag.errors import InvalidInput

from ..errors import ServingError
from ..models.model_config import parse_config, read_config
from . import FAIL, WARN, Finding
from .model_files import examine_access

CPP_SERVER = "tensorflow_model_server"
CPP_IMAGE = "tensorflow/serving"
EMBEDDED_IMAGE = "hangtag-serve"

Source = Path | Mapping[str, str] | None
"""The source of a mount: a path on this machine, a ConfigMap's texts by file name, or None if it is unknown."""

_ENTRYPOINT = {"port": "8500", "rest_api_port": "8501"}
"""Flags that the entrypoint of TensorFlow Serving's image sets; `hangtag serve` has the same defaults."""

_NOT_IN_IMAGE = re.compile(r"\b(curl|wget|python3?|nc)\b")


@dataclass(frozen=True)
class Container:
    """A container with a model server. `probes` has the texts of its health checks: HTTP paths and commands."""

    subject: str
    image: str
    command: Sequence[str]  # entrypoint and arguments, one after the other
    has_entrypoint: bool
    environment: Mapping[str, str]
    mounts: Mapping[str, Source]  # by the path in the container
    probes: Sequence[str]
    has_memory_limit: bool
    flags: Mapping[str, str] = field(init=False)

    def __post_init__(self) -> None:
        given = dict(_flags(self.command, with_blanks=self.is_embedded))
        if self.is_embedded or not self.has_entrypoint:
            names = {"model_name": self.environment.get("MODEL_NAME", "model")}
            folder = PurePosixPath(self.environment.get("MODEL_BASE_PATH", "/models"))
            names["model_base_path"] = str(folder / names["model_name"])
            given = _ENTRYPOINT | names | given
        object.__setattr__(self, "flags", {name: self.expand(value) for name, value in given.items()})

    @property
    def is_embedded(self) -> bool:
        """Whether it is `hangtag serve`, not the C++ server."""
        return has_image(self.image, EMBEDDED_IMAGE) or "hangtag serve" in " ".join(self.command)

    def expand(self, text: str) -> str:
        """`text` with the container's environment variables expanded."""
        return re.sub(r"\$\{?(\w+)\}?", lambda found: self.environment.get(found[1], found[0]), text)

    def source(self, path: str) -> tuple[bool, Source, str]:
        """Whether `path` is mounted, what is mounted there, and the path below that mount."""
        for target in sorted(self.mounts, key=len, reverse=True):
            if PurePosixPath(path).is_relative_to(target):
                return True, self.mounts[target], str(PurePosixPath(path).relative_to(target))
        return False, None, ""

    def models(self) -> dict[str, str] | None:
        """The served models: name to base path in the container. None if the config cannot be read here."""
        config = self.flags.get("model_config_file", "")
        if not config:
            base_path = self.flags.get("model_base_path", "")
            return {self.flags.get("model_name", "default"): base_path} if base_path else {}
        _, source, name = self.source(config)
        try:
            if isinstance(source, Path):
                configs = read_config(source / name if name != "." else source, {})
            elif source is not None and name in source:
                configs = parse_config(source[name], config, {})
            else:
                return None
        except (InvalidInput, ServingError):
            return None
        return {config.name: str(config.base_path) for config in configs}


def is_server(image: str, arguments: Sequence[str]) -> bool:
    """Whether a container with this image and command is a model server: TensorFlow Serving's or the embedded one."""
    if any(program in " ".join(arguments) for program in (CPP_SERVER, "hangtag serve", "tf_serving_entrypoint.sh")):
        return True
    runs_entrypoint = not arguments or arguments[0].startswith("-")
    return runs_entrypoint and _is_known(image)


def _is_known(image: str) -> bool:
    return has_image(image, CPP_IMAGE) or has_image(image, EMBEDDED_IMAGE)


def has_image(image: str, name: str) -> bool:
    """Whether `image` is this one, from any registry or mirror, of any tag.

    >>> has_image("mirror.example.com:5000/tensorflow/serving:2.20.0", "tensorflow/serving")
    True
    """
    repository = image.partition("@")[0]
    if ":" in repository.rpartition("/")[2]:
        repository = repository.rpartition(":")[0]
    return repository == name or repository.endswith(f"/{name}")


def is_mutable(image: str) -> bool:
    """Whether the image that this names may be another tomorrow.

    >>> is_mutable("tensorflow/serving:latest-gpu"), is_mutable("tensorflow/serving:2.20.0")
    (True, False)
    """
    tag = image.rpartition("/")[2].partition(":")[2]
    return "@" not in image and (not tag or tag.startswith(("latest", "nightly")))


def _flags(command: Sequence[str], *, with_blanks: bool) -> Iterator[tuple[str, str]]:
    """The flags of a command; `with_blanks` says that a value may follow its flag as a word of its own."""
    for word, following in pairwise([*command, "-"]):
        name, equals, value = word[2:].partition("=")
        if word.startswith("--"):
            yield name, following if with_blanks and not equals and not following.startswith("-") else value


def split_command(value: Any) -> list[str]:
    """The arguments of a compose or Kubernetes command; a shell script among them is split as well."""
    if isinstance(value, str):
        return shlex.split(value)
    arguments: list[str] = []
    for part in map(str, value or []):
        arguments += shlex.split(part, comments=False) if " --" in part else [part]
    return arguments


def examine_container(container: Container) -> Iterator[Finding]:
    """The checks that compose and Kubernetes files share."""
    from .server_flags import examine_flags, examine_words

    image = container.image
    if has_image(image, CPP_IMAGE) and is_mutable(image):
        message = f"image {image} can be a different one at the next start: it is not pinned"
        yield Finding(WARN, "image-tag", container.subject, message, f"{CPP_IMAGE}:2.20.0, or a digest")
    if not container.is_embedded:
        yield from examine_words(container.subject, container.command)
    yield from examine_flags(container.subject, container.flags, is_embedded=container.is_embedded)
    yield from _examine_mounts(container)
    yield from _examine_scripts(container)
    yield from _examine_probes(container)
    if not container.has_memory_limit:
        message = "has no memory limit: one large request or a second version can use all memory of the machine"
        yield Finding(WARN, "memory-limit", container.subject, message, "limit it to 2 GiB, or measure the model")


def _examine_mounts(container: Container) -> Iterator[Finding]:
    subject = container.subject
    for flag, path in container.flags.items():
        if not flag.endswith("_file") or not path:
            continue
        is_mounted, source, name = container.source(path)
        if not is_mounted:
            message = f"--{flag} names {path}, and nothing is mounted there: the server does not start"
            yield Finding(FAIL, "file-not-mounted", subject, message, f"mount a folder to {PurePosixPath(path).parent}")
        elif not _has(source, name):
            message = f"--{flag} names {path}, which is not in the folder that is mounted there ({_shown(source)})"
            yield Finding(FAIL, "file-missing", subject, message, f"put {name} there")
    for model, base_path in (container.models() or {}).items():
        yield from _examine_model_mount(container, model, base_path)


def _examine_model_mount(container: Container, model: str, base_path: str) -> Iterator[Finding]:
    is_mounted, source, below = container.source(base_path)
    if not is_mounted:
        message = f"{model} is served from {base_path}, and nothing is mounted there"
        fix = f"mount the folder of the models to {PurePosixPath(base_path).parent}"
        yield Finding(FAIL, "models-not-mounted", container.subject, message, fix)
        return
    if not isinstance(source, Path):
        return
    folder = source / below
    if below == "." and (folder.name.isdecimal() or (folder / "saved_model.pb").exists()):
        message = f"{folder} is one version, mounted as the base path of {model}"
        fix = f"mount its parent, or the parent of that to {PurePosixPath(base_path).parent}"
        yield Finding(FAIL, "version-mounted", container.subject, message, fix)
    elif not folder.is_dir():
        message = f"{folder}, the base path of {model}, does not exist"
        fix = f"make train MODEL={model}, or hangtag publish MODEL --base-path {folder}"
        yield Finding(FAIL, "models-missing", container.subject, message, fix)
    elif not any(child.name.isdecimal() for child in folder.iterdir()):
        message = f"{folder}, the base path of {model}, has no version"
        fix = f"hangtag export --base-path {folder}, or hangtag publish MODEL --base-path {folder}"
        yield Finding(FAIL, "no-version", container.subject, message, fix)
    else:
        yield from examine_access(source, folder)
        yield from _examine_threads(container, folder)


def _examine_threads(container: Container, base_path: Path) -> Iterator[Finding]:
    """Report a single thread for each operation with a model that needs more."""
    one = [name for name in ("intra_op", "inter_op") if container.flags.get(f"tensorflow_{name}_parallelism") == "1"]
    if "intra_op" not in one and container.flags.get("tensorflow_session_parallelism") != "1":
        return
    from .savedmodel import read_graph

    newest = max((path for path in base_path.iterdir() if path.name.isdecimal()), key=lambda path: int(path.name))
    try:
        graph = read_graph(newest)
    except (OSError, ValueError):
        return
    if not graph.is_small_and_dense:
        message = f"gives each operation one thread, and {newest} has convolutions or is large: about half the speed"
        fix = "remove --tensorflow_intra_op_parallelism and --tensorflow_inter_op_parallelism"
        yield Finding(WARN, "threads", container.subject, message, fix)


def _examine_probes(container: Container) -> Iterator[Finding]:
    subject, models = container.subject, container.models()
    for probe in container.probes:
        text = container.expand(probe.replace("$$", "$"))
        tool = _NOT_IN_IMAGE.search(text)
        if tool and _is_known(container.image) and not text.startswith("/"):
            message = f"its health check runs {tool[1]}, which the image does not have: it never succeeds"
            if not (container.is_embedded and tool[1].startswith("python")):
                yield Finding(FAIL, "probe-tool", subject, message, 'test: ["CMD", "bash", "/config/ready.sh"]')
        for asked in re.findall(r"/v1/models/([^/:\s\"']+)", text):
            if models is not None and asked not in models:
                message = f"its health check requests {asked}, and {_listed(models)} served: it never succeeds"
                yield Finding(FAIL, "probe-model", subject, message, "bash /config/ready.sh checks every model")


def _examine_scripts(container: Container) -> Iterator[Finding]:
    probes = " ".join(container.expand(probe.replace("$$", "$")) for probe in container.probes)
    for script in _missing_scripts(container, " ".join(container.command)):
        message = f"its command runs {script}, which is not mounted: it does not start"
        yield Finding(FAIL, "script", container.subject, message, f"mount the folder with {PurePosixPath(script).name}")
    for script in _missing_scripts(container, probes):
        message, fix = f"its health check runs {script}, which is not mounted: it never succeeds", "mount its folder"
        yield Finding(FAIL, "probe-script", container.subject, message, fix)


def _missing_scripts(container: Container, command: str) -> Iterator[str]:
    """The scripts that a command runs and that are neither mounted nor part of the image."""
    for script in dict.fromkeys(re.findall(r"(/\S+\.sh)\b", command)):
        is_mounted, source, name = container.source(script)
        is_own = not is_mounted and (container.is_embedded or script.endswith("tf_serving_entrypoint.sh"))
        if not is_own and not (is_mounted and _has(source, name)):
            yield script


def _has(source: Source, name: str) -> bool:
    """Whether a mount has this file; True if that is unknown."""
    if isinstance(source, Path):
        return (source / name).exists() if name != "." else source.exists()
    return source is None or name in source


def _shown(source: Source) -> str:
    return str(source) if isinstance(source, Path) else "a ConfigMap"


def _listed(models: Mapping[str, str]) -> str:
    names = ", ".join(models) or "no model"
    return f"{names} {'are' if len(models) > 1 else 'is'}"
