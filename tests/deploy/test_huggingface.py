"""What a Hugging Face repository would hold: a card that can be indexed, a Space that starts."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import httpx2
import pytest

from model_core.registry.registry import Registry
from tests.conftest import REPOSITORY
from tests.fixtures.service.process import START_S, free_port

hub = pytest.importorskip("huggingface_hub")

DOCKERFILE = (REPOSITORY / "deploy" / "huggingface" / "Dockerfile").read_text(encoding="utf-8")


def make(kind: str, out: Path) -> Path:
    command = [sys.executable, "-m", "deploy.huggingface.make", kind, str(out)]
    environment = os.environ | {"HF_HUB_OFFLINE": "1"}
    subprocess.run(command, cwd=REPOSITORY, env=environment, check=True, capture_output=True)
    return out


def test_the_card_has_what_the_hub_reads_and_the_scores_of_the_version(tmp_path: Path) -> None:
    folder = make("model", tmp_path / "model")
    card = hub.ModelCard.load(folder / "README.md")
    assert card.data.pipeline_tag == "image-segmentation"
    assert (card.data.license, card.data.license_link) == ("other", "LICENSE.md")
    assert (folder / card.data.license_link).is_file()
    stored = json.loads((folder / "card.json").read_text())
    expected = {
        (record["dataset"], metric): round(record["summary"]["per_image"][metric]["mean"], 4)
        for record in stored["scores"]
        for metric in card.data.metrics
    }
    found = {
        (one.dataset_type, one.metric_type): one.metric_value for one in card.data.eval_results
    }
    assert found == expected
    assert "Not a medical device" in card.text
    assert stored["licence"] in card.text
    # As the library itself writes it, so that the hub's own check finds nothing unknown.
    assert hub.ModelCardData(**card.data.to_dict()).to_dict() == card.data.to_dict()


def test_the_copy_of_the_version_is_whole_and_signed(tmp_path: Path) -> None:
    folder = make("model", tmp_path / "model")
    card = json.loads((folder / "card.json").read_text())
    place = tmp_path / "models" / card["name"] / card["version"]
    place.mkdir(parents=True)
    for name in (*card["files"], "card.json", "model.sig"):
        (place / name).parent.mkdir(exist_ok=True)
        shutil.copy(folder / name, place / name)
    trusting = Registry(tmp_path / "models", signers=folder / "RELEASE.pub")
    assert trusting.load(card["name"], card["version"]).signer == "RELEASE.pub"


def test_the_space_says_how_it_is_started() -> None:
    text = (REPOSITORY / "deploy" / "huggingface" / "space.md").read_text(encoding="utf-8")
    front = hub.RepoCard(text).data.to_dict()
    assert (front["sdk"], front["license"]) == ("docker", "apache-2.0")
    assert f"DEMO_PORT={front['app_port']}" in DOCKERFILE
    assert f"EXPOSE {front['app_port']}" in DOCKERFILE
    assert len(front["short_description"]) <= 60
    assert re.search(r"^USER 1000$", DOCKERFILE, re.M)


@pytest.mark.slow
def test_what_the_dockerfile_starts_is_the_page_with_a_service_behind_it(tmp_path: Path) -> None:
    folder = make("space", tmp_path / "space")
    (command,) = re.findall(r"^CMD (\[.+\])$", DOCKERFILE, re.M)
    (variables,) = re.findall(r"^ENV ((?:.+\\\n)*.+)$", DOCKERFILE, re.M)
    given = dict(pair.split("=") for pair in variables.replace("\\\n", " ").split())
    page, service = free_port(), free_port()
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("LESION_", "PYTHON"))}
    environment |= given | {"HOME": str(tmp_path), "DEMO_HOST": "127.0.0.1"}
    environment |= {"DEMO_PORT": str(page), "LESION_CLIENT_URL": f"http://127.0.0.1:{service}"}
    _, *words = json.loads(command)
    process = subprocess.Popen([sys.executable, *words], cwd=folder, env=environment)
    try:
        ready = f"http://127.0.0.1:{service}/readyz"
        assert answers(ready)
        assert answers(f"http://127.0.0.1:{page}/")
        picture = (REPOSITORY / "docs" / "example.png").read_bytes()
        answer = httpx2.post(ready.replace("readyz", "segment"), content=picture, timeout=START_S)
        assert answer.status_code == 200
    finally:
        process.terminate()
        process.wait(START_S)


def answers(url: str) -> bool:
    deadline = time.monotonic() + 5 * START_S
    while time.monotonic() < deadline:
        try:
            if httpx2.get(url).status_code == 200:
                return True
        except httpx2.TransportError:
            pass
        time.sleep(0.5)
    return False
