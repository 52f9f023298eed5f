"""The Kubernetes overlays, built by kustomize."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import yaml

from support import ROOT

KUBERNETES = ROOT / "serving" / "kubernetes"
CUSTOM_KINDS = json.loads((ROOT / "tests" / "deploy" / "schemas" / "custom_kinds.json").read_text())
"""The JSON schema of the `spec` of each kind that Kubernetes itself does not have."""
OVERLAYS = ("single", "canary", "shared", "autoscaled", "edge", "gateway", "weighted", "monitored", "gpu")

Objects = dict[str, dict]


def build(kubectl: Path, folder: Path) -> Objects:
    """The objects of a kustomize folder by kind and name; ConfigMaps without the hash of their content."""
    done = subprocess.run([kubectl, "kustomize", folder], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr  # no warning of deprecated fields either
    found = list(yaml.safe_load_all(done.stdout))
    names = {id(one): one["metadata"]["name"] for one in found}
    for one in found:
        if one["kind"] == "ConfigMap":
            names[id(one)] = names[id(one)].rpartition("-")[0]
    return {f"{one['kind']}/{names[id(one)]}": one for one in found}


def pods(objects: Objects) -> dict[str, dict]:
    """The pod specs, by the name of their Deployment, Job or Pod."""
    found = {}
    for name, one in objects.items():
        if one["kind"] in ("Deployment", "Job"):
            found[name] = one["spec"]["template"]["spec"]
        elif one["kind"] == "Pod":
            found[name] = one["spec"]
    return found


def servers(objects: Objects) -> list[tuple[dict, dict]]:
    """The Deployments of TensorFlow Serving, and its container in each."""
    return [
        (one, container)
        for one in objects.values()
        if one["kind"] == "Deployment"
        for container in one["spec"]["template"]["spec"]["containers"]
        if container["image"].startswith("tensorflow/serving")
    ]
