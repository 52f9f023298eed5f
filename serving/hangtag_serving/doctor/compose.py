"""Examines compose files: finds their model servers, and problems that only compose files can have."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from . import FAIL, WARN, Finding
from .container import CPP_SERVER, Container, Source, examine_container, is_server, split_command

Service = Mapping[str, Any]

_VARIABLE = re.compile(r"\$(?:\$|(\w+)|\{(\w+)(?:(:?[-+?])((?:[^{}]|\{[^{}]*\})*))?\})")

_TYPES = {"mapping": dict, "list": list, "text": str}
_FORMS = {
    "environment": ("mapping", "list"),
    "env_file": ("text", "list", "mapping"),
    "volumes": ("list",),
    "ports": ("list",),
    "command": ("text", "list"),
    "entrypoint": ("text", "list"),
    "deploy": ("mapping",),
    "healthcheck": ("mapping",),
    "tmpfs": ("text", "list"),
}
"""Parts of a compose service, and what they may be."""


def examine_compose(documents: Sequence[tuple[Path, Mapping[str, Any]]]) -> tuple[int, Iterator[Finding]]:
    """How many model servers the files run together, and the findings; later files override earlier ones."""
    first = documents[0][0]
    environment = {**_env_file(first.parent / ".env"), **os.environ}
    services: dict[str, Any] = {}
    for _, document in documents:
        _check_services(document.get("services"))
        for name, service in (document.get("services") or {}).items():
            services[name] = _merge(services.get(name, {}), service or {})
    servers = {name: interpolate(service, environment) for name, service in services.items()}
    servers = {name: one for name, one in servers.items() if is_server(str(one.get("image", "")), _command(one))}

    def findings() -> Iterator[Finding]:
        for name, service in servers.items():
            subject = f"{first} {name}"
            yield from _examine_service(subject, service, first.parent)

    return len(servers), findings()


def _check_services(services: Any) -> None:
    """Raise ValueError about the first part of a compose file's services that has a wrong type."""
    _check(services, "services", ("mapping",))
    for name, service in (services or {}).items():
        _check(service, f"services.{name}", ("mapping",))
        for part, forms in _FORMS.items():
            _check((service or {}).get(part), f"services.{name}.{part}", forms)


def _check(value: Any, what: str, forms: tuple[str, ...]) -> None:
    if value is not None and not any(isinstance(value, _TYPES[form]) for form in forms):
        raise ValueError(f"{what} is {value!r:.60}, where a {' or a '.join(forms)} belongs")


def interpolate(value: Any, environment: Mapping[str, str]) -> Any:
    """`value` with compose's ${VARIABLE}, ${VARIABLE:-default} and ${VARIABLE:+replacement} expanded."""
    if isinstance(value, dict):
        return {key: interpolate(part, environment) for key, part in value.items()}
    if isinstance(value, list):
        return [interpolate(part, environment) for part in value]
    if not isinstance(value, str):
        return value

    def replace(found: re.Match[str]) -> str:
        if found[0] == "$$":
            return "$$"  # stays escaped: a shell in the container expands it
        name, operator, argument = found[1] or found[2], found[3] or "", found[4] or ""
        given = environment.get(name)
        is_set = given is not None and (bool(given) or not operator.startswith(":"))
        if operator.endswith("+"):
            return str(interpolate(argument, environment)) if is_set else ""
        return str(given) if is_set else str(interpolate(argument, environment)) if operator.endswith("-") else ""

    return _VARIABLE.sub(replace, value)


def _env_file(path: Path) -> dict[str, str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return {}
    pairs = (line.partition("=") for line in lines if "=" in line and not line.lstrip().startswith("#"))
    return {name.strip(): value.strip().strip("'\"") for name, _, value in pairs}


def _merge(base: Any, override: Any) -> Any:
    """As `docker compose -f BASE -f OVERRIDE`: mappings are merged, lists appended, commands replaced."""
    merged = dict(base)
    for key, value in override.items():
        old = merged.get(key)
        if isinstance(old, dict) and isinstance(value, dict):
            merged[key] = _merge(old, value)
        elif isinstance(old, list) and isinstance(value, list) and key not in ("command", "entrypoint", "test"):
            merged[key] = old + value
        else:
            merged[key] = value
    return merged


def _command(service: Service) -> list[str]:
    return split_command(service.get("entrypoint")) + split_command(service.get("command"))


def read_service(subject: str, service: Service, folder: Path) -> Container:
    """A service as a container; relative paths start from `folder`."""
    limits = ((service.get("deploy") or {}).get("resources") or {}).get("limits") or {}
    test = (service.get("healthcheck") or {}).get("test") or []
    test = " ".join(map(str, test)) if isinstance(test, list) else str(test)
    return Container(
        subject=subject,
        image=str(service.get("image", "")),
        command=_command(service),
        has_entrypoint=bool(service.get("entrypoint")),
        environment=_environment(service, _files(service, folder)),
        mounts=_mounts(service, folder),
        probes=[test] if test not in ("", "NONE") else [],
        has_memory_limit="memory" in limits or "mem_limit" in service,
    )


def _environment(service: Mapping[str, Any], files: Mapping[str, str]) -> dict[str, str]:
    """The variables of a service: those of its files, replaced by its own."""
    own = service.get("environment") or {}
    if isinstance(own, list):
        own = dict(str(line).partition("=")[::2] for line in own)
    return {**files, **{name: str(value) for name, value in own.items() if value is not None}}


def _files(service: Service, folder: Path) -> dict[str, str]:
    """The variables in the files that a service names."""
    named = service.get("env_file") or []
    files = named if isinstance(named, list) else [named]
    paths = [one.get("path", "") if isinstance(one, dict) else one for one in files]
    return {name: value for path in paths for name, value in _env_file(folder / str(path)).items()}


def _mounts(service: Service, folder: Path) -> dict[str, Source]:
    """Where each target in the container lies on this machine; None for a volume."""
    mounts: dict[str, Source] = {}
    for volume in service.get("volumes") or []:
        if isinstance(volume, dict):
            source, target = str(volume.get("source", "")), str(volume.get("target", ""))
            is_path = volume.get("type") == "bind"
        else:
            source, target = (*str(volume).split(":"), "")[:2]
            is_path = source.startswith((".", "/", "~"))
        mounts[target] = Path(os.path.normpath(folder / Path(source).expanduser())) if is_path and source else None
    for config in service.get("configs") or []:
        if isinstance(config, dict) and "target" in config:
            mounts[str(config["target"])] = None
    tmpfs = service.get("tmpfs") or []
    for target in [tmpfs] if isinstance(tmpfs, str) else tmpfs:
        mounts[str(target).split(":")[0]] = None
    return mounts


def _examine_service(subject: str, service: Service, folder: Path) -> Iterator[Finding]:
    container = read_service(subject, service, folder)
    yield from examine_container(container)
    if not container.is_embedded and not container.has_entrypoint:
        message = "uses the image's bash entrypoint, which does not pass SIGTERM on: a stop takes the full grace period"
        yield Finding(WARN, "sigterm", subject, message, f'entrypoint: ["{CPP_SERVER}"] and init: true')
    elif not container.is_embedded and not service.get("init"):
        message = "the server as process 1 ignores SIGTERM: a stop takes the full grace period"
        yield Finding(WARN, "sigterm", subject, message, "init: true")
    if not container.is_embedded and str(service.get("user", "root")).split(":")[0] in ("root", "0"):
        yield Finding(WARN, "root", subject, "runs as root", 'user: "65534:65534"')
    if service.get("network_mode") == "host":
        message = "uses the host's network: it listens on all interfaces, and the server requires no credentials"
        yield Finding(WARN, "public-port", subject, message, 'ports: ["127.0.0.1:8500:8500"] without network_mode')
    for port in service.get("ports") or []:
        if _is_public(port):
            message = f"publishes {_shown(port)} on all interfaces, and the server requires no credentials"
            yield Finding(WARN, "public-port", subject, message, '"127.0.0.1:PORT:PORT", and the edge for others')
    if not container.probes and not container.is_embedded:
        fix = 'test: ["CMD", "bash", "/config/ready.sh"], which is ready only when every model can answer'
        yield Finding(WARN, "no-probe", subject, "has no health check", fix)
    yield from _examine_binds(subject, service, container)
    if "-gpu" in container.image and "devices" not in str((service.get("deploy") or {}).get("resources") or {}):
        message = "runs the GPU image without a GPU: it falls back to the CPU"
        yield Finding(WARN, "gpu-device", subject, message, "deploy.resources.reservations.devices, as gpu.yaml has")


def _examine_binds(subject: str, service: Service, container: Container) -> Iterator[Finding]:
    """Report mounted folders that do not exist, except those of models and of files in flags, checked elsewhere."""
    paths = [*container.flags.values(), *(container.models() or {}).values()]
    for volume in service.get("volumes") or []:
        if isinstance(volume, dict):
            creates, target = (volume.get("bind") or {}).get("create_host_path", True), str(volume.get("target"))
        else:
            creates, target = True, str(volume).split(":")[1] if ":" in str(volume) else ""
        source = container.mounts.get(target)
        is_used = any(PurePosixPath(path).is_relative_to(target) for path in paths)
        if isinstance(source, Path) and not source.exists() and not is_used:
            effect = "Docker makes it, empty and as root" if creates else "Docker does not start the service"
            message = f"mounts {source}, which does not exist: {effect}"
            yield Finding(FAIL, "mount-missing", subject, message, "create it, or correct the path")


def _is_public(port: Any) -> bool:
    if isinstance(port, dict):
        return "published" in port and str(port.get("host_ip", "")) not in ("127.0.0.1", "::1")
    return not str(port).startswith(("127.", "[::1]", "localhost:"))


def _shown(port: Any) -> str:
    return f"{port.get('published')}:{port.get('target')}" if isinstance(port, dict) else str(port)
