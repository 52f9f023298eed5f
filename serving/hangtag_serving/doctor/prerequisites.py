"""What Kubernetes objects need that is not among them: secrets, claims, custom resources, controllers."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .findings import FAIL, OK, WARN, Finding

_SECONDS = 10
_GROUPS = {
    "gateway.networking.k8s.io": ("Gateway API", "install its custom resources and a controller for them"),
    "monitoring.coreos.com": ("Prometheus Operator", "install it, for example by the chart kube-prometheus-stack"),
    "serving.kserve.io": ("KServe", "install it"),
}


@dataclass(frozen=True)
class Prerequisite:
    """What is needed, how to get it, and the arguments of `kubectl get` that find it."""

    what: str
    fix: str
    query: tuple[str, ...]


def prerequisites(objects: Sequence[Mapping[str, Any]]) -> list[Prerequisite]:
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


def examine_prerequisites(subject: str, objects: Sequence[Mapping[str, Any]], *, cluster: bool) -> Iterator[Finding]:
    """One finding for each; only with `cluster` is the cluster asked whether it is there."""
    for needed in prerequisites(objects):
        if not cluster:
            message = f"needs {needed.what}, which is not in these files"
            yield Finding(WARN, "prerequisite", subject, message, f"{needed.fix}; --cluster asks the cluster for it")
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
