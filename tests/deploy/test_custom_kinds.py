"""What the files for the Gateway API, the Prometheus Operator and KServe set."""

from __future__ import annotations

import jsonschema
import yaml

from overlays import CUSTOM_KINDS, KUBERNETES, pods
from support import ROOT


def test_routes_have_tls_and_only_methods_that_read(built):
    for name in ("gateway", "weighted"):
        objects = built[name]
        for listener in objects["Gateway/hangtag"]["spec"]["listeners"]:
            assert (listener["protocol"], listener["tls"]["mode"]) == ("HTTPS", "Terminate")
            assert listener["tls"]["certificateRefs"] == [{"kind": "Secret", "name": "hangtag-tls"}]
        (rule,) = objects["GRPCRoute/hangtag"]["spec"]["rules"]
        methods = {match["method"]["method"] for match in rule["matches"]}
        assert methods == {"Predict", "Classify", "Regress", "MultiInference", "GetModelMetadata", "GetModelStatus"}
        for route in ("HTTPRoute/hangtag", "GRPCRoute/hangtag"):
            for backend in objects[route]["spec"]["rules"][0]["backendRefs"]:
                service = objects[f"Service/{backend['name']}"]
                assert backend["port"] in {port["port"] for port in service["spec"]["ports"]}


def test_weights_split_between_two_versions(built):
    objects = built["weighted"]
    for route in ("HTTPRoute/hangtag", "GRPCRoute/hangtag"):
        backends = objects[route]["spec"]["rules"][0]["backendRefs"]
        assert {one["name"]: one["weight"] for one in backends} == {"hangtag-stable": 95, "hangtag-canary": 5}
    for track, version in (("stable", 1), ("canary", 2)):
        (text,) = [
            one["data"]["models.config"] for name, one in objects.items() if name == f"ConfigMap/hangtag-config-{track}"
        ]
        assert f"specific {{ versions: {version} }}" in text
        claims = [v["persistentVolumeClaim"] for v in pods(objects)[f"Deployment/hangtag-{track}"]["volumes"][:1]]
        assert claims == [{"claimName": "hangtag-models"}]


def test_the_operator_scrapes_both_and_has_the_rules_of_prometheus(built):
    objects = built["monitored"]
    assert objects["PrometheusRule/hangtag"]["spec"] == yaml.safe_load(
        (ROOT / "serving" / "monitoring" / "rules.yaml").read_text()
    )
    config = yaml.safe_load((ROOT / "serving" / "monitoring" / "prometheus.yaml").read_text())
    jobs = {job["job_name"]: job.get("metrics_path", "/metrics") for job in config["scrape_configs"]}
    for name, job in (("hangtag", "tensorflow-serving"), ("hangtag-exporter", "hangtag-exporter")):
        monitor = objects[f"ServiceMonitor/{name}"]["spec"]
        (endpoint,) = monitor["endpoints"]
        assert endpoint["relabelings"] == [{"targetLabel": "job", "replacement": job}]
        assert endpoint.get("path", "/metrics") == jobs[job]
        matched = [
            one
            for one in objects.values()
            if one["kind"] == "Service"
            and monitor["selector"]["matchLabels"].items() <= one["metadata"]["labels"].items()
            and endpoint["port"] in {port["name"] for port in one["spec"]["ports"]}
        ]
        assert [one["metadata"]["name"] for one in matched] == [name]


def test_the_inference_service_is_valid_and_names_what_is_there():
    service = yaml.safe_load((KUBERNETES / "kserve" / "inferenceservice.yaml").read_text())
    jsonschema.validate(service["spec"], CUSTOM_KINDS[service["kind"]])
    claim = yaml.safe_load((KUBERNETES / "volume" / "volume.yaml").read_text())
    model = service["spec"]["predictor"]["model"]
    assert model["storageUri"] == f"pvc://{claim['metadata']['name']}/{service['metadata']['name']}"
    assert model["modelFormat"] == {"name": "tensorflow"}
    assert model["protocolVersion"] == "grpc-v1"
    assert model["ports"] == [{"name": "h2c", "containerPort": 9000, "protocol": "TCP"}]
