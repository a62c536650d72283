"""Photographs that a device sends to a real Orthanc by C-STORE, answered there by `lesion pacs`."""

import io
import os
import random
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pydicom
import pytest

from tests.fixtures.dicom_files import dicom, dicom_jpeg
from tests.fixtures.orthanc import AET, Orthanc, serve_orthanc
from tests.fixtures.pictures import lesion
from tests.fixtures.service.process import REPOSITORY, free_port, service

pytestmark = pytest.mark.foreign

PHOTOGRAPHS = int(os.environ.get("LESION_TEST_PHOTOGRAPHS", "20"))
"""How many are sent; a long check sends 200."""
IN_STUDY = 4
PATIENCE_S = 300 + 6 * PHOTOGRAPHS


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Orthanc]:
    if shutil.which("storescu") is None:
        pytest.skip("no storescu: apt-get install dcmtk")
    with serve_orthanc(tmp_path) as archive:
        yield archive


@contextmanager
def following(archive: Orthanc, url: str, state: Path, log: Path, *options: str) -> Iterator[None]:
    """The command as a process, killed at the end."""
    command = [sys.executable, "-m", "service.cli.main", "pacs", "--every", "1", *options]
    command += ["--archive", f"{archive.url}/dicom-web", "--url", url, "--state", str(state)]
    with log.open("ab") as stderr:
        process = subprocess.Popen([*command, "--attempts", "1"], cwd=REPOSITORY, stderr=stderr)
    try:
        yield
        assert process.poll() is None, log.read_text()
    finally:
        process.kill()
        process.wait()


def write_photographs(folder: Path) -> list[str]:
    """Files of several to a study, uncompressed and JPEG; returns their SOP Instance UIDs."""
    folder.mkdir()
    instances = []
    for number in range(PHOTOGRAPHS):
        study, picture = 1 + number // IN_STUDY, lesion(60 + number % 7, 80)
        ids = {
            "StudyInstanceUID": f"1.2.3.{study}",
            "SeriesInstanceUID": f"1.2.3.{study}.1",
            "SOPInstanceUID": f"1.2.3.{study}.1.{number}",
        }
        data = dicom_jpeg(picture, "YBR_FULL_422", **ids) if number % 2 else dicom(picture, **ids)
        (folder / f"{number:04d}.dcm").write_bytes(data)
        instances.append(ids["SOPInstanceUID"])
    return instances


def send(archive: Orthanc, files: list[Path]) -> None:
    """As a device does; JPEG as it is."""
    for proposed in ("-xe", "-xy"):
        chosen = [str(file) for file in files if (int(file.stem) % 2 == 1) == (proposed == "-xy")]
        command = ["storescu", proposed, "-aec", AET, "127.0.0.1", str(archive.dicom_port)]
        if chosen:
            subprocess.run([*command, *chosen], check=True, capture_output=True)


def answers(archive: Orthanc) -> Counter[tuple[str, str]]:
    """How often each photograph is answered in each modality."""
    found: Counter[tuple[str, str]] = Counter()
    for data in archive.files():
        ds = pydicom.dcmread(io.BytesIO(data))
        if ds.Manufacturer == "lesion-segmentation":
            text = ds.to_json()
            sources = {word for word in text.split('"') if word.startswith("1.2.3.")}
            (instance,) = (word for word in sources if word.count(".") == 5)
            assert instance.startswith(ds.StudyInstanceUID)
            found[instance, ds.Modality] += 1
    return found


def wait_for(archive: Orthanc, count: int, log: Path) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while archive.count() < count:
        assert time.monotonic() < deadline, log.read_text()[-5_000:]
        time.sleep(0.2)


@pytest.mark.parametrize("feed", ["changes", "qido"])
def test_every_photograph_is_answered_once_while_everything_is_killed_and_started(
    archive: Orthanc, registry_root: Path, tmp_path: Path, feed: str
) -> None:
    instances = write_photographs(tmp_path / "photographs")
    files = sorted((tmp_path / "photographs").iterdir())
    state, log, port = tmp_path / "state.sqlite", tmp_path / "pacs.log", free_port()
    dice = random.Random(feed)
    batch = max(len(files) // 5, 1)
    url, options = f"http://127.0.0.1:{port}", ("--feed", feed)
    with ExitStack() as serving:
        for turn, at in enumerate(range(0, len(files), batch)):
            sent, before = files[at : at + batch], archive.count()
            with following(archive, url, state, log, *options):
                send(archive, sent)
                if turn % 2 == 0:  # photographs have arrived while it was away
                    serving.enter_context(service(port, registry_root, tmp_path / "service.log"))
                wait_for(archive, before + len(sent) + 1, log)
                time.sleep(dice.uniform(0, 1))
                if turn % 2 == 1:  # within its work, as the loop is a moment later
                    serving.close()
                    time.sleep(dice.uniform(0, 1))
            if turn == 2:
                state.unlink()
        serving.close()
        with (
            service(port, registry_root, tmp_path / "service.log"),
            following(archive, url, state, log, *options),
        ):
            wait_for(archive, 4 * len(files), log)
            time.sleep(3)  # would anything more come?
    assert archive.count() == 4 * len(files)
    expected = {(instance, kind): 1 for instance in instances for kind in ("SEG", "OT", "SR")}
    assert dict(answers(archive)) == expected
    assert "1.2.3." not in log.read_text()
