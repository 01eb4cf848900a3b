"""Manifests for Kubernetes, as kustomize makes them, by the schemas that the API server would check them by."""

import importlib
import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.kustomize import Manifest, build, containers
from tests.support.thor_commands import parse_faults

ROOT = Path(__file__).parents[3]
KUBERNETES = ROOT / "deploy/kubernetes"
TARGETS = ["overlays/cpu", "overlays/gpu", "overlays/job-cpu", "overlays/job-gpu", "monitoring"]
jsonschema = importlib.import_module("jsonschema")


def manifests(target: str) -> dict[str, Manifest]:
    """What a kustomization makes, by kind, of which there is one each."""
    made = build(KUBERNETES / target)
    by_kind = {manifest["kind"]: manifest for manifest in made}
    assert len(by_kind) == len(made)
    return by_kind


def schema_faults(manifest: Manifest) -> list[str]:
    schema = json.loads((KUBERNETES / "schemas" / f"{manifest['kind'].lower()}.json").read_text())
    return [error.message for error in jsonschema.Draft202012Validator(schema).iter_errors(manifest)]


def cluster_spec(target: str) -> dict[str, Any]:
    made = manifests(target)
    spec = made["RayJob"]["spec"]["rayClusterSpec"] if "job" in target else made["RayCluster"]["spec"]
    assert isinstance(spec, dict)
    return spec


def pods(target: str) -> list[dict[str, Any]]:
    spec = cluster_spec(target)
    return [group["template"]["spec"] for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"])]


@pytest.mark.parametrize("target", TARGETS)
def test_manifests_are_what_the_api_server_takes(target):
    for kind, manifest in manifests(target).items():
        if kind != "ConfigMap":
            assert schema_faults(manifest) == [], kind


def test_a_misspelt_field_and_a_wrong_type_are_found():
    cluster = manifests("overlays/cpu")["RayCluster"]
    pod = cluster["spec"]["headGroupSpec"]["template"]["spec"]
    pod["containers"][0]["imagePullPolice"] = "Always"
    pod["terminationGracePeriodSeconds"] = "150"
    faults = " ".join(schema_faults(cluster))
    assert "imagePullPolice" in faults
    assert "'150' is not of type 'integer'" in faults


@pytest.mark.parametrize("hardware", ["cpu", "gpu"])
def test_a_jobs_cluster_is_the_standing_one(hardware):
    assert cluster_spec(f"overlays/job-{hardware}") == cluster_spec(f"overlays/{hardware}")


@pytest.mark.parametrize("target", TARGETS[:4])
def test_pods_are_confined_limited_probed_and_share_storage(target):
    made = manifests(target)
    claim = made["PersistentVolumeClaim"]
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    assert len({manifest["metadata"].get("namespace", "thor") for manifest in made.values()}) == 1
    for pod in pods(target):
        (container,) = pod["containers"]
        assert pod["securityContext"]["runAsNonRoot"]
        assert not container["securityContext"]["allowPrivilegeEscalation"]
        assert container["resources"]["requests"] == container["resources"]["limits"]
        assert {"cpu", "memory"} <= set(container["resources"]["limits"])
        for probe in ("readinessProbe", "livenessProbe"):
            assert container[probe]["httpGet"] == {"path": "/api/healthz", "port": 52365}
        mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
        assert mounts == {"shared": "/shared", "memory": "/dev/shm"}
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        assert volumes["shared"]["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
        assert volumes["memory"]["emptyDir"]["medium"] == "Memory"


def test_gpus_are_asked_for_where_engines_and_learners_run_and_nowhere_else():
    head, workers = pods("overlays/gpu")
    assert "nvidia.com/gpu" not in head["containers"][0]["resources"]["limits"]
    assert workers["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "8"
    assert workers["tolerations"]
    assert all("nvidia.com/gpu" not in pod["containers"][0]["resources"]["limits"] for pod in pods("overlays/cpu"))
    images = {
        hardware: {c["image"] for c in containers(cluster_spec(f"overlays/{hardware}"))} for hardware in ("cpu", "gpu")
    }
    assert images == {"cpu": {"thor-ray:cpu"}, "gpu": {"thor-ray:gpu"}}


def test_clusters_ask_for_a_token_and_name_the_pinned_ray():
    pinned = re.search(r"ray\[default\]==([\d.]+)", (ROOT / "pyproject.toml").read_text())
    assert pinned is not None
    for target in TARGETS[:4]:
        assert cluster_spec(target)["authOptions"] == {"mode": "token"}
        assert cluster_spec(target)["rayVersion"] == pinned[1]


def test_the_network_policy_guards_rays_pods_and_lets_in_who_has_business():
    policy = manifests("overlays/cpu")["NetworkPolicy"]["spec"]
    ray_nodes = {"matchLabels": {"ray.io/is-ray-node": "yes"}}
    assert policy["podSelector"] == ray_nodes
    assert set(policy["policyTypes"]) == {"Ingress", "Egress"}
    everywhere = [rule for rule in policy["ingress"] if "ports" not in rule]
    assert [rule["from"] for rule in everywhere] == [[{"podSelector": ray_nodes}]]
    opened = {port["port"] for rule in policy["ingress"] for port in rule.get("ports", ())}
    ports = {port["name"]: port["containerPort"] for port in pods("overlays/cpu")[0]["containers"][0]["ports"]}
    assert opened == {ports["dashboard"], ports["metrics"]}
    outside = [rule for rule in policy["egress"] if rule["to"] != [{"podSelector": ray_nodes}]]
    assert {port["port"] for rule in outside for port in rule["ports"]} == {53}


def test_prometheus_scrapes_a_port_that_pods_have_and_grafana_gets_the_board():
    made = manifests("monitoring")
    (endpoint,) = made["PodMonitor"]["spec"]["podMetricsEndpoints"]
    for target in TARGETS[:4]:
        for pod in pods(target):
            assert endpoint["port"] in {port["name"] for port in pod["containers"][0]["ports"]}
    assert json.loads(made["ConfigMap"]["data"]["thor.json"])["title"] == "THOR-Ray"
    assert made["ConfigMap"]["metadata"]["labels"] == {"grafana_dashboard": "1"}


@pytest.mark.parametrize("target", ["overlays/job-cpu", "overlays/job-gpu"])
def test_a_jobs_command_is_one_of_ours_on_shared_storage_and_may_end_in_order(target):
    job = manifests(target)["RayJob"]["spec"]
    python, flag, module, *words = shlex.split(job["entrypoint"])
    assert (python, flag, module) == ("python", "-m", "thor_ray.cli.job")
    assert parse_faults(words) is None
    assert words[words.index("--run-dir") + 1].startswith("/shared/runs/")
    granted = int(yaml.safe_load(job["runtimeEnvYAML"])["env_vars"]["RAY_JOB_STOP_WAIT_TIME_S"])
    assert all(pod["terminationGracePeriodSeconds"] > granted for pod in pods(target))
