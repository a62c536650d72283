"""What is deployed to watch the service asks for metrics that it has, and fires when it should."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from service.app import create_app
from service.settings import Settings
from tests.conftest import REPOSITORY
from tests.fixtures.models import tiny_registry
from tests.fixtures.pictures import encode, lesion

yaml = pytest.importorskip("yaml")

PROMETHEUS = REPOSITORY / "deploy" / "prometheus"
DASHBOARD = json.loads((REPOSITORY / "deploy" / "grafana" / "lesion.json").read_text("utf-8"))
BY_PROMETHEUS = {"up"}
PROMTOOL = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(
    PROMTOOL is None, reason="promtool is not installed (Debian: apt install prometheus)"
)


@pytest.fixture(scope="module")
def scrape(tmp_path_factory: pytest.TempPathFactory) -> str:
    """/metrics of a real application that has segmented, refused and reported."""
    root = tiny_registry(tmp_path_factory.mktemp("registry")).root
    with TestClient(create_app(Settings(model_registry=root))) as client:
        client.post("/segment", files={"image": encode(lesion(48, 64))})
        client.post("/segment", files={"image": b"nothing"})
        return client.get("/metrics").text


@pytest.fixture(scope="module")
def samples(scrape: str) -> set[str]:
    """The names that a query may use: of samples, not of families."""
    return {
        sample.name
        for family in text_string_to_metric_families(scrape)
        for sample in family.samples
    } | BY_PROMETHEUS


def alerts() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load((PROMETHEUS / "alerts.yml").read_text("utf-8"))["groups"]
    rules: list[dict[str, Any]] = group["rules"]
    return rules


def panels() -> Iterator[dict[str, Any]]:
    for panel in DASHBOARD["panels"]:
        if panel["type"] != "row":
            yield panel


def names_in(query: str) -> set[str]:
    without_texts = re.sub(r'"[^"]*"', "", query)
    return set(re.findall(r"\b(?:lesion|process|python)_\w+|\bup\b", without_texts))


def test_every_alert_asks_for_metrics_that_the_service_has(samples: set[str]) -> None:
    for alert in alerts():
        names = names_in(alert["expr"])
        assert names, alert
        assert names - samples == set(), alert["alert"]
        assert alert["labels"]["severity"] in ("page", "ticket")
        assert set(alert["annotations"]) == {"summary", "description"}


def test_every_panel_asks_for_metrics_that_the_service_has(samples: set[str]) -> None:
    found = list(panels())
    assert len(found) > 10
    for panel in found:
        for target in panel["targets"]:
            names = names_in(target["expr"])
            assert names, panel["title"]
            assert names - samples == set(), panel["title"]
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)


def test_no_panel_lies_upon_another() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert at["x"] + at["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells


def test_every_metric_of_ours_is_on_the_dashboard(samples: set[str]) -> None:
    shown = {name for panel in panels() for t in panel["targets"] for name in names_in(t["expr"])}
    ours = {
        re.sub(r"_(bucket|sum|count)$", "", name)
        for name in samples
        if name.startswith("lesion_") and not name.endswith("_created")
    }
    assert ours - {re.sub(r"_(bucket|sum|count)$", "", name) for name in shown} == set()


def test_what_an_alert_waits_for_the_increase_of_is_there_from_the_start(tmp_path: Path) -> None:
    client = TestClient(create_app(Settings(model_registry=tiny_registry(tmp_path).root)))
    text = client.get("/metrics").text
    for name in ('lesion_http_problems_total{problem="internal-error"}',
                 'lesion_model_reloads_total{outcome="failed"}',
                 "lesion_engine_errors_total", "lesion_audit_failures_total"):  # fmt: skip
        assert f"\n{name} 0.0\n" in text


def promtool(*arguments: str, stdin: str | None = None) -> None:
    run = subprocess.run(
        [PROMTOOL or "", *arguments], input=stdin, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr


@needs_promtool
def test_promtool_takes_the_configuration_and_the_rules() -> None:
    promtool("check", "config", str(PROMETHEUS / "prometheus.yml"))
    promtool("check", "rules", "--lint=all", "--lint-fatal", str(PROMETHEUS / "alerts.yml"))


@needs_promtool
def test_every_alert_fires_when_it_should_and_none_on_a_healthy_service() -> None:
    promtool("test", "rules", str(PROMETHEUS / "alerts_test.yml"))
    tested = (PROMETHEUS / "alerts_test.yml").read_text("utf-8")
    assert [alert["alert"] for alert in alerts() if alert["alert"] not in tested] == []


@needs_promtool
def test_promtool_finds_nothing_wrong_with_the_metrics(scrape: str) -> None:
    promtool("check", "metrics", stdin=scrape)
