"""Examines Kubernetes objects: finds their model servers, their own kinds of problems, and their prerequisites."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import FAIL, OK, WARN, Finding
from .container import (
    CPP_IMAGE,
    CPP_SERVER,
    EMBEDDED_IMAGE,
    Container,
    Source,
    examine_container,
    has_image,
    is_server,
    split_command,
)

Object = Mapping[str, Any]

_SECONDS = 10
_GROUPS = {
    "gateway.networking.k8s.io": ("Gateway API", "install its custom resources and a controller for them"),
    "monitoring.coreos.com": ("Prometheus Operator", "install it, for example with the chart kube-prometheus-stack"),
    "serving.kserve.io": ("KServe", "install it"),
}


def examine_objects(file: Path, objects: Sequence[Object]) -> tuple[int, Iterator[Finding]]:
    """How many model servers the objects run, and the findings."""
    config_maps = {one["metadata"]["name"]: one.get("data") or {} for one in objects if one.get("kind") == "ConfigMap"}
    pods = [(one, pod) for one in objects if (pod := _pod_spec(one))]
    servers = [
        (owner, pod, container)
        for owner, pod in pods
        for container in pod.get("containers") or []
        if is_server(str(container.get("image", "")), _command(container))
    ]
    hosted = [one for one in objects if one.get("kind") == "InferenceService"]

    def findings() -> Iterator[Finding]:
        for owner, pod, container in servers:
            subject = f"{file} {container.get('name')}"
            yield from examine_container(read_container(subject, pod, container, config_maps))
            yield from _examine_pod(subject, owner, pod, container)
        for service in hosted:
            yield from _examine_inference_service(f"{file} {(service.get('metadata') or {}).get('name')}", service)

    return len(servers) + len(hosted), findings()


def _pod_spec(one: Object) -> Object:
    spec = one.get("spec") or {}
    if one.get("kind") == "Pod":
        return dict(spec)
    return ((spec.get("template") or {}).get("spec")) or {} if isinstance(spec.get("template"), dict) else {}


def _command(container: Object) -> list[str]:
    return split_command(container.get("command")) + split_command(container.get("args"))


def read_container(subject: str, pod: Object, container: Object, config_maps: Mapping[str, Any]) -> Container:
    """A container of a pod. The contents of ConfigMaps are known, those of other volumes are not."""
    volumes: dict[str, Source] = {
        volume["name"]: config_maps.get((volume.get("configMap") or {}).get("name", ""))
        for volume in pod.get("volumes") or []
    }
    probes = []
    for name in ("startupProbe", "readinessProbe", "livenessProbe"):
        probe = container.get(name) or {}
        probes += [
            str((probe.get("httpGet") or {}).get("path", "")),
            " ".join((probe.get("exec") or {}).get("command", [])),
        ]
    limits = (container.get("resources") or {}).get("limits") or {}
    return Container(
        subject=subject,
        image=str(container.get("image", "")),
        command=_command(container),
        has_entrypoint=bool(container.get("command")),
        environment={one["name"]: str(one["value"]) for one in container.get("env") or [] if "value" in one},
        mounts={str(one.get("mountPath")): volumes.get(one.get("name")) for one in container.get("volumeMounts") or []},
        probes=list(filter(None, probes)),
        has_memory_limit="memory" in limits,
    )


def _examine_pod(subject: str, owner: Object, pod: Object, container: Object) -> Iterator[Finding]:
    yield from _examine_user(subject, pod, container)
    readiness = container.get("readinessProbe") or {}
    asked = (readiness.get("httpGet") or {}).get("path", "")
    if not (asked.endswith("/metadata") or "exec" in readiness):
        message = "its readiness probe does not request a model's metadata: a model that cannot answer counts as ready"
        fix = "exec: command: [bash, /config/ready.sh], or httpGet /v1/models/NAME/metadata on the REST port"
        yield Finding(WARN, "readiness", subject, message, fix)
    is_cpp = not has_image(str(container.get("image", "")), EMBEDDED_IMAGE) and "hangtag" not in _command(container)
    if is_cpp and not pod.get("shareProcessNamespace"):
        message = "the server as process 1 ignores SIGTERM: a stop takes the full grace period"
        yield Finding(WARN, "sigterm", subject, message, "shareProcessNamespace: true")
    if is_cpp and not container.get("command"):
        message = "uses the image's bash entrypoint, which does not pass SIGTERM on"
        yield Finding(WARN, "sigterm", subject, message, f"command: [{CPP_SERVER}]")
    if pod.get("hostNetwork"):
        message = "uses the node's network: it listens on all interfaces, and the server requires no credentials"
        yield Finding(WARN, "public-port", subject, message, "remove hostNetwork, and use a Service")
    if not (container.get("lifecycle") or {}).get("preStop"):
        message = "has no preStop pause: calls that are in transit when a pod stops are lost"
        yield Finding(WARN, "pre-stop", subject, message, "preStop: exec: command: [sleep, '15']")
    for mount in container.get("volumeMounts") or []:
        if str(mount.get("subPath", "")).rsplit("/", 1)[-1].isdecimal():
            message = f"mounts one version ({mount['subPath']}) to {mount.get('mountPath')}, not a folder of versions"
            yield Finding(FAIL, "version-mounted", subject, message, "mount the parent of the versions")
    yield from _examine_replicas(subject, owner, pod)


def _examine_user(subject: str, pod: Object, container: Object) -> Iterator[Finding]:
    security = {**(pod.get("securityContext") or {}), **(container.get("securityContext") or {})}
    if security.get("runAsNonRoot") and security.get("runAsUser") == 0:
        message = "has runAsUser 0 together with runAsNonRoot: Kubernetes does not start it"
        yield Finding(FAIL, "root", subject, message, "runAsUser: 65534")
    elif not security.get("runAsNonRoot"):
        yield Finding(WARN, "root", subject, "may run as root", "securityContext: runAsNonRoot: true, runAsUser: 65534")
    elif "runAsUser" not in security and has_image(str(container.get("image", "")), CPP_IMAGE):
        message = "has runAsNonRoot without runAsUser, and the image's user is root: Kubernetes does not start it"
        yield Finding(FAIL, "root", subject, message, "runAsUser: 65534")


def _examine_replicas(subject: str, owner: Object, pod: Object) -> Iterator[Finding]:
    if (owner.get("spec") or {}).get("replicas", 1) in (0, 1, None):
        return
    if not pod.get("topologySpreadConstraints") and not (pod.get("affinity") or {}).get("podAntiAffinity"):
        message = "has several replicas but no rule that spreads them: all may run on one node, and fail with it"
        yield Finding(WARN, "spread", subject, message, "topologySpreadConstraints on kubernetes.io/hostname")


def _examine_inference_service(subject: str, service: Object) -> Iterator[Finding]:
    model = ((service.get("spec") or {}).get("predictor") or {}).get("model") or {}
    ports = {port.get("name"): port.get("containerPort") for port in model.get("ports") or []}
    if ports.get("h2c") == 9000:
        yield Finding(OK, "kserve", subject, "answers gRPC on KServe's port 9000")
    elif not ports:
        yield Finding(WARN, "kserve", subject, "answers REST only", "ports: [{name: h2c, containerPort: 9000}]")
    if "memory" not in ((model.get("resources") or {}).get("limits") or {}):
        yield Finding(WARN, "memory-limit", subject, "has no memory limit", "resources: limits: memory: 2Gi")


@dataclass(frozen=True)
class Prerequisite:
    """A prerequisite, how to install it, and the arguments of `kubectl get` that find it."""

    what: str
    fix: str
    query: tuple[str, ...]


def prerequisites(objects: Sequence[Object]) -> list[Prerequisite]:
    """Each prerequisite once, in a fixed order."""
    own = {(one.get("kind"), (one.get("metadata") or {}).get("name")) for one in objects}
    needed: dict[Prerequisite, None] = {}
    for one in objects:
        for kind, name in sorted(set(_references(one))):
            if (kind, name) not in own:
                fix = f"kubectl create {kind.lower()} …; docs/deploy.md has the command"
                needed[Prerequisite(f"{kind} {name}", fix, (kind.lower(), name))] = None
        group = str(one.get("apiVersion", "")).partition("/")[0]
        if group in _GROUPS:
            name, fix = _GROUPS[group]
            needed[Prerequisite(name, fix, ("crd", f"{_plural(str(one.get('kind')))}.{group}"))] = None
        if one.get("kind") == "HorizontalPodAutoscaler":
            fix = "install metrics-server: without it the autoscaler sees no CPU usage"
            needed[Prerequisite("metrics-server", fix, ("apiservice", "v1beta1.metrics.k8s.io"))] = None
        if "nvidia.com/gpu" in str(one):
            fix = "install NVIDIA's device plugin: without it no node offers nvidia.com/gpu"
            query = ("nodes", "-o", "jsonpath={.items[*].status.allocatable.nvidia\\.com/gpu}")
            needed[Prerequisite("a node with nvidia.com/gpu", fix, query)] = None
    return list(needed)


def examine_prerequisites(subject: str, objects: Sequence[Object], *, cluster: bool) -> Iterator[Finding]:
    """One finding for each prerequisite; with `cluster`, look it up in the cluster."""
    for needed in prerequisites(objects):
        if not cluster:
            message = f"needs {needed.what}, which is not in these files"
            yield Finding(WARN, "prerequisite", subject, message, f"{needed.fix}; --cluster checks it in the cluster")
            continue
        there, answer = _get(needed.query)
        if there:
            yield Finding(OK, "prerequisite", subject, f"{needed.what} is in the cluster")
        else:
            message = f"needs {needed.what}, which the cluster does not have ({answer})"
            yield Finding(FAIL, "prerequisite", subject, message, needed.fix)


def _references(value: Any) -> Iterator[tuple[str, str]]:
    """The Secrets and PersistentVolumeClaims that an object names."""
    if isinstance(value, dict):
        for key, part in value.items():
            if key in ("secretRef", "secretKeyRef") and isinstance(part, dict) and "name" in part:
                yield "Secret", str(part["name"])
            elif key == "secret" and isinstance(part, dict) and "secretName" in part:
                yield "Secret", str(part["secretName"])
            elif key in ("certificateRefs", "tls") and isinstance(part, list):
                yield from (("Secret", str(one.get("name") or one.get("secretName"))) for one in part)
            elif key == "persistentVolumeClaim" and isinstance(part, dict) and "claimName" in part:
                yield "PersistentVolumeClaim", str(part["claimName"])
            else:
                yield from _references(part)
    elif isinstance(value, list):
        for part in value:
            yield from _references(part)


def _plural(kind: str) -> str:
    return kind.lower()[:-1] + "ies" if kind.endswith("y") and not kind.endswith("ay") else kind.lower() + "s"


def _get(query: Sequence[str]) -> tuple[bool, str]:
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        return False, "kubectl is not installed"
    command = [kubectl, "get", *query, f"--request-timeout={_SECONDS}s"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=3 * _SECONDS, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired) as error:
        return False, " ".join(str(error).split())
    return done.returncode == 0 and bool(done.stdout.strip()), " ".join(done.stderr.split()) or "nothing found"
