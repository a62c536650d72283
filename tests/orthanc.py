"""A real PACS on this machine: Debian's Orthanc with its DICOMweb plug-in, on free ports."""

import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.service.process import free_port

_PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
_START_S = 60
_JSON = {"Accept": "application/dicom+json"}


@contextmanager
def serve_orthanc(folder: Path) -> Iterator["Orthanc"]:
    """An archive whose store is a folder; the test skips where Orthanc is not installed."""
    program = shutil.which("Orthanc", path="/usr/sbin:/usr/bin:/usr/local/bin")
    if program is None or not _PLUGIN.exists():
        pytest.skip("no Orthanc: apt-get install orthanc orthanc-dicomweb")
    port = free_port()
    config = folder / "orthanc.json"
    settings = {
        "Name": "tests",
        "StorageDirectory": str(folder / "store"),
        "IndexDirectory": str(folder / "store"),
        "HttpPort": port,
        "DicomServerEnabled": False,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "Plugins": [str(_PLUGIN)],
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
    }
    config.write_text(json.dumps(settings))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([program, str(config)], stdout=log, stderr=log)
    try:
        archive = Orthanc(f"http://127.0.0.1:{port}")
        deadline = time.monotonic() + _START_S
        while not archive.answers():
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < deadline, (folder / "log").read_text()
            time.sleep(0.1)
        yield archive
    finally:
        process.terminate()
        process.wait(_START_S)


class Orthanc:
    """A client of its DICOMweb services (PS3.18)."""

    def __init__(self, url: str) -> None:
        self._url = url

    def answers(self) -> bool:
        """Whether it has started."""
        try:
            return httpx2.get(f"{self._url}/system").status_code == 200
        except httpx2.TransportError:
            return False

    def store(self, data: bytes) -> None:
        """STOW-RS: give it an object, which it must take."""
        body = b"--x\r\nContent-Type: application/dicom\r\n\r\n" + data + b"\r\n--x--\r\n"
        response = httpx2.post(
            f"{self._url}/dicom-web/studies",
            content=body,
            headers={
                "Content-Type": 'multipart/related; type="application/dicom"; boundary=x',
                **_JSON,
            },
            timeout=60,
        )
        assert response.status_code == 200, response.text
        answer = response.json()
        assert not answer.get("00081198", {}).get("Value"), answer  # Failed SOP Sequence
        assert len(answer["00081199"]["Value"]) == 1  # Referenced SOP Sequence

    def retrieve(self, study: str, series: str, instance: str) -> bytes:
        """WADO-RS: an object in the encoding in which it was stored."""
        response = httpx2.get(
            f"{self._url}/dicom-web/studies/{study}/series/{series}/instances/{instance}",
            headers={"Accept": 'multipart/related; type="application/dicom"; transfer-syntax=*'},
            timeout=60,
        )
        assert response.status_code == 200, response.text
        boundary = response.headers["content-type"].partition("boundary=")[2].split(";")[0]
        part = response.content.split(b"--" + boundary.strip('"').encode())[1]
        return part.partition(b"\r\n\r\n")[2].removesuffix(b"\r\n")

    def find(self, study: str) -> list[dict[str, Any]]:
        """QIDO-RS: attributes of every object of a study, by tag."""
        response = httpx2.get(
            f"{self._url}/dicom-web/studies/{study}/instances",
            params={"includefield": "00080060,00100010,00080016,0020000E"},
            headers=_JSON,
            timeout=60,
        )
        assert response.status_code == 200, response.text
        found: list[dict[str, Any]] = response.json()
        return found
