"""What the container files promise to operators (docs/deployment.md), read from the files."""

import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from service.settings import Settings

yaml = pytest.importorskip("yaml")

ROOT = Path(__file__).parent.parent
DOCKERFILE = (ROOT / "Dockerfile.gpu").read_text(encoding="utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]


@pytest.mark.parametrize("name", SERVICES)
def test_a_container_can_change_nothing_but_its_volumes(name: str) -> None:
    container = SERVICES[name]
    assert container["read_only"] is True
    assert container["cap_drop"] == ["ALL"]
    assert container["security_opt"] == ["no-new-privileges"]
    assert container["tmpfs"] == ["/tmp"]
    assert "privileged" not in container


def test_all_containers_run_as_the_user_of_the_images_who_is_not_root() -> None:
    users = {container["user"] for container in SERVICES.values()}
    assert users == set(re.findall(r"^USER (\S+)$", DOCKERFILE, re.MULTILINE)) == {"10001:10001"}


@pytest.mark.parametrize(
    ("name", "ports"), [("service", 1), ("demo", 1), ("proxy", 1), ("orthanc", 2)]
)
def test_what_is_published_is_so_to_this_machine_alone_unless_told_otherwise(
    name: str, ports: int
) -> None:
    assert len(SERVICES[name]["ports"]) == ports
    assert all(
        port.startswith("${PUBLISH_ADDRESS:-127.0.0.1}:") for port in SERVICES[name]["ports"]
    )


def test_the_loop_notes_what_is_answered_where_it_survives_the_container() -> None:
    (volume,) = SERVICES["pacs"]["volumes"]
    assert volume == "pacs:/app/pacs"
    assert '"--state", "/app/pacs/state.sqlite"' in DOCKERFILE
    assert "ports" not in SERVICES["pacs"]


def test_the_archive_of_the_demo_is_the_one_that_the_loop_follows() -> None:
    config = json.loads((ROOT / "deploy/orthanc/orthanc.json").read_text(encoding="utf-8"))
    dockerfile = (ROOT / "deploy/orthanc/Dockerfile").read_text(encoding="utf-8")
    url = f"http://orthanc:{config['HttpPort']}{config['DicomWeb']['Root'].rstrip('/')}"
    assert url in SERVICES["pacs"]["environment"]["LESION_PACS_URL"]
    ports = [port.rpartition(":")[2] for port in SERVICES["orthanc"]["ports"]]
    assert ports == [str(config["HttpPort"]), str(config["DicomPort"])]
    assert SERVICES["orthanc"]["volumes"] == [f"orthanc:{config['StorageDirectory']}"]
    assert "FROM ${BASE_IMAGE}" in dockerfile
    assert f"-o 10001 -g 10001 {config['StorageDirectory']}" in dockerfile


def test_only_the_trainer_writes_models() -> None:
    assert "models:/app/models:ro" in SERVICES["service"]["volumes"]
    assert "models:/app/models" in SERVICES["trainer"]["volumes"]


def test_the_service_is_killed_only_after_its_own_grace_has_run_out() -> None:
    settings = Settings()
    least_s = settings.drain_seconds + settings.grace_seconds
    assert int(SERVICES["service"]["stop_grace_period"].removesuffix("s")) > least_s


def test_a_machine_without_a_gpu_builds_and_starts_the_service_by_default() -> None:
    assert SERVICES["service"]["build"]["args"]["TORCH"] == "cpu"
    assert "deploy" not in SERVICES["service"]
    assert "profiles" not in SERVICES["service"]
    assert SERVICES["trainer"]["profiles"] == ["train"]
    assert SERVICES["demo"]["profiles"] == ["demo"]
    assert SERVICES["proxy"]["profiles"] == ["proxy"]
    assert SERVICES["pacs"]["profiles"] == SERVICES["orthanc"]["profiles"] == ["pacs"]


def test_the_page_asks_the_service_beside_it_and_brings_no_pytorch() -> None:
    assert SERVICES["demo"]["environment"]["LESION_CLIENT_URL"] == "http://service:8000"
    assert SERVICES["demo"]["depends_on"] == {"service": {"condition": "service_healthy"}}
    (stage,) = re.findall(r"^FROM \S+ AS demo-packages\n((?:.+\n)+)", DOCKERFILE, re.MULTILINE)
    assert "/lists/demo.txt" in stage
    assert "service.txt" not in stage


@pytest.mark.parametrize(
    ("modules", "lists"),
    [
        pytest.param("demo.pictures, service.client", 1, id="page"),
        pytest.param("service.cli.main, service.client.pacs.loop", 2, id="loop"),
    ],
)
def test_an_image_without_pytorch_has_every_package_that_it_imports(
    modules: str, lists: int
) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    ours = {_name(line) for line in project["dependencies"]}
    (client,) = re.findall(r"client = \((.+)\);", DOCKERFILE)
    (more,) = re.findall(r"startswith\(\((.+)\)\)\];", DOCKERFILE)
    code = f"""
import sys, importlib.metadata as metadata
import {modules}
found = metadata.packages_distributions()
print(*{{name.lower() for module in list(sys.modules) for name in found.get(module, ())}})
"""
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    installed = tuple(re.findall(r"'(\S+?)'", " ".join([client, more][:lists])))
    imported = set(run.stdout.split()) & ours
    assert {name for name in imported if not name.startswith(installed)} == set()


def _name(requirement: str) -> str:
    return re.split(r"[\[<>=!; ]", requirement, maxsplit=1)[0].lower()


def test_the_base_image_can_be_another_one() -> None:
    bases = set(re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE))
    assert "ARG BASE_IMAGE=" in DOCKERFILE
    assert bases - set(re.findall(r"^FROM \S+ AS (\S+)$", DOCKERFILE, re.MULTILINE)) == {
        "${BASE_IMAGE}"
    }


def test_signals_reach_python_itself() -> None:
    commands = re.findall(r"^\s*(?:CMD|ENTRYPOINT) (.)", DOCKERFILE, re.MULTILINE)
    assert set(commands) == {"["}


def test_nothing_but_what_is_copied_is_sent_to_the_engine() -> None:
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    sent = {line.removeprefix("!") for line in ignored if line.startswith("!")}
    copied = re.findall(r"^COPY (?!--from)(?:--\S+ )?(.+) \S+$", DOCKERFILE, re.MULTILINE)
    assert "*" in ignored
    assert sent == {name for names in copied for name in names.split()}


def test_the_proxy_takes_what_the_service_takes() -> None:
    settings = Settings()
    rules = (ROOT / "deploy/proxy/nginx.conf").read_text(encoding="utf-8")
    sizes = [int(size) * 1_000_000 for size in re.findall(r"client_max_body_size (\d+)m;", rules)]
    assert sizes == [settings.max_body_bytes, settings.max_batch_bytes]
    (wait_s,) = re.findall(r"proxy_read_timeout (\d+)s;", rules)
    assert int(wait_s) > settings.evaluation_seconds


@pytest.mark.foreign
@pytest.mark.parametrize("more", [[], ["-f", "docker-compose.gpu.yml"]], ids=["cpu", "gpu"])
def test_compose_reads_the_files(more: list[str]) -> None:
    compose = _compose()
    if compose is None:
        pytest.skip("neither docker with its compose plugin nor podman-compose is installed")
    run = subprocess.run(
        [*compose, "-f", "docker-compose.yml", *more, "config"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr


def _compose() -> list[str] | None:
    for command in (["docker", "compose"], ["podman-compose"]):
        if shutil.which(command[0]):
            version = subprocess.run([*command, "version"], capture_output=True, check=False)
            if version.returncode == 0:
                return command
    return None
