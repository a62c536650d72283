import hashlib
import json
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from tests.fixtures.models import NAME
from tests.fixtures.service.problems import assert_problem


def test_every_version_is_listed_oldest_first(client: TestClient) -> None:
    answer = client.get("/models").json()
    models = answer["models"]
    assert [(entry["version"], entry["aliases"]) for entry in models] == [
        ("0.8.0", []),
        ("0.9.0", []),
        ("1.0.0", ["production"]),
    ]
    assert {entry["name"] for entry in models} == {NAME}
    assert models[-1]["loaded"] is True
    assert models[-1]["backend"].startswith("pytorch-")
    assert (answer["serving"]["version"], answer["reload"]) == ("1.0.0", None)


@pytest.mark.parametrize("reference", ["1.0.0", "production", "lesion-unet@1.0.0"])
def test_a_version_answers_with_its_card(
    client: TestClient, registry_root: Path, reference: str
) -> None:
    stored = (registry_root / NAME / "1.0.0" / "card.json").read_bytes()
    answer = client.get(f"/models/{reference}").json()
    assert answer["card"] == json.loads(stored)
    assert answer["sha256"] == hashlib.sha256(stored).hexdigest()
    assert (answer["version"], answer["aliases"]) == ("1.0.0", ["production"])


@pytest.mark.parametrize("reference", ["9.9.9", "staging", "other@1.0.0"])
def test_an_unknown_version_is_a_404(client: TestClient, reference: str) -> None:
    assert_problem(client.get(f"/models/{reference}"), 404, "version-not-found")


@pytest.mark.parametrize("reference", ["%2e%2e", ".git", "..@1.0.0", "@", "A", "%00", "%0A"])
def test_a_reference_that_could_be_a_path_is_refused(client: TestClient, reference: str) -> None:
    assert_problem(client.get(f"/models/{reference}"), 422, "invalid-request")
