"""The answers that README.md and docs/api.md print, compared with those of the shipped version."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from service.app import create_app
from service.server.headers import HEADERS
from service.settings import Settings
from tests.conftest import REPOSITORY

README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
API = (REPOSITORY / "docs" / "api.md").read_text(encoding="utf-8")
DOCS = REPOSITORY / "docs"


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    settings = {"model_registry": REPOSITORY / "models", "backend": "pytorch-fp32"}
    settings["corrections"] = tmp_path_factory.mktemp("corrections")
    with TestClient(create_app(Settings.model_validate(settings))) as client:
        yield client


def send(client: TestClient, path: str, **files: str) -> Any:
    response = client.post(
        path, files={name: (DOCS / file).read_bytes() for name, file in files.items()}
    )
    assert response.status_code == 200, response.text
    return response


def printed(page: str, start: str) -> Any:
    """The JSON block that begins so; what is left out of it is the text `…`."""
    (block,) = re.findall(rf"^```json\n({re.escape(start)}.+?)^```$", page, re.M | re.S)
    return json.loads(block.replace("{…}", '"…"'))


def check(shown: Any, real: Any, at: str = "") -> None:
    """What is printed has the keys that come, and their values but for what an engine changes."""
    if isinstance(shown, dict):
        assert shown.keys() == real.keys(), at
        for key in shown:
            check(shown[key], real[key], f"{at}/{key}")
    elif isinstance(shown, list):
        assert len(shown) == len(real), at
        for number, pair in enumerate(zip(shown, real, strict=True)):
            check(*pair, at=f"{at}/{number}")
    elif isinstance(shown, str) and shown.endswith("…"):
        engine = at.endswith("/counts")  # run lengths of another engine's mask
        assert engine or not isinstance(real, str) or real.startswith(shown[:-1]), at
    elif isinstance(shown, float):
        assert real == pytest.approx(shown, rel=0.02, abs=0.001), at
    elif at == "/area":
        assert real == pytest.approx(shown, rel=0.02)
    else:
        assert shown == real, at


def test_the_headers_that_are_printed_are_those_that_come(shipped: TestClient) -> None:
    (block,) = re.findall(r"^```\nHTTP/1.1 200 OK\n(.+?)^```$", README, re.M | re.S)
    *lines, rest = block.splitlines()
    assert rest == "…"
    shown = dict(line.split(": ", 1) for line in lines)
    real = send(shipped, "/segment", image="example.png").headers
    more = {name.lower() for name in HEADERS}
    assert shown.keys() == real.keys() - more  # `date` is the server's
    for name in ("x-model-version", "content-type", "vary"):
        assert shown[name] == real[name]
    assert real["x-model-digest"].startswith(shown["x-model-digest"].rstrip("…"))
    assert float(real["x-predicted-jaccard"]) == pytest.approx(
        float(shown["x-predicted-jaccard"]), abs=0.01
    )
    stages = re.compile(r"[a-z]+(?=;)")
    assert stages.findall(shown["server-timing"]) == stages.findall(real["server-timing"])


@pytest.mark.parametrize("page", [README, API], ids=["README.md", "docs/api.md"])
def test_the_annotation_that_is_printed_is_the_one_that_comes(
    shipped: TestClient, page: str
) -> None:
    answer = send(shipped, "/segment?format=rle", image="example.png")
    check(printed(page, '{"id"'), answer.json())


def test_the_correction_that_is_printed_is_the_one_that_comes(shipped: TestClient) -> None:
    files = {"image": DOCS / "example.png", "mask": DOCS / "example_truth.png"}
    answer = shipped.post(
        "/corrections",
        files={name: path.read_bytes() for name, path in files.items()},
        data={"annotator": "reader-1", "seconds": "40"},
    )
    assert answer.status_code == 201, answer.text
    shown, real = printed(API, '{"annotator"'), answer.json()
    assert real.pop("created").startswith(shown.pop("created")[:2])
    check(shown, real)


def test_the_scores_that_are_printed_are_those_that_come(shipped: TestClient) -> None:
    answer = send(shipped, "/evaluate", image="example.png", truth="example_truth.png").json()
    check(printed(API, '{"items"'), answer)
