"""Where corrections are kept: folder and bucket, killed processes, deletion."""

import csv
import io
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
import s3fs  # type: ignore[import-untyped]
from fastapi import FastAPI
from starlette.testclient import TestClient

from model_core.errors import ConfigError
from model_core.masks.png import encode_mask
from service.corrections import main
from service.pipeline.corrections import Corrections
from tests.fixtures.pictures import encode, lesion

Make = Callable[..., FastAPI]
PHOTOS = [encode(lesion(48, 64), quality=quality, kind="JPEG") for quality in range(50, 90, 10)]
HASHES = [sha256(photo).hexdigest() for photo in PHOTOS]
MASK = np.zeros((48, 64), np.bool_)


def send(client: TestClient, image: bytes = PHOTOS[0], row: int = 0) -> str:
    """Keep a correction whose mask is one row of the photograph; gives the folder's name."""
    mask = MASK.copy()
    mask[row] = True
    files = {"image": image, "mask": encode_mask(mask)}
    response = client.post("/corrections", files=files, data={"annotator": "a"})
    assert response.status_code == 201, response.text
    name: str = response.json()["id"]
    return name


def listed(manifest: bytes) -> list[str]:
    return [row["mask"].partition("/")[0] for row in csv.DictReader(io.StringIO(manifest.decode()))]


def test_a_bucket_keeps_them_as_a_folder_does(
    make: Make, bucket: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = f"{bucket}/corrections"
    fs = s3fs.S3FileSystem()
    with TestClient(make(corrections=place)) as client:
        first, last = send(client, row=1), send(client, row=2)
        other = send(client, PHOTOS[1])
        assert client.get("/corrections").json() == {"photographs": 2}
        with ThreadPoolExecutor(3) as pool:
            several = list(pool.map(lambda photo: send(client, photo, 3), PHOTOS))
        fs.invalidate_cache()
        assert set(listed(fs.cat_file(f"{place}/MANIFEST.csv"))) == set(several)
        kept = {name.rpartition("/")[2] for name in fs.ls(place)}
        assert kept == {"MANIFEST.csv", first, last, other, *several}
        names = {name.rpartition("/")[2] for name in fs.ls(f"{place}/{first}")}
        assert names == {"photograph.jpg", "model.png", "corrected.png", "correction.json"}
        assert fs.cat_file(f"{place}/{first}/photograph.jpg") == PHOTOS[0]
        (tmp_path / "photo.jpg").write_bytes(PHOTOS[0])
        assert main(["delete", place, str(tmp_path / "photo.jpg")]) == 0
        assert "3 corrections deleted\n3 of 4 photographs are left" in capsys.readouterr().out
        fs.invalidate_cache()
        assert not [name for name in fs.ls(place) if HASHES[0] in name]


def test_what_a_killed_process_left_is_put_right_at_the_start(make: Make, tmp_path: Path) -> None:
    place = tmp_path / "place"
    with TestClient(make(corrections=place)) as client:
        kept = [send(client, photo) for photo in PHOTOS[:3]]
    manifest = (place / "MANIFEST.csv").read_bytes()
    # Killed before the row of the third was written, and while a fourth was on its way.
    (place / "MANIFEST.csv").write_bytes(b"".join(manifest.splitlines(keepends=True)[:3]))
    (place / ".publish-x").mkdir()
    (place / ".publish-x" / "photograph.jpg").write_bytes(PHOTOS[3])
    # By hand, a folder was removed.
    shutil.rmtree(place / kept[0])
    with TestClient(make(corrections=place)) as client:
        assert listed((place / "MANIFEST.csv").read_bytes()) == kept[1:]
        send(client, PHOTOS[3])
    assert not (place / ".publish-x").exists()


def test_a_correction_whose_folder_was_removed_by_hand_is_kept_anew(
    make: Make, tmp_path: Path
) -> None:
    place = tmp_path / "place"
    with TestClient(make(corrections=place)) as client:
        shutil.rmtree(place / send(client))
        again = send(client)
        assert listed((place / "MANIFEST.csv").read_bytes()) == [again]
        assert (place / again / "photograph.jpg").read_bytes() == PHOTOS[0]


def test_deleting_a_photograph_takes_all_its_corrections_and_their_rows(
    make: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "place"
    with TestClient(make(corrections=place)) as client:
        gone = [send(client, row=row) for row in range(2)]
        stays = send(client, PHOTOS[1])
        assert main(["delete", str(place), HASHES[0]]) == 0
        assert "2 corrections deleted\n1 of 2 photographs are left" in capsys.readouterr().out
        assert {path.name for path in place.iterdir()} == {stays, "MANIFEST.csv", ".lock"}
        assert listed((place / "MANIFEST.csv").read_bytes()) == [stays]
        assert main(["delete", str(place), HASHES[0]]) == 1
        assert send(client) not in gone


def test_a_place_that_is_misspelt_is_not_made_by_deleting(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["delete", str(tmp_path / "misspelt"), HASHES[0]]) == 2
    assert main(["delete", str(tmp_path), "no-such-file.jpg"]) == 2
    assert not (tmp_path / "misspelt").exists()


@pytest.mark.parametrize("content", ["dataset,id,image,mask\n", "not ours"])
def test_a_manifest_of_something_else_is_not_written_over(tmp_path: Path, content: str) -> None:
    (tmp_path / "MANIFEST.csv").write_text(content)
    with pytest.raises(ConfigError, match="not one that this service wrote"):
        Corrections(tmp_path).open()
    assert (tmp_path / "MANIFEST.csv").read_text() == content


def test_a_place_that_cannot_be_written_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot keep corrections"):
        Corrections(tmp_path / "file").open()
    with pytest.raises(ConfigError, match="cannot keep corrections"):
        Corrections("s3://no-such-bucket/x").open()


def test_only_its_owner_may_look_into_a_folder_that_is_made(tmp_path: Path) -> None:
    Corrections(tmp_path / "new").open()
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700
