"""A browser shows the photograph, the outline and the report of a study: OHIF before Orthanc."""

import io
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from playwright.sync_api import Browser
from starlette.testclient import TestClient

from model_core.dicom.report import ADVICES
from tests.conftest import BuiltOnce
from tests.fixtures.browser import chromium
from tests.fixtures.dicom_files import (
    DERMOSCOPIC,
    INSTANCE_UID,
    SERIES_UID,
    STUDY_UID,
    dicom,
    dicom_jpeg,
)
from tests.fixtures.ohif import Pixels, Viewer, fetch_ohif, serve_ohif
from tests.fixtures.orthanc import Orthanc, serve_orthanc
from tests.fixtures.pictures import lesion

pytestmark = pytest.mark.foreign

PICTURE = lesion(300, 401)
_NEAR = 3
"""Pixels of the screen by which a line and the filter of a scaled picture may differ."""


@dataclass(frozen=True)
class Scene:
    """A viewer of an archive, and the browser to look with."""

    archive: Orthanc
    url: str
    browser: Browser


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory, built_once: BuiltOnce) -> Iterator[Scene]:
    package = built_once("ohif", fetch_ohif) / "package"
    with (
        chromium(webgl=True) as browser,
        serve_orthanc(tmp_path_factory.mktemp("orthanc")) as archive,
        serve_ohif(package, archive.url, tmp_path_factory.mktemp("nginx")) as url,
    ):
        yield Scene(archive, url, browser)


def ask(client: TestClient, data: bytes, query: str) -> bytes:
    response = client.post(f"/segment?{query}", files={"image": data})
    assert response.status_code == 200, response.text
    return response.content


def expected_on(canvas: Pixels, mask: bytes) -> npt.NDArray[np.bool_]:
    """The mask as it lies on a canvas (H, W) that shows the whole photograph in the middle."""
    height, width = canvas.shape[:2]
    picture = Image.open(io.BytesIO(mask))
    scale = min(width / picture.width, height / picture.height)
    size = round(picture.width * scale), round(picture.height * scale)
    whole = Image.new("L", (width, height))
    corner = round((width - size[0]) / 2), round((height - size[1]) / 2)
    whole.paste(picture.convert("L").resize(size), corner)
    return np.asarray(whole) > 127


@pytest.mark.parametrize(
    ("number", "make", "area"),
    [
        pytest.param(
            1, lambda **ids: dicom(PICTURE, **ids), ("area_px", "{pixels}"),
            id="VL photograph without sizes",
        ),
        pytest.param(
            2,
            lambda **ids: dicom_jpeg(
                PICTURE, "YBR_FULL_422", SOPClassUID=DERMOSCOPIC, PixelSpacing=[0.02, 0.02], **ids
            ),
            ("area_mm2", "mm2"),
            id="dermoscopic JPEG with sizes",
        ),
    ],
)  # fmt: skip
def test_photograph_outline_and_report_are_shown(
    scene: Scene,
    client: TestClient,
    tmp_path: Path,
    number: int,
    make: Callable[..., bytes],
    area: tuple[str, str],
) -> None:
    study, series, instance = (f"{each}.{number}" for each in (STUDY_UID, SERIES_UID, INSTANCE_UID))
    photograph = make(StudyInstanceUID=study, SeriesInstanceUID=series, SOPInstanceUID=instance)
    for sent in (
        photograph,
        *(ask(client, photograph, f"format={each}") for each in ("dicom-seg", "dicom-sr")),
    ):
        scene.archive.store(sent)
    page = scene.browser.new_page(viewport={"width": 1000, "height": 650})
    viewer = Viewer(page, scene.url, study)

    before = viewer.shot()
    viewer.open("Skin lesion by")
    after = viewer.shot(other_than=before)
    Image.fromarray(after.astype(np.uint8)).save(tmp_path / "outline.png")

    expected = expected_on(after, ask(client, photograph, "format=png"))
    coloured = np.abs(after - before).sum(axis=2) > 24
    both, either = (coloured & expected).sum(), (coloured | expected).sum()
    assert both / either > 0.97
    for axis in (0, 1):
        found, wanted = (np.flatnonzero(each.any(axis=axis)) for each in (coloured, expected))
        assert np.abs(found[[0, -1]] - wanted[[0, -1]]).max() <= _NEAR
    # The colour that the segmentation recommends: its blue grows, its red fades.
    change = (after - before)[coloured & expected].mean(axis=0)
    assert change[2] > change[0]

    viewer.open("Skin lesion measured")
    said = viewer.text("Advice on the outline")
    answer = json.loads(ask(client, photograph, "format=rle&measurements=true"))
    (name, unit), measured = area, answer["measurements"]
    for words, value, of in (
        ("Area", measured[name], unit),
        ("Border irregularity", measured["border_irregularity"], "1"),
    ):
        (shown,) = re.findall(rf"{words}: (\S+) {re.escape(of)}\n", said)
        assert float(shown) == pytest.approx(value, rel=1e-12)
    assert f"Advice on the outline: {ADVICES[answer['quality']['advice']].meaning}" in said
    assert viewer.errors == []
    page.close()
