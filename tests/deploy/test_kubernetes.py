"""deploy/k8s: objects that Kubernetes takes, and what docs/cluster.md promises of them."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from service.api import health
from service.settings import PREFIX, Settings
from service.telemetry.prometheus import Telemetry
from tests.conftest import REPOSITORY

yaml = pytest.importorskip("yaml")

K8S = REPOSITORY / "deploy" / "k8s"
KUBECTL, PROMTOOL = shutil.which("kubectl"), shutil.which("promtool")
needs_kubectl = pytest.mark.skipif(KUBECTL is None, reason="kubectl is not installed")
needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed")

Object = dict[str, Any]


def read(path: str) -> Object:
    found: Object = yaml.safe_load((K8S / path).read_text("utf-8"))
    return found


def rendered(folder: str) -> dict[str, Object]:
    """What `kubectl apply -k` would send, by kind."""
    run = subprocess.run(
        [KUBECTL or "", "kustomize", str(K8S / folder)], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    return {each["kind"]: each for each in yaml.safe_load_all(run.stdout)}


def settings_of(kustomization: Object) -> dict[str, str]:
    (generator,) = kustomization["configMapGenerator"]
    return dict(literal.split("=", 1) for literal in generator["literals"])


POD: Object = read("base/deployment.yaml")["spec"]["template"]["spec"]
(CONTAINER,) = POD["containers"]
SETTINGS = settings_of(read("base/kustomization.yaml"))


@needs_kubectl
@pytest.mark.parametrize("folder", ["base", "gpu"])
def test_every_object_is_what_kubernetes_takes(folder: str) -> None:
    kubernetes_validate = pytest.importorskip("kubernetes_validate")
    version = kubernetes_validate.latest_version()
    for found in rendered(folder).values():
        kubernetes_validate.validate(found, version, strict=True)


@needs_kubectl
@pytest.mark.parametrize("folder", ["base", "gpu"])
def test_every_part_finds_the_pods(folder: str) -> None:
    found = rendered(folder)
    labels = found["Deployment"]["spec"]["template"]["metadata"]["labels"]
    selectors = [
        found["Service"]["spec"]["selector"],
        found["Deployment"]["spec"]["selector"]["matchLabels"],
        found["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
        found["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"],
    ]
    assert all(selector.items() <= labels.items() and selector for selector in selectors)


@needs_kubectl
def test_the_overlay_asks_for_one_gpu_and_the_image_that_can_use_it() -> None:
    found = rendered("gpu")
    (container,) = found["Deployment"]["spec"]["template"]["spec"]["containers"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert container["image"].endswith(":cuda")
    settings = found["ConfigMap"]["data"]
    assert settings["LESION_DEVICE"] == "cuda"
    assert settings | {"LESION_DEVICE": "cpu"} == SETTINGS


def test_a_container_can_change_nothing_but_its_scratch_folders() -> None:
    assert CONTAINER["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert POD["automountServiceAccountToken"] is False
    assert POD["securityContext"]["runAsNonRoot"] is True
    dockerfile = (REPOSITORY / "Dockerfile.gpu").read_text("utf-8")
    user, group = (POD["securityContext"][name] for name in ("runAsUser", "runAsGroup"))
    assert f"USER {user}:{group}\n" in dockerfile
    bounded = [volume["emptyDir"]["sizeLimit"] for volume in POD["volumes"] if "emptyDir" in volume]
    assert len(bounded) == 2
    assert {"cpu", "memory"} <= set(CONTAINER["resources"]["limits"])


def test_the_service_is_killed_only_after_its_own_grace_has_run_out() -> None:
    drain_s, grace_s = (int(SETTINGS[f"LESION_{name}_SECONDS"]) for name in ("DRAIN", "GRACE"))
    assert POD["terminationGracePeriodSeconds"] > drain_s + grace_s
    probe = CONTAINER["readinessProbe"]
    assert drain_s > probe["periodSeconds"] * probe["failureThreshold"]


def test_every_variable_is_a_setting_and_callers_need_keys() -> None:
    own = {each["name"] for each in CONTAINER["env"]} - {"XDG_CACHE_HOME"}
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    assert own | set(SETTINGS) <= known
    assert "LESION_API_KEYS_FILE" in own
    assert "LESION_ALLOW_ANONYMOUS" not in SETTINGS
    # Kubernetes names variables after services: LESION_PORT would be a URL.
    assert POD["enableServiceLinks"] is False


def test_the_probes_ask_the_routes_that_are_for_them() -> None:
    routes = {getattr(route, "path", "") for route in health.router.routes}
    asked = {
        name: CONTAINER[f"{name}Probe"]["httpGet"]["path"]
        for name in ("startup", "liveness", "readiness")
    }
    assert asked == {"startup": "/healthz", "liveness": "/healthz", "readiness": "/readyz"}
    assert set(asked.values()) <= routes


def test_the_autoscaler_asks_for_the_queue_that_the_service_counts() -> None:
    (metric,) = read("base/hpa.yaml")["spec"]["metrics"]
    name = metric["pods"]["metric"]["name"]
    assert name in {family.name for family in Telemetry().registry.collect()}
    (rule,) = read("prometheus-adapter.yaml")["rules"]["custom"]
    assert rule["name"]["as"] == name
    assert rule["seriesQuery"].startswith(name + "{")
    target = int(metric["pods"]["target"]["averageValue"])
    assert target < Settings().max_queue


@needs_promtool
def test_prometheus_understands_the_adapter_s_question_and_its_own_configuration(
    tmp_path: Path,
) -> None:
    (rule,) = read("prometheus-adapter.yaml")["rules"]["custom"]
    values = {"Series": "lesion_queue_depth", "GroupBy": "pod", "LabelMatchers": 'pod="a"'}
    query = re.sub(r"<<\.(\w+)>>", lambda found: values[found[1]], rule["metricsQuery"])
    group = {"name": "adapter", "rules": [{"record": "queue:depth", "expr": query}]}
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": [group]}))
    _promtool("check", "rules", str(tmp_path / "rules.yaml"))
    config = read("prometheus.yaml")
    # Some builds of promtool know no discovery; the rest is the same whoever finds the pods.
    (job,) = config["scrape_configs"]
    job["static_configs"] = [{"targets": ["127.0.0.1:8000"]}]
    del job["kubernetes_sd_configs"], job["authorization"]  # a file that is not here
    (tmp_path / "prometheus.yaml").write_text(yaml.safe_dump(config))
    _promtool("check", "config", str(tmp_path / "prometheus.yaml"))


def _promtool(*arguments: str) -> None:
    run = subprocess.run([PROMTOOL or "", *arguments], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
