"""docs/label-studio.md with the real Label Studio: connect, pre-annotate, correct, export, prepare.

What is asked of a backend, and what is refused, tests/service/api/test_label_studio.py has.
"""

import io
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page

from model_core.masks.brush import decode_brush, encode_brush
from model_core.masks.png import decode_mask
from service.access.keys import new_key
from service.client import Client
from tests.conftest import REPOSITORY, BuiltOnce
from tests.fixtures.browser import chromium
from tests.fixtures.label_studio import Json, LabelStudio, label_studio, program_of
from tests.fixtures.pictures import encode
from tests.fixtures.service.process import free_port, service
from trainer.commands.main import main
from trainer.data.samples import read_samples, read_truth

pytestmark = pytest.mark.foreign

CONFIG = """<View><Image name="image" value="$image" zoom="true"/>
<BrushLabels name="tag" toName="image"><Label value="lesion" background="#ff0000"/></BrushLabels>
</View>"""


@pytest.fixture(scope="module")
def studio(
    built_once: BuiltOnce, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LabelStudio]:
    with label_studio(program_of(built_once), tmp_path_factory.mktemp("studio")) as studio:
        yield studio


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """A key for Label Studio, and the file of it."""
    text, entry = new_key("label-studio", frozenset({"segment"}))
    path = tmp_path_factory.mktemp("keys") / "keys.json"
    path.write_text(json.dumps({"keys": [entry.model_dump(mode="json")]}))
    return text, path


@pytest.fixture(scope="module")
def backend(
    studio: LabelStudio, key: tuple[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """Address of a real process that serves the shipped version to Label Studio alone."""
    port, folder = free_port(), tmp_path_factory.mktemp("backend")
    settings = {
        "LESION_BACKEND": "auto",
        "LESION_API_KEYS_FILE": str(key[1]),
        "LESION_LABEL_STUDIO_URL": studio.url,
        "LESION_LABEL_STUDIO_TOKEN": studio.personal_token(),
    }
    with service(port, REPOSITORY / "models", folder / "log", settings):
        yield f"http://127.0.0.1:{port}"


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A drawn lesion, the same mirrored, and bare skin."""
    folder = tmp_path_factory.mktemp("photographs")
    example = Image.open(REPOSITORY / "docs" / "example.png").convert("RGB")
    (folder / "a.png").write_bytes(encode(example))
    (folder / "b.png").write_bytes(encode(example.transpose(Image.Transpose.FLIP_LEFT_RIGHT)))
    (folder / "skin.png").write_bytes(encode(Image.new("RGB", (400, 300), (222, 184, 170))))
    return folder


@pytest.fixture(scope="module")
def project(
    studio: LabelStudio, backend: str, key: tuple[str, Path], photographs: Path
) -> tuple[int, dict[str, int]]:
    """A project with the photographs and predictions of them: its ID, and tasks by file name."""
    number = studio.ask("POST", "/api/projects", json={"title": "Lesions", "label_config": CONFIG})[
        "id"
    ]
    for file in sorted(photographs.iterdir()):
        content = {"file": (file.name, file.read_bytes(), "image/png")}
        studio.ask("POST", f"/api/projects/{number}/import", files=content)
    model = {"url": f"{backend}/label-studio", "project": number, "title": "lesion",
             "auth_method": "BASIC_AUTH", "basic_auth_user": "any"}  # fmt: skip
    refused = studio.http.post("/api/ml", json={**model, "basic_auth_pass": "lsk_wrong"})
    assert refused.status_code == 400, refused.text
    assert "authentication parameters" in refused.text
    connected = studio.ask("POST", "/api/ml", json={**model, "basic_auth_pass": key[0]})
    assert connected["readable_state"] == "Connected"
    action = {"id": "retrieve_tasks_predictions", "project": number}
    everything = {"selectedItems": {"all": True, "excluded": []}}
    studio.ask("POST", "/api/dm/actions", params=action, json=everything)
    tasks = studio.ask("GET", "/api/tasks", params={"project": number, "fields": "all"})["tasks"]
    return number, {task["data"]["image"].rpartition("-")[2]: task["id"] for task in tasks}


def predictions(studio: LabelStudio, project: int) -> dict[int, Json]:
    found = studio.ask("GET", "/api/predictions", params={"project": project})
    assert len(found) == len({each["task"] for each in found})
    return {each["task"]: each for each in found}


def mask_of(region: Json) -> np.ndarray:
    height, width = region["original_height"], region["original_width"]
    rle = region["value"]["rle"]
    return decode_brush(rle, height=height, width=width, max_pixels=10_000_000)


def test_each_photograph_has_a_prediction_with_score_and_version(
    studio: LabelStudio,
    backend: str,
    key: tuple[str, Path],
    project: tuple[int, dict[str, int]],
    photographs: Path,
) -> None:
    number, tasks = project
    found = predictions(studio, number)
    assert found.keys() == set(tasks.values())
    with Client(backend, api_key=key[0]) as client:
        for name, task in tasks.items():
            own = client.segment(photographs / name)
            assert found[task]["model_version"] == own.model.label
            assert found[task]["score"] == pytest.approx(own.score)
            regions = found[task]["result"]
            assert bool(regions) == own.lesion_found
            if regions:
                assert np.array_equal(mask_of(regions[0]), own.mask)
    assert not found[tasks["skin.png"]]["result"]


def red(page: Page, shape: tuple[int, int]) -> np.ndarray:
    """Where Label Studio shows a region, at the size of the photograph."""
    picture = Image.open(io.BytesIO(page.locator("canvas").first.screenshot())).convert("RGB")
    values = np.asarray(picture.resize(shape[::-1], Image.Resampling.BILINEAR)).astype(int)
    return (values[..., 0] > 140) & (values[..., 1] < 90) & (values[..., 2] < 90)


def agreement(one: np.ndarray, other: np.ndarray) -> float:
    return float((one & other).sum() / (one | other).sum())


def test_a_correction_is_seen_in_the_browser_and_prepared_from_the_export(
    studio: LabelStudio,
    project: tuple[int, dict[str, int]],
    photographs: Path,
    tmp_path: Path,
) -> None:
    number, tasks = project
    (region,) = predictions(studio, number)[tasks["a.png"]]["result"]
    predicted = mask_of(region)
    corrected = predicted.copy()
    corrected[:, : predicted.shape[1] // 2] = False
    value = {**region["value"], "rle": encode_brush(corrected)}
    mended = {"result": [{**region, "value": value, "origin": "prediction-changed"}]}
    skin: Json = {"result": []}
    for name, annotation in (("a.png", mended), ("skin.png", skin)):
        studio.ask("POST", f"/api/tasks/{tasks[name]}/annotations", json=annotation)

    with chromium() as browser:
        page = browser.new_page(viewport={"width": 1400, "height": 900})
        studio.log_in(page)
        for name, expected in (("b.png", predicted[:, ::-1]), ("a.png", corrected)):
            page.goto(f"{studio.url}/projects/{number}/data?task={tasks[name]}")
            page.wait_for_selector("canvas")
            for _ in range(30):  # it is drawn when the photograph has come
                page.wait_for_timeout(1_000)
                if agreement(red(page, predicted.shape), expected) > 0.9:
                    break
            assert agreement(red(page, predicted.shape), expected) > 0.9, name
        # And a person's own stroke: over what is predicted for the other photograph, then sent.
        page.goto(f"{studio.url}/projects/{number}/data?task={tasks['b.png']}")
        page.wait_for_selector("canvas")
        page.wait_for_timeout(5_000)
        page.locator("[class*=outliner-item]").get_by_text("lesion").first.click()
        box = page.locator("canvas").first.bounding_box()
        assert box
        page.mouse.move(box["x"] + 20, box["y"] + 20)
        page.mouse.down()
        page.mouse.move(box["x"] + 120, box["y"] + 20, steps=8)
        page.mouse.up()
        page.get_by_role("button", name="Submit").click()
        page.wait_for_timeout(3_000)

    exported = studio.ask("GET", f"/api/projects/{number}/export", params={"exportType": "JSON"})
    (tmp_path / "export.json").write_text(json.dumps(exported))
    command = ["prepare", str(tmp_path / "export.json"), "--layout", "label-studio"]
    options = ["--images", str(photographs), "--out", str(tmp_path / "data")]
    assert main([*command, *options]) == 0
    samples = {sample.id: sample for sample in read_samples(tmp_path / "data")}
    assert samples.keys() == {"a", "b", "skin"}
    assert np.array_equal(read_truth(samples["a"]), corrected)
    assert np.array_equal(decode_mask(samples["a"].mask.read_bytes()), corrected)
    assert not read_truth(samples["skin"]).any()
    by_hand = read_truth(samples["b"])
    assert by_hand[:60, :200].any()
    assert agreement(by_hand[:, :], predicted[:, ::-1]) > 0.9
