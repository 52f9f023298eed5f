"""The Kubernetes files build, are valid, and set what they should."""

from __future__ import annotations

from pathlib import Path

import jsonschema
import kubernetes_validate
import pytest
import yaml

from overlays import CUSTOM_KINDS, KUBERNETES, OVERLAYS, Objects, build, pods, servers
from support import ROOT

VERSIONS = ("1.28", "1.37")  # of the schemas: an old one that clusters still run, and the newest


@pytest.fixture(params=OVERLAYS)
def objects(request: pytest.FixtureRequest, built) -> Objects:
    return built[request.param]


@pytest.mark.parametrize("version", VERSIONS)
def test_every_object_is_valid(objects, version):
    for one in objects.values():
        if one["kind"] in CUSTOM_KINDS:
            jsonschema.validate(one["spec"], CUSTOM_KINDS[one["kind"]])
        else:
            kubernetes_validate.validate(one, version, strict=True)


@pytest.mark.parametrize("version", VERSIONS)
def test_what_fills_the_volume_is_valid(kubectl, version):
    objects = build(kubectl, KUBERNETES / "publish")
    assert set(objects) == {"PersistentVolumeClaim/hangtag-models", "Job/hangtag-publish"}
    copy = yaml.safe_load((KUBERNETES / "publish" / "copy.yaml").read_text())
    for one in [*objects.values(), copy]:
        kubernetes_validate.validate(one, version, strict=True)


def test_every_pod_is_hardened_and_bounded(built, kubectl):
    """No root, nothing writable but what is mounted, no privileges, and a limit of memory for each container."""
    copy = yaml.safe_load((KUBERNETES / "publish" / "copy.yaml").read_text())
    all_objects = [*built.values(), build(kubectl, KUBERNETES / "publish"), {"Pod/copy": copy}]
    for objects in all_objects:
        for name, pod in pods(objects).items():
            assert pod["automountServiceAccountToken"] is False, name
            assert pod["securityContext"]["runAsNonRoot"], name
            assert pod["securityContext"]["runAsUser"] == 65534, name
            mounted = {volume["name"] for volume in pod["volumes"]}
            for container in [*pod["containers"], *pod.get("initContainers", [])]:
                assert container["securityContext"]["readOnlyRootFilesystem"], (name, container["name"])
                assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
                assert container["securityContext"]["allowPrivilegeEscalation"] is False
                assert "memory" in container["resources"]["limits"], (name, container["name"])
                assert {mount["name"] for mount in container["volumeMounts"]} <= mounted


def test_selectors_match_their_pods(objects):
    """Each Service, budget, policy and autoscaler is about exactly one Deployment of the overlay."""
    labels = {
        name: one["spec"]["template"]["metadata"]["labels"]
        for name, one in objects.items()
        if one["kind"] == "Deployment"
    }
    for name, one in objects.items():
        selector = {
            "Service": lambda spec: spec["selector"],
            "PodDisruptionBudget": lambda spec: spec["selector"]["matchLabels"],
            "NetworkPolicy": lambda spec: spec["podSelector"]["matchLabels"],
            "Deployment": lambda spec: spec["selector"]["matchLabels"],
        }.get(one["kind"])
        if selector is not None:
            wanted = selector(one["spec"]).items()
            assert len([pod for pod, own in labels.items() if wanted <= own.items()]) == 1, name
        if one["kind"] == "HorizontalPodAutoscaler":
            assert one["spec"]["scaleTargetRef"]["name"] == "hangtag"
            assert "replicas" not in objects["Deployment/hangtag"]["spec"], "the autoscaler decides"


def test_clients_are_admitted_by_their_own_label_only(objects):
    """Nothing was added to the selector of the clients."""
    for name, one in objects.items():
        if one["kind"] == "NetworkPolicy" and not name.endswith(("-edge", "-store")):
            clients = one["spec"]["ingress"][0]["from"][0]["podSelector"]["matchLabels"]
            assert clients == {"hangtag-client": "true"}
    for name, one in objects.items():
        if name.startswith("Service/hangtag-grpc"):
            assert one["spec"]["clusterIP"] == "None", "clients see every pod"


def test_probes_follow_the_config_and_allow_slow_loads(objects):
    for deployment, server in servers(objects):
        for probe in ("startupProbe", "readinessProbe"):
            assert server[probe]["exec"]["command"] == ["bash", "/config/ready.sh"]
        startup = server["startupProbe"]
        assert startup["periodSeconds"] * startup["failureThreshold"] >= 900
        assert deployment["spec"]["progressDeadlineSeconds"] > startup["periodSeconds"] * startup["failureThreshold"]
        pod = deployment["spec"]["template"]["spec"]
        assert pod["shareProcessNamespace"]
        pause = int(server["lifecycle"]["preStop"]["exec"]["command"][1])
        assert pod["terminationGracePeriodSeconds"] > pause


def test_no_file_but_the_configs_names_a_model():
    """So that another model is one change."""
    named = [
        path.relative_to(KUBERNETES)
        for path in KUBERNETES.rglob("*.yaml")
        if any("fashion" in line.split("#")[0] for line in path.read_text().splitlines())
    ]
    assert sorted(named) == [Path("kserve/inferenceservice.yaml"), Path("publish/job.yaml")]


def test_it_runs_the_same_server_and_check_as_compose(objects):
    compose = yaml.safe_load((ROOT / "serving" / "docker" / "compose.yaml").read_text())["services"]
    flags = [flag for flag in compose["tfserving"]["command"] if "MODEL_NAME" not in flag]
    for deployment, server in servers(objects):
        (check,) = [one for one in deployment["spec"]["template"]["spec"]["initContainers"] if one["name"] == "check"]
        for container, service in ((server, compose["tfserving"]), (check, compose["check"])):
            assert container["image"].removesuffix("-gpu") == service["image"]
            assert container["command"] == service["entrypoint"]
        own = [flag for flag in server["args"] if "gpu_memory" not in flag]
        assert own == [*flags[:2], "--model_config_file=/config/models.config", *flags[2:]]
        assert server["image"].endswith("-gpu") == ("nvidia.com/gpu" in server["resources"]["limits"])


def test_the_configuration_is_the_one_in_serving_config(objects):
    folder = ROOT / "serving" / "config"
    own = {path.read_text() for path in (KUBERNETES / "overlays").rglob("models.config")}
    for deployment, _ in servers(objects):
        volumes = deployment["spec"]["template"]["spec"]["volumes"]
        (name,) = [volume["configMap"]["name"] for volume in volumes if volume["name"] == "config"]
        (data,) = [one["data"] for one in objects.values() if one["metadata"]["name"] == name]
        assert set(data) == {
            "models.config",
            "batching.config",
            "monitoring.config",
            "ready.sh",
            "check.sh",
            "start.sh",
        }
        for file, text in data.items():
            assert text == (folder / file).read_text() or (file == "models.config" and text in own)


def test_storage_works_on_every_cluster_unless_it_is_said_to_be_shared(built):
    """ReadWriteOnce, with all pods on the volume's node; only `shared` and what needs no volume spread over nodes."""
    for name, objects in built.items():
        claim = objects.get("PersistentVolumeClaim/hangtag-models")
        assert (claim is None) == (name == "autoscaled"), "which copies from a store"
        if claim is not None:
            assert claim["spec"]["accessModes"] == ["ReadWriteMany" if name == "shared" else "ReadWriteOnce"]
        for deployment, _ in servers(objects):
            pod = deployment["spec"]["template"]["spec"]
            shares = name in ("shared", "autoscaled")
            assert ("topologySpreadConstraints" in pod) == shares
            assert ("podAffinity" in pod.get("affinity", {})) == (not shares)
            assert deployment["spec"].get("replicas", 2) == (2 if shares else 1)


def test_only_the_store_leaves_the_cluster(built):
    """A policy holds for whole pods: what has the store's credentials and a way out is not the server."""
    objects = built["autoscaled"]
    server = objects["NetworkPolicy/hangtag"]["spec"]
    assert set(server["policyTypes"]) == {"Ingress", "Egress"}
    assert all(rule["to"] for rule in server["egress"])
    reached = [next(iter(rule["to"]))["podSelector"]["matchLabels"] for rule in server["egress"]]
    assert reached == [
        {"k8s-app": "kube-dns"},
        {"app.kubernetes.io/name": "hangtag", "app.kubernetes.io/component": "store"},
    ]
    assert "hangtag-store" in str(pods(objects)["Deployment/hangtag-store"]["containers"])
    assert "secretRef" not in str(pods(objects)["Deployment/hangtag"])
    for name, other in built.items():
        for one in other.values():
            if one["kind"] == "NetworkPolicy" and one["metadata"]["name"].startswith("hangtag"):
                is_open = [rule for rule in one["spec"].get("egress") or [] if not rule.get("to")]
                assert not is_open or one["metadata"]["name"] == "hangtag-store", name


def test_the_copy_comes_before_the_check(built):
    pod = pods(built["autoscaled"])["Deployment/hangtag"]
    assert [container["name"] for container in pod["initContainers"]] == ["models", "check"]


def test_the_edge_runs_the_files_of_compose(built):
    objects = built["edge"]
    data = objects["ConfigMap/hangtag-edge"]["data"]
    folder = ROOT / "serving" / "docker" / "edge"
    for name in ("nginx.conf", "start.sh"):
        assert data[name] == (folder / name).read_text()
    mine, theirs = (
        [line for line in text.replace("hangtag:", "tfserving:").splitlines() if not line.startswith("#")]
        for text in (data["upstreams.conf"], (folder / "upstreams.conf").read_text())
    )
    assert mine == theirs
    compose = yaml.safe_load((ROOT / "serving" / "docker" / "compose.yaml").read_text())["services"]["edge"]
    (container,) = pods(objects)["Deployment/hangtag-edge"]["containers"]
    assert (container["image"], container["command"]) == (compose["image"], compose["entrypoint"])
    secret = next(v["secret"] for v in pods(objects)["Deployment/hangtag-edge"]["volumes"] if v["name"] == "secrets")
    assert {item["path"] for item in secret["items"]} == set(compose["secrets"])
