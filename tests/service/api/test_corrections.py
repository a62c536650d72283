"""Corrections through the application: what is sent, what is kept, and what is refused."""

import csv
import json
import resource
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
from fastapi import FastAPI
from PIL import Image
from starlette.testclient import TestClient

from model_core.masks.png import decode_mask, encode_mask
from model_core.masks.rle import encode_rle
from service.contract.corrections import Correction
from tests.fixtures.models import NAME
from tests.fixtures.pictures import encode, exif, lesion
from tests.fixtures.service.problems import assert_problem
from trainer.commands.main import main as trainer
from trainer.data.samples import read_samples, read_truth

Make = Callable[..., FastAPI]
PHOTO = encode(lesion(48, 64), "JPEG")
HASH = sha256(PHOTO).hexdigest()
MASK = np.zeros((48, 64), np.bool_)
MASK[10:40, 20:50] = True


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "corrections"


@pytest.fixture
def keeping(make: Make, place: Path) -> Iterator[TestClient]:
    """A client of an application that keeps corrections in `place`."""
    with TestClient(make(corrections=place)) as client:
        yield client


def send(
    client: TestClient,
    image: bytes = PHOTO,
    mask: bytes | None = None,
    query: str = "",
    **more: str,
) -> httpx2.Response:
    fields = {"annotator": "reader-1", **more}
    files: dict[str, Any] = {"image": image, "mask": encode_mask(MASK) if mask is None else mask}
    return client.post(f"/corrections{query}", files=files, data=fields)


def rows(place: Path) -> list[dict[str, str]]:
    with (place / "MANIFEST.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def files_below(place: Path) -> set[str]:
    return {str(path.relative_to(place)) for path in place.rglob("*") if path.is_file()}


def test_photograph_both_masks_who_when_and_which_version_are_kept(
    keeping: TestClient, place: Path
) -> None:
    own = keeping.post("/segment?threshold=0.4", files={"image": PHOTO}).content
    response = send(keeping, query="?threshold=0.4", seconds="41.5")
    assert response.status_code == 201, response.text
    answer = Correction.model_validate_json(response.content)
    folder = place / answer.id
    assert {path.name for path in folder.iterdir()} == {*answer.files, "correction.json"}
    assert (folder / "photograph.jpg").read_bytes() == PHOTO
    assert (folder / "model.png").read_bytes() == own
    assert np.array_equal(decode_mask((folder / "corrected.png").read_bytes()), MASK)
    assert Correction.model_validate_json((folder / "correction.json").read_bytes()) == answer
    assert (answer.annotator, answer.seconds, answer.key) == ("reader-1", 41.5, None)
    assert (answer.image.sha256, answer.image.height, answer.image.width) == (HASH, 48, 64)
    assert (answer.model.label, answer.threshold) == (f"{NAME}@1.0.0", 0.4)
    for name, digest in answer.files.items():
        assert sha256((folder / name).read_bytes()).hexdigest() == digest
    assert keeping.get("/corrections").json() == {"photographs": 1}


def test_the_manifest_is_what_prepare_reads_and_the_last_correction_counts(
    keeping: TestClient, place: Path, tmp_path: Path
) -> None:
    first = send(keeping).json()["id"]
    turned = encode(lesion(64, 48), "JPEG", exif=exif(6))  # upright it is 48 high and 64 wide
    send(keeping, turned)
    later = MASK.copy()
    later[:20] = False
    last = send(keeping, mask=encode_mask(later), annotator="reader-2").json()["id"]
    assert (place / first / "photograph.jpg").is_file()
    assert [row["mask"].partition("/")[0] for row in rows(place)][1:] == [last]
    assert trainer(["prepare", str(place), "--out", str(tmp_path / "data")]) == 0
    samples = {sample.id: sample for sample in read_samples(tmp_path / "data")}
    assert len(samples) == 2
    assert np.array_equal(read_truth(samples[HASH]), later)
    assert {sample.dataset for sample in samples.values()} == {"corrections"}


def test_the_same_correction_sent_again_is_kept_once_and_a_former_one_is_kept_anew(
    keeping: TestClient, place: Path
) -> None:
    ids = [send(keeping, mask=mask).json()["id"]
           for mask in (encode_mask(MASK), encode_mask(MASK), encode_mask(~MASK),
                        json.dumps(encode_rle(MASK)).encode())]  # fmt: skip
    assert ids[0] == ids[1]
    assert len(set(ids)) == 3
    assert [row["mask"] for row in rows(place)] == [f"{ids[3]}/corrected.png"]
    assert {path.name for path in place.iterdir() if path.is_dir()} == set(ids)


def test_a_photograph_without_a_lesion_is_a_correction_too(
    keeping: TestClient, place: Path
) -> None:
    empty = {"segmentation": [], "image": {"height": 48, "width": 64}}
    answer = send(keeping, mask=json.dumps(empty).encode()).json()
    assert not decode_mask((place / answer["id"] / "corrected.png").read_bytes()).any()


@pytest.mark.parametrize(
    ("sent", "status", "slug", "detail"),
    [
        ({"annotator": "Jane Doe"}, 422, "invalid-request", "annotator: expected a pseudonym of 1"),
        ({"annotator": ""}, 422, "invalid-request", "annotator: expected a pseudonym"),
        ({"annotator": "x" * 65}, 422, "invalid-request", "annotator: expected a pseudonym"),
        ({"annotator": "-formula"}, 422, "invalid-request", "annotator: expected a pseudonym"),
        ({"seconds": "soon"}, 422, "invalid-request", "seconds: expected a finite decimal number"),
        ({"seconds": "-1"}, 422, "invalid-request", "seconds: expected 0 to 86400"),
        ({"patient": "Jane"}, 422, "invalid-request", "no such field, expected annotator, image"),
        ({"mask": encode_mask(MASK[:40])}, 422, "shape-mismatch",
         "mask is (40, 64), the upright image is (48, 64)"),
        ({"mask": PHOTO}, 415, "unsupported-image", "mask: the mask is a JPEG file"),
        ({"mask": encode(Image.linear_gradient("L"))}, 422, "invalid-mask", "mask: the mask holds"),
        ({"mask": b'{"size": [48, 64], "counts": [9]}'}, 422, "invalid-rle", "mask: "),
        ({"mask": b'{"size": [48000, 64000], "counts": [9]}'}, 413, "image-too-large",
         "the corrected mask has 64000x48000"),
        ({"image": b"no photograph"}, 415, "unsupported-image", "found bytes of no image type"),
        ({"query": "?threshold=2"}, 422, "invalid-request", "threshold"),
        ({"query": "?model=9.9.9"}, 404, "version-not-found", "no such version"),
    ],
)  # fmt: skip
def test_what_cannot_be_a_correction_is_refused_and_nothing_is_kept(
    keeping: TestClient, place: Path, sent: dict[str, Any], status: int, slug: str, detail: str
) -> None:
    problem = assert_problem(send(keeping, **sent), status, slug)
    assert detail in (problem.detail or "")
    assert "Jane" not in str(problem)
    assert files_below(place) <= {"MANIFEST.csv", ".lock"}
    assert rows(place) == []


def test_a_form_without_its_fields_says_which(keeping: TestClient) -> None:
    response = keeping.post("/corrections", files={"image": PHOTO})
    problem = assert_problem(response, 422, "invalid-request")
    assert [fault.field for fault in problem.errors or ()] == ["mask", "annotator"]


def test_without_a_place_both_routes_say_so_before_a_byte_is_read(client: TestClient) -> None:
    for response in (client.post("/corrections"), client.get("/corrections")):
        problem = assert_problem(response, 404, "corrections-off")
        assert "LESION_CORRECTIONS" in (problem.detail or "")


def test_another_method_is_told_both_that_the_path_takes(keeping: TestClient) -> None:
    response = keeping.delete("/corrections")
    assert_problem(response, 405, "method-not-allowed")
    assert response.headers["allow"] == "GET, HEAD, POST"


@contextmanager
def tiny_disk(folder: Path) -> Iterator[Callable[[int], None]]:
    """A file system of its own at `folder`; gives a function that changes its size, in bytes."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("no file system can be mounted here: that needs to be root")

    def resize(size: int) -> None:
        options = f"remount,size={size}"
        subprocess.run(["mount", "-o", options, str(folder)], capture_output=True, check=True)

    try:
        yield resize
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_on_a_disk_that_fills_up_at_any_step_a_correction_is_kept_whole_or_not_at_all(
    make: Make, place: Path, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    statuses = []
    with tiny_disk(place) as resize, TestClient(make(corrections=place)) as client:
        kept: dict[str, dict[str, str]] = {}
        page = 4_096
        for pages in range(2, 24):
            resize(pages * page)
            image = encode(Image.fromarray(rng.integers(0, 255, (48, 64, 3), np.uint8)))
            response = send(client, image)
            statuses.append(response.status_code)
            if response.status_code == 201:
                kept[response.json()["id"]] = response.json()["files"]
            else:
                problem = assert_problem(response, 507, "storage-full")
                assert problem.detail == "the correction was not kept: No space left on device"
            folders = {path.name for path in place.iterdir() if path.is_dir()}
            assert folders == set(kept)
            assert {row["mask"].partition("/")[0] for row in rows(place)} == set(kept)
            assert {path.name for path in place.iterdir() if path.is_file()} == {
                "MANIFEST.csv", ".lock"
            }  # fmt: skip
            for name, files in kept.items():
                for file, digest in files.items():
                    assert sha256((place / name / file).read_bytes()).hexdigest() == digest
        assert trainer(["prepare", str(place), "--out", str(tmp_path / "data")]) == 0
    assert {201, 507} == set(statuses)
    assert statuses.count(507) > 5


def test_a_limit_on_the_size_of_files_is_a_full_disk_too(keeping: TestClient, place: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (100, 100, 3), np.uint8)
    large, mask = encode(Image.fromarray(noise)), encode_mask(np.zeros((100, 100), np.bool_))
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(large) // 2, hard))
    try:
        assert_problem(send(keeping, large, mask), 507, "storage-full")
        assert files_below(place) == {"MANIFEST.csv", ".lock"}
        assert send(keeping).status_code == 201
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    assert len(rows(place)) == 1


def test_a_place_that_is_gone_is_said_and_the_rest_goes_on(
    keeping: TestClient, place: Path
) -> None:
    place.rename(place.with_name("away"))
    assert_problem(send(keeping), 503, "storage-unavailable")
    assert not place.exists()
    assert keeping.post("/segment", files={"image": PHOTO}).status_code == 200
