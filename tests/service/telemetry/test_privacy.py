"""Nothing that could name a patient leaves a request: planted marks are looked for everywhere."""

import base64
import io
import json
import struct
import zlib
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import httpx2
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from pydicom.config import disable_value_validation

from service.contract.quoting import FIELDS, known_field, known_media_type
from tests.fixtures.dicom_files import dicom as dicom_file
from tests.fixtures.pictures import encode, lesion
from tests.fixtures.service.process import free_port, service
from tests.service.access.test_auth import Keys

MARK = "Zuzanna-Kowalska-1970"
"""Stands for what names a person. It is looked for in any case, as Base64 and hexadecimal too."""

FORM = "multipart/form-data; boundary=x"


def jpeg() -> bytes:
    tags = Image.Exif()
    for tag in (0x010E, 0x013B, 0x8298, 0x9C9C - 0x0001):  # description, artist, copyright, author
        tags[tag] = MARK
    tags.get_ifd(0x8769)[0x9286] = b"ASCII\0\0\0" + MARK.encode()  # user comment
    return encode(lesion(60, 80), "JPEG", exif=tags, comment=MARK.encode())


def png() -> bytes:
    texts = PngInfo()
    texts.add_text("Patient", MARK)
    texts.add_itxt(MARK, MARK)
    return encode(lesion(60, 80), pnginfo=texts)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def dicom(**elements: Any) -> bytes:
    with disable_value_validation():
        return dicom_file(lesion(60, 80), PatientName=MARK, PatientID=MARK, **elements)


# Values that their element may not have: what reads them warns, and quotes them.
BAD_ELEMENTS = ("StudyDate", "StudyInstanceUID", "PatientAge", "PhotometricInterpretation")


def hostile_files() -> list[bytes]:
    """Files that end in an error, each at another place."""
    mark = MARK.encode()
    broken = png()
    return [
        mark,
        b"\xff\xd8\xff\xfe" + struct.pack(">H", len(mark) + 2) + mark,
        jpeg()[:400],
        broken[:200],
        broken[:8] + chunk(b"IHDR", b"\0\0\0\x08\0\0\0\x08\x08\x02\0\0\0") + chunk(b"tEXt", mark)
        + chunk(mark[:4], mark),
        encode(lesion(20, 30), "GIF", comment=mark),
        encode(lesion(20, 30), "TIFF", description=MARK)[:-40],
        b"\0" * 128 + b"DICM" + struct.pack("<HH2sH", 16, 16, b"PN", len(mark)) + mark,
        dicom()[:-400],
        *(dicom(**{name: MARK}) for name in BAD_ELEMENTS),
        dicom().replace(b"ISO_IR 192", MARK[:10].encode()),
        b"%PDF-1.7 " + mark,
    ]  # fmt: skip


def hostile_masks() -> list[bytes]:
    return [
        MARK.encode(),
        json.dumps({MARK: MARK}).encode(),
        json.dumps({"size": [MARK, 80], "counts": [4800]}).encode(),
        json.dumps({"size": [60, 80], "counts": MARK}).encode(),
        json.dumps({"size": [60, 80], "counts": [MARK, {MARK: [MARK]}]}).encode(),
        json.dumps({"size": [60, 80], "counts": {MARK: MARK}}).encode(),
        json.dumps({"segmentation": MARK}).encode(),
        b'{"size": ' + MARK.encode(),
        png(),
        jpeg(),
    ]


def part(name: str, content: bytes, *, file: str = MARK, more: str = "") -> bytes:
    head = f'--x\r\nContent-Disposition: form-data; name="{name}"; filename="{file}.jpg"\r\n'
    return head.encode() + f"X-Patient: {MARK}\r\n{more}\r\n".encode() + content + b"\r\n"


END = b"--x--\r\n"
HEADERS = {
    "User-Agent": MARK,
    "Referer": f"https://example.org/{MARK}",
    "Cookie": f"patient={MARK}",
    "X-Patient-Name": MARK,
    "X-Request-Id": f"{MARK} again",
    "traceparent": MARK,
    "X-Forwarded-For": MARK,
    "Origin": f"https://{MARK}.example.org",
}


def requests() -> Iterator[tuple[str, str, dict[str, str], bytes]]:
    """Method, target, headers and body; good requests and bad ones, each with marks all over."""
    form, raw = {"Content-Type": FORM}, {"Content-Type": "image/jpeg"}
    for photo in (jpeg(), png(), dicom()):
        yield "POST", "/segment?format=rle", form, part("image", photo) + END
        yield "POST", "/segment", raw, photo
    mask = encode(Image.new("1", (80, 60)))
    yield "POST", "/evaluate", form, part("image", jpeg()) + part("truth", mask) + END
    who = b'--x\r\nContent-Disposition: form-data; name="annotator"\r\n\r\n'
    # As many as the stride of the quick test, so that it goes on where it went before.
    for name, data in (("a", mask), (MARK + "!", mask), ("a", MARK.encode()), ("a", b"{")):
        body = part("image", jpeg()) + part("mask", data) + who + name.encode() + b"\r\n" + END
        yield "POST", "/corrections", form, body
    for answer in ("ndjson", "zip"):
        several = [part("images", data) for data in (jpeg(), MARK.encode(), dicom(), png())]
        yield "POST", f"/segment/batch?format={answer}", form, b"".join(several) + END
    for data in hostile_files():
        yield "POST", "/segment", form, part("image", data) + END
        yield "POST", "/segment", raw, data
    for data in hostile_masks():
        yield "POST", "/evaluate", form, part("pred", mask) + part("truth", data) + END
    for name in (MARK, f"image{MARK}", MARK.lower(), f"{MARK}-image"):
        yield "POST", "/segment", form, part(name, jpeg()) + END
        yield "POST", "/evaluate", form, part(name, jpeg()) + END
        yield "POST", f"/segment?{name}=1", raw, jpeg()
    yield "POST", "/segment", form, part("image", jpeg())
    yield "POST", "/segment", form, b"--x\r\n" + MARK.encode() + b"\r\n\r\n" + END
    yield "POST", "/segment", form, MARK.encode()
    for declared in (f"text/{MARK}", MARK, f"multipart/form-data; name={MARK}",
                     f"multipart/form-data; boundary={MARK}", f"image/{MARK}"):  # fmt: skip
        yield "POST", "/segment", {"Content-Type": declared}, part("image", jpeg()) + END
        yield "POST", "/evaluate", {"Content-Type": declared}, MARK.encode()
    for accept in (MARK, f"text/{MARK}", f"image/png;q={MARK}"):
        yield "POST", "/segment", {**raw, "Accept": accept}, jpeg()
    for name in (*sorted(FIELDS), "include", "bits", "tolerance_px"):
        for value in (MARK, MARK.lower(), f"{MARK}@1.0.0", f"..%2F{MARK}"):
            yield "POST", f"/segment?{name}={value}", raw, jpeg()
            yield "POST", f"/evaluate?{name}={value}", form, part("truth", mask) + END
    for path in (f"/{MARK}", f"/models/{MARK}", f"/models/{MARK.lower()}", f"/docs/{MARK}",
                 f"/problems/{MARK}", f"/segment/{MARK}", f"/models?{MARK}"):  # fmt: skip
        yield "GET", path, {}, b""
        yield "DELETE", path, {}, b""
    for key in (MARK, "lsk_" + MARK * 2):
        yield "POST", "/segment", {**raw, "X-API-Key": key}, jpeg()
        yield "POST", "/segment", {**raw, "Authorization": f"Bearer {key}"}, jpeg()
        yield "POST", "/segment", {**raw, "Authorization": f"{key} x"}, jpeg()


def found_in(text: str) -> list[str]:
    disguises = (MARK, MARK.encode().hex(), base64.b64encode(MARK.encode()).decode())
    return [mark for mark in disguises if mark.lower() in text.lower()]


@pytest.mark.parametrize(
    ("log_format", "stride"),
    [
        ("text", 4),
        pytest.param("text", 1, marks=pytest.mark.slow),
        pytest.param("json", 1, marks=pytest.mark.slow),
    ],
)
def test_planted_marks_are_found_nowhere(
    registry_root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    log_format: str,
    stride: int,
) -> None:
    port, log, audit, keys = free_port(), tmp_path / "log", tmp_path / "audit", None
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setenv("TMPDIR", str(scratch))
    settings = {"LESION_LOG_LEVEL": "DEBUG", "LESION_LOG_FORMAT": log_format}
    settings["LESION_AUDIT_LOG"] = str(audit)
    settings["LESION_CORRECTIONS"] = str(tmp_path / "corrections")
    authorization: dict[str, str] = {}
    if log_format == "json":
        settings["LESION_DECODE_PROCESSES"] = "1"
    if log_format == "text":  # once with keys, once without
        keys = Keys(tmp_path / "keys.json")
        settings["LESION_API_KEYS_FILE"] = str(keys.path)
        authorization = keys.bearer("all")
    statuses = set()
    with service(port, registry_root, log, settings):
        base = f"http://127.0.0.1:{port}"
        with httpx2.Client(base_url=base, timeout=30) as client:
            for method, target, headers, body in islice(requests(), 0, None, stride):
                sent = HEADERS | authorization | headers
                response = client.request(method, target, headers=sent, content=body)
                statuses.add(response.status_code)
                assert response.status_code < 500, (method, target, response.text)
                assert found_in(str(response.headers) + response.text) == [], (target, body[:80])
            metrics = client.get("/metrics", headers=authorization).text
        left = {str(path): path.read_bytes() for path in scratch.rglob("*") if path.is_file()}
    assert {200, 400, 404, 405, 406, 415, 422} <= statuses
    assert (401 in statuses) == bool(keys)
    texts = {"log": log.read_text(), "audit": audit.read_text(), "metrics": metrics}
    texts |= {path: data.decode("latin-1") for path, data in left.items()}
    assert texts["audit"].count("\n") > 100 / stride
    assert "level" in texts["log"]
    assert {where: found_in(text) for where, text in texts.items() if found_in(text)} == {}


def test_the_marks_are_really_planted() -> None:
    with Image.open(io.BytesIO(jpeg())) as photo:
        assert MARK in str(dict(photo.getexif()))
    assert MARK.encode() in png()
    assert sum(MARK.lower().encode() in (t + str(h)).encode().lower() + b.lower()
               for _, t, h, b in requests()) > 100  # fmt: skip


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("image", "image"),
        ("imgae", "imgae"),
        ("images", "images"),
        ("spacing", "(unknown)"),
        ("photo", "(unknown)"),
        ("image Jane", "(unknown)"),
        ("x" * 10_000, "(unknown)"),
        ("", "(unknown)"),
    ],
)
def test_a_field_is_named_where_its_name_is_nearly_one_of_ours(name: str, shown: str) -> None:
    assert known_field(name) == shown


def test_a_media_type_is_named_where_the_world_knows_it() -> None:
    assert known_media_type("image/gif") == "'image/gif'"
    assert known_media_type("image/jane") == "of a type that is not known"
