"""No text of a DICOM file in a log or an error: marks are planted in all elements with text."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from pydicom import uid
from pydicom._dicom_dict import DicomDictionary
from pydicom.datadict import dictionary_keyword
from pydicom.dataset import Dataset

from tests.fixtures.dicom_files import dicom, dicom_around, dicom_jpeg
from tests.fixtures.pictures import lesion
from tests.fixtures.service.process import free_port, service

MARK = b"QUILLFEATHER"
PICTURE = lesion(48, 64)
_TEXTS = {"PN", "LO", "SH", "ST", "LT", "UT", "UC"}


def marked_elements() -> dict[str, Any]:
    """The mark in some hundred text elements of the first groups, private and nested ones too."""
    mark = MARK.decode()
    elements: dict[str, Any] = {
        dictionary_keyword(tag): mark
        for tag, (vr, multiplicity, *_) in DicomDictionary.items()
        if tag >> 16 in (0x0008, 0x0010, 0x0018, 0x0020, 0x0040) and vr in _TEXTS
        and multiplicity == "1" and dictionary_keyword(tag)
    }  # fmt: skip
    nested = Dataset()
    nested.PatientName = nested.LongCodeValue = mark
    return elements | {"OtherPatientIDsSequence": [nested]}


def files() -> Iterator[bytes]:
    """Good files and bad ones, each with the mark all over."""
    marked = marked_elements()
    good = dicom(PICTURE, **marked)
    assert good.count(MARK) > 100
    yield good
    yield dicom_jpeg(PICTURE, "YBR_FULL_422", **marked)
    yield dicom(PICTURE, uid.JPEG2000Lossless, **marked)
    for end in range(200, len(good), len(good) // 8):
        yield good[:end]
    yield dicom_around(MARK * 20, PICTURE, uid.JPEG2000Lossless, **marked)
    yield dicom_around(MARK * 20, PICTURE, uid.JPEGBaseline8Bit, **marked)
    yield dicom_around(b"\xff\xd8\xff\xfe\0\x0e" + MARK * 9, PICTURE, uid.JPEGLSLossless, **marked)
    yield dicom_around(MARK * 20, PICTURE, uid.RLELossless, **marked)
    yield dicom_around(MARK * 20, PICTURE, uid.JPEGLosslessSV1, **marked)
    # Values that break the rules of their types, which a reader may quote in a warning.
    for was, becomes in (
        (b"1.2.840.10008.1.2.1\0", MARK),
        (b"1.2.840.10008.5.1.4.1.1.77.1.4", MARK),
        (b"1.2.826.0.1.3680043.8.498.1", MARK),
        (b"1.2.826.0.1.3680043.8.498.2", b"1..2.03"),
        (b"1.2.826.0.1.3680043.8.498.3", MARK),
        (b"19700101", MARK[:8]),
        (b"20260102", MARK[:8]),
        (b"101112", MARK[:6]),
        (b"RGB ", MARK[:4]),
        (b"CS\x02\0O ", b"CS\x02\0" + MARK[:2]),
    ):
        assert was in good, was
        yield good.replace(was, becomes.ljust(len(was), b"\0"))
    yield dicom(PICTURE, SpecificCharacterSet="ISO_IR 192", **marked).replace(
        b"ISO_IR 192", MARK[:10]
    )
    yield dicom(PICTURE, PixelSpacing=[0.25, 0.25], **marked).replace(b"0.25\\0.25 ", MARK[:10])


@pytest.mark.slow  # a real process, and some eighty requests that load highdicom
def test_planted_texts_are_in_no_log_and_in_no_error(registry_root: Path, tmp_path: Path) -> None:
    port, log, audit = free_port(), tmp_path / "log", tmp_path / "audit"
    settings = {"LESION_LOG_LEVEL": "DEBUG", "LESION_AUDIT_LOG": str(audit)}
    statuses: dict[str, set[int]] = {}
    with (
        service(port, registry_root, log, settings),
        httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client,
    ):
        for data in files():
            for form in ("rle", "dicom-seg", "dicom-sc", "dicom-sr"):
                response = client.post(
                    f"/segment?format={form}",
                    content=data,
                    headers={"Content-Type": "application/dicom"},
                )
                statuses.setdefault(form, set()).add(response.status_code)
                copied = response.headers["content-type"] == "application/dicom"
                # The patient's name belongs into the object of the patient, and nowhere else.
                assert copied or MARK[:6] not in response.content.upper()
                assert MARK[:6] not in str(response.headers).upper().encode()
    assert all(found == {200, 415, 422} for found in statuses.values()), statuses
    said = log.read_bytes() + audit.read_bytes()
    assert said.count(b"\n") > 80
    assert MARK[:6] not in said.upper()
    assert b"1..2.03" not in said
    assert b"Traceback" not in said
