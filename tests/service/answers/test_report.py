"""`format=dicom-sr` says what the JSON says, to each of the programs that read such reports."""

import io
import json
import re
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import highdicom
import pydicom
import pytest
from PIL import Image
from starlette.testclient import TestClient

from model_core.dicom.report import ADVICE, ADVICES, MEASUREMENTS, PRIVATE, REASON, REASONS
from tests.fixtures.dicom_files import DERMOSCOPIC, dicom, dicom_jpeg
from tests.fixtures.pictures import encode, lesion
from tests.fixtures.service.problems import assert_problem

PICTURE = lesion(48, 64)
PHOTOGRAPHS = {
    "with Pixel Spacing": dicom(PICTURE, PixelSpacing=[0.02, 0.03]),
    "without": dicom(PICTURE),
    "dermoscopic JPEG": dicom_jpeg(PICTURE, "YBR_FULL_422", SOPClassUID=DERMOSCOPIC),
    "no lesion": dicom(Image.new("RGB", (31, 21), "white")),
}
every_photograph = pytest.mark.parametrize("data", PHOTOGRAPHS.values(), ids=PHOTOGRAPHS)
Numbers = dict[tuple[str, str, str], float]
"""Values by the concept's code and scheme, and the unit."""


def ask(client: TestClient, data: bytes, query: str) -> bytes:
    response = client.post(f"/segment?{query}", files={"image": data})
    assert response.status_code == 200, response.text
    return response.content


def report_of(data: bytes) -> Any:
    return highdicom.sr.srread(io.BytesIO(data))


def expected_of(client: TestClient, data: bytes, query: str = "") -> tuple[Numbers, list[str]]:
    """Numbers of the JSON, in mm where it has them, and its advice with the reasons as codes."""
    said = json.loads(ask(client, data, f"format=rle&measurements=true{query}"))
    values: dict[str, Any] = said["measurements"] | {"score": said["score"]}
    values["asymmetry_longer"], values["asymmetry_shorter"] = values["asymmetry"] or [None] * 2
    in_mm = values["spacing_mm"] is not None
    numbers = {
        (concept.value, concept.scheme, unit.value): values[name]
        for name, (concept, unit) in MEASUREMENTS.items()
        if values[name] is not None and not (in_mm and name.endswith("_px"))
    }
    quality = said["quality"]
    codes = [ADVICES[quality["advice"]].value]
    return numbers, codes + [REASONS[reason].value for reason in quality["reasons"]]


def evaluations(items: Iterable[tuple[str, str]]) -> list[str]:
    return [value for name, value in items if name in (ADVICE.value, REASON.value)]


@every_photograph
def test_highdicom_reads_what_the_json_says(client: TestClient, data: bytes) -> None:
    expected = expected_of(client, data)
    response = client.post("/segment?format=dicom-sr", files={"image": data})
    assert response.headers["content-type"] == "application/dicom"
    content = report_of(response.content).content
    groups = content.get_planar_roi_measurement_groups() + content.get_image_measurement_groups()
    (group,) = groups
    numbers = {
        (item.name.value, item.name.scheme_designator, item.unit.value): item.value
        for item in group.get_measurements()
    }
    said = evaluations(
        (item.name.value, item.value.value) for item in group.get_qualitative_evaluations()
    )
    assert (numbers, said) == expected
    assert bool(numbers) == (data != PHOTOGRAPHS["no lesion"])


def test_millimetres_only_where_there_is_a_spacing(client: TestClient) -> None:
    for query, data, units in (
        ("", PHOTOGRAPHS["with Pixel Spacing"], {"mm", "mm2", "deg", "1"}),
        ("", PHOTOGRAPHS["without"], {"{pixels}", "deg", "1"}),
        ("&spacing_mm=0.5,0.5", PHOTOGRAPHS["without"], {"mm", "mm2", "deg", "1"}),
    ):
        report = report_of(ask(client, data, "format=dicom-sr" + query))
        (group,) = report.content.get_planar_roi_measurement_groups()
        measured = group.get_measurements()
        assert {item.unit.value for item in measured} <= units
        numbers, _ = expected_of(client, data, query)
        assert {item.value for item in measured} == set(numbers.values())


def test_the_segmentation_of_another_request_is_the_region(client: TestClient) -> None:
    for query in ("", "&threshold=0.3"):
        data = PHOTOGRAPHS["without"]
        report = report_of(ask(client, data, "format=dicom-sr" + query))
        segmentation = pydicom.dcmread(io.BytesIO(ask(client, data, "format=dicom-seg" + query)))
        (group,) = report.content.get_planar_roi_measurement_groups()
        (region, _) = group.referenced_segmentation_frame
        assert region.referenced_sop_instance_uid == segmentation.SOPInstanceUID


def test_a_spacing_needs_measurements_or_a_report(client: TestClient) -> None:
    response = client.post("/segment?format=png&spacing_mm=1,1", files={"image": encode(PICTURE)})
    assert_problem(response, 422, "invalid-request")


@pytest.mark.foreign
@every_photograph
def test_dsrdump_reads_what_the_json_says(client: TestClient, data: bytes, tmp_path: Path) -> None:
    numbers, codes = expected_of(client, data)
    dump = run("dsrdump", "apt-get install dcmtk", "+Pl", "+Pc", report_at(client, data, tmp_path))
    found = {
        (concept, scheme, unit): float(value)
        for concept, scheme, value, unit in re.findall(
            r'NUM:\((\w+),(\w+),"[^"]*"\)="([^"]+)" \(([^,]+),UCUM', dump
        )
    }
    assert found == pytest.approx(numbers, rel=1e-12)
    said = re.findall(rf'CODE:\((\w+),{PRIVATE},"[^"]*"\)=\((\w+),{PRIVATE}', dump)
    assert evaluations(said) == codes
    assert "W:" not in dump


@pytest.mark.foreign
@every_photograph
def test_tid1500reader_reads_what_the_json_says(
    client: TestClient, data: bytes, tmp_path: Path
) -> None:
    numbers, codes = expected_of(client, data)
    written, out = report_at(client, data, tmp_path), tmp_path / "out.json"
    options = ("--inputDICOM", written, "--outputMetadata", str(out))
    run("tid1500reader", "pipx install dcmqi==1.5.7", *options)
    read = json.loads(out.read_text())
    (group,) = read["Measurements"]
    found = {
        (
            item["quantity"]["CodeValue"],
            item["quantity"]["CodingSchemeDesignator"],
            item["units"]["CodeValue"],
        ): float(item["value"])
        for item in group.get("measurementItems") or []
    }
    assert found == pytest.approx(numbers, rel=1e-12)
    said = evaluations(
        (item["conceptCode"]["CodeValue"], item["conceptValue"]["CodeValue"])
        for item in group["qualitativeEvaluations"]
    )
    assert said == codes
    algorithm = group["measurementAlgorithmIdentification"]
    card = client.get("/models/production").json()
    assert (algorithm["AlgorithmName"], algorithm["AlgorithmVersion"]) == (
        card["name"],
        card["version"],
    )
    (parameters,) = algorithm["AlgorithmParameters"]
    assert f"card_sha256={card['sha256']}" in parameters


def report_at(client: TestClient, data: bytes, folder: Path) -> str:
    path = folder / "report.dcm"
    path.write_bytes(ask(client, data, "format=dicom-sr"))
    return str(path)


def run(program: str, source: str, *arguments: str) -> str:
    """What a program says; the test skips where it is not installed."""
    if shutil.which(program) is None:
        pytest.skip(f"no {program}: {source}")
    done = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=60)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    return said
