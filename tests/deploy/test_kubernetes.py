"""The Kubernetes files build, are valid, and say what they should."""

from __future__ import annotations

import subprocess

import kubernetes_validate
import pytest
import yaml

from programs import program
from support import ROOT

KUBERNETES = ROOT / "serving" / "kubernetes"
OVERLAYS = ("single", "canary", "autoscaled")
VERSIONS = ("1.28", "1.37")  # of the schemas: an old one that clusters still run, and the newest


@pytest.fixture(scope="session", params=OVERLAYS)
def objects(request: pytest.FixtureRequest) -> dict[str, dict]:
    """An overlay, built, by kind and name."""
    kubectl = program("kubernetes-client", "usr/bin/kubectl")
    command = [kubectl, "kustomize", KUBERNETES / "overlays" / request.param]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = list(yaml.safe_load_all(done.stdout))
    return {f"{one['kind']}/{one['metadata']['name'].split('-config')[0]}": one for one in found}


@pytest.mark.parametrize("version", VERSIONS)
def test_every_object_is_valid(objects, version):
    for one in objects.values():
        kubernetes_validate.validate(_without_empty(one), version, strict=True)


def test_the_selectors_meet_the_pods(objects):
    """Services, budget and policy mean this Deployment's pods; and nothing was added to whom the policy lets in."""
    labels = objects["Deployment/hangtag"]["spec"]["template"]["metadata"]["labels"]
    assert objects["Deployment/hangtag"]["spec"]["selector"]["matchLabels"] == labels
    for name in ("Service/hangtag", "Service/hangtag-grpc"):
        assert objects[name]["spec"]["selector"] == labels
    policy = objects["NetworkPolicy/hangtag"]["spec"]
    assert policy["podSelector"]["matchLabels"] == labels
    assert policy["ingress"][0]["from"][0]["podSelector"]["matchLabels"] == {"hangtag-client": "true"}
    assert objects["Service/hangtag-grpc"]["spec"]["clusterIP"] == "None", "clients see every pod"
    for kind, one in objects.items():
        if kind.startswith("PodDisruptionBudget"):
            assert one["spec"]["selector"]["matchLabels"] == labels
        if kind.startswith("HorizontalPodAutoscaler"):
            assert one["spec"]["scaleTargetRef"]["name"] == "hangtag"
            assert "replicas" not in objects["Deployment/hangtag"]["spec"], "the autoscaler's to say"


def test_the_pod_is_hardened_and_probed_truthfully(objects):
    pod = objects["Deployment/hangtag"]["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["shareProcessNamespace"]
    (server,) = pod["containers"]
    for container in [server, *pod.get("initContainers", [])]:
        assert container["securityContext"]["readOnlyRootFilesystem"]
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert "memory" in container["resources"]["limits"]
    for probe in ("startupProbe", "readinessProbe"):
        assert server[probe]["httpGet"]["path"] == "/v1/models/fashion/metadata"
    pause = int(server["lifecycle"]["preStop"]["exec"]["command"][1])
    assert pod["terminationGracePeriodSeconds"] > pause
    mounted = {volume["name"] for volume in pod["volumes"]}
    assert {mount["name"] for mount in server["volumeMounts"]} <= mounted


def test_it_runs_the_same_server_as_compose(objects):
    (server,) = objects["Deployment/hangtag"]["spec"]["template"]["spec"]["containers"]
    compose = yaml.safe_load((ROOT / "serving" / "docker" / "compose.yaml").read_text())
    theirs = compose["services"]["tfserving"]
    assert server["image"] == theirs["image"]
    assert server["command"] == theirs["entrypoint"]
    assert server["args"] == theirs["command"]


def test_the_configuration_is_the_one_in_serving_config(objects):
    data = objects["ConfigMap/hangtag"]["data"]
    folder = ROOT / "serving" / "config"
    canary = KUBERNETES / "overlays" / "canary" / "models.config"
    for name, text in data.items():
        allowed = [(folder / name).read_text(), *([canary.read_text()] if name == "models.config" else [])]
        assert text in allowed
    volume = next(
        v for v in objects["Deployment/hangtag"]["spec"]["template"]["spec"]["volumes"] if v["name"] == "config"
    )
    assert volume["configMap"]["name"] == objects["ConfigMap/hangtag"]["metadata"]["name"]


def test_the_inference_service_names_what_is_there():
    service = yaml.safe_load((KUBERNETES / "kserve" / "inferenceservice.yaml").read_text())
    claim = yaml.safe_load((KUBERNETES / "base" / "volume.yaml").read_text())
    model = service["spec"]["predictor"]["model"]
    assert model["storageUri"] == f"pvc://{claim['metadata']['name']}/fashion"
    assert model["modelFormat"] == {"name": "tensorflow"}


def _without_empty(value):
    """kubectl 1.20 writes `annotations: {}` and `labels: {}` for what a merge left empty; later ones do not."""
    if isinstance(value, dict):
        return {key: _without_empty(part) for key, part in value.items() if part != {} or key in ("emptyDir",)}
    return [_without_empty(part) for part in value] if isinstance(value, list) else value
