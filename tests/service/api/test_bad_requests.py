"""Whatever is sent, the answer is the right problem, and the next good request is served."""

import gzip
import json
from collections.abc import Iterator
from typing import Any

import pytest
from PIL import Image
from starlette.testclient import TestClient

from tests.fixtures.pictures import encode
from tests.fixtures.service.bad_files import BAD_FILES, JPEG, PNG, png_header
from tests.fixtures.service.problems import assert_problem
from tests.service.conftest import MAX_BODY_BYTES, MAX_PAIRS

FORM = {"Content-Type": "multipart/form-data; boundary=x"}
END = b"--x--\r\n"
TRUTH = encode(Image.new("1", (80, 60)))


def part(name: bytes, content: bytes = JPEG) -> bytes:
    head = b'--x\r\nContent-Disposition: form-data; name="' + name + b'"; filename="f"\r\n\r\n'
    return head + content + b"\r\n"


def rle(size: object, counts: object) -> bytes:
    return json.dumps({"size": size, "counts": counts}).encode()


@pytest.fixture(autouse=True)
def _still_serves(client: TestClient) -> Iterator[None]:
    """After every bad request of this file, a good one is answered."""
    yield
    response = client.post("/segment", files={"image": PNG})
    assert response.status_code == 200
    assert response.headers["content-type"] == "image/png"


@pytest.mark.parametrize("name", BAD_FILES)
@pytest.mark.parametrize("as_form", [True, False], ids=["form", "raw"])
def test_a_file_that_is_no_photograph(client: TestClient, name: str, as_form: bool) -> None:
    data, status, slug = BAD_FILES[name]
    if as_form:
        response = client.post("/segment", files={"image": ("lesion.jpg", data, "image/jpeg")})
    else:
        response = client.post("/segment", content=data, headers={"Content-Type": "image/jpeg"})
    assert_problem(response, status, slug)


@pytest.mark.parametrize(
    ("body", "status", "slug"),
    [
        pytest.param(b"", 400, "malformed-body", id="empty body"),
        pytest.param(b"no multipart at all", 400, "malformed-body", id="no boundary in it"),
        pytest.param(part(b"image"), 400, "malformed-body", id="no closing boundary"),
        pytest.param(part(b"image")[:200], 400, "malformed-body", id="ends within a part"),
        pytest.param(b"--x\r\n\r\nabc\r\n" + END, 400, "malformed-body", id="part has no name"),
        pytest.param(b"--x\r\nA: " + b"a" * 9_000, 400, "malformed-body", id="endless header"),
        pytest.param(END, 422, "invalid-request", id="no part"),
        pytest.param(part(b"photo") + END, 422, "invalid-request", id="wrong field"),
        pytest.param(part(b"\xff\xfe") + END, 422, "invalid-request", id="field is not UTF-8"),
        pytest.param(part(b"image") * 2 + END, 422, "invalid-request", id="two images"),
        pytest.param(
            part(b"image") + part(b"mask") + END, 422, "invalid-request", id="extra field"
        ),
        pytest.param(part(b"a", b"") * 99 + END, 422, "invalid-request", id="99 parts"),
    ],
)
def test_a_form_that_cannot_be_used(
    client: TestClient, body: bytes, status: int, slug: str
) -> None:
    assert_problem(client.post("/segment", content=body, headers=FORM), status, slug)


@pytest.mark.parametrize("path", ["/segment", "/evaluate"])
@pytest.mark.parametrize(
    ("content_type", "status", "slug"),
    [
        ("multipart/form-data", 400, "malformed-body"),
        ("multipart/form-data; boundary=", 400, "malformed-body"),
        ("multipart/form-data; boundary=" + "x" * 300, 400, "malformed-body"),
        ("application/json", 415, "unsupported-media-type"),
        ("application/x-www-form-urlencoded", 415, "unsupported-media-type"),
        ("text/plain", 415, "unsupported-media-type"),
    ],
)
def test_a_content_type_that_cannot_be_used(
    client: TestClient, path: str, content_type: str, status: int, slug: str
) -> None:
    response = client.post(
        path, content=part(b"image") + END, headers={"Content-Type": content_type}
    )
    assert_problem(response, status, slug)


@pytest.mark.parametrize("path", ["/segment", "/evaluate", "/segment/batch"])
@pytest.mark.parametrize("coding", ["gzip", "br", "gzip, identity", "x"])
def test_a_body_that_is_packed_for_the_way_is_refused(
    client: TestClient, path: str, coding: str
) -> None:
    headers = FORM | {"Content-Encoding": coding}
    response = client.post(path, content=gzip.compress(part(b"image") + END), headers=headers)
    problem = assert_problem(response, 415, "unsupported-media-type")
    assert response.headers["accept-encoding"] == "identity"
    assert "send the file as it is" in (problem.detail or "")


def test_a_coding_that_changes_nothing_is_taken(client: TestClient) -> None:
    headers = {"Content-Type": "image/png", "Content-Encoding": "identity"}
    assert client.post("/segment", content=PNG, headers=headers).status_code == 200


def test_the_wrong_field_is_named(client: TestClient) -> None:
    response = client.post("/segment", files={"photo": JPEG})
    problem = assert_problem(response, 422, "invalid-request")
    (fault,) = problem.errors or []
    assert (fault.place, fault.field) == ("body", "(unknown)")
    assert "expected image" in fault.detail


@pytest.mark.parametrize("path", ["/segment", "/evaluate"])
@pytest.mark.parametrize("announced", [True, False], ids=["announced", "only counted"])
def test_a_body_over_the_limit_is_not_read_to_its_end(
    client: TestClient, path: str, announced: bool
) -> None:
    sent = 0

    def chunks() -> Iterator[bytes]:
        nonlocal sent
        yield part(b"image", b"\0" * 1_000)[:-2]
        while sent < 4 * MAX_BODY_BYTES:
            sent += 1_000_000
            yield b"\0" * 1_000_000

    headers = FORM | ({"Content-Length": str(5 * MAX_BODY_BYTES)} if announced else {})
    response = client.post(path, content=chunks(), headers=headers)
    problem = assert_problem(response, 413, "body-too-large")
    assert str(MAX_BODY_BYTES) in (problem.detail or "")


@pytest.mark.parametrize(
    ("query", "status", "slug", "field"),
    [
        pytest.param("threshold=0", 422, "invalid-request", "threshold", id="threshold 0"),
        pytest.param("threshold=1", 422, "invalid-request", "threshold", id="threshold 1"),
        pytest.param("threshold=nan", 422, "invalid-request", "threshold", id="threshold NaN"),
        pytest.param("threshold=0_5", 422, "invalid-request", "threshold", id="threshold 0_5"),
        pytest.param(
            "format=polygon&tolerance_px=1_0", 422, "invalid-request", "tolerance_px", id="1_0 px"
        ),
        pytest.param("threshold=half", 422, "invalid-request", "threshold", id="threshold word"),
        pytest.param("threshold=", 422, "invalid-request", "threshold", id="threshold empty"),
        pytest.param("format=jpeg", 422, "invalid-request", "format", id="unknown format"),
        pytest.param("thresold=0.4", 422, "invalid-request", "thresold", id="misspelt"),
        pytest.param("model=", 422, "invalid-request", "model", id="empty model"),
        pytest.param("model=" + "9" * 999, 422, "invalid-request", "model", id="long model"),
        pytest.param("model=../../etc/passwd", 422, "invalid-request", None, id="climbing model"),
        pytest.param("model=..%2F..@1.0.0", 422, "invalid-request", None, id="climbing name"),
        pytest.param("model=%00", 422, "invalid-request", None, id="NUL model"),
        pytest.param("model=@", 422, "invalid-request", None, id="nothing but an at sign"),
        pytest.param("model=9.9.9", 404, "version-not-found", None, id="unknown version"),
        pytest.param("model=staging", 404, "version-not-found", None, id="unknown alias"),
        pytest.param("model=other@1.0.0", 404, "version-not-found", None, id="unknown name"),
    ],
)
def test_a_query_that_cannot_be_served(
    client: TestClient, query: str, status: int, slug: str, field: str | None
) -> None:
    response = client.post(f"/segment?{query}", files={"image": JPEG})
    problem = assert_problem(response, status, slug)
    assert [fault.field for fault in problem.errors or []] == ([field] if field else [])


@pytest.mark.parametrize(
    ("path", "name", "expected"),
    [
        ("/segment", "treshold", "did you mean threshold?"),
        ("/segment", "Threshold", "did you mean threshold?"),
        ("/segment", "spacing", "did you mean spacing_mm?"),
        ("/segment/batch", "measurement", "did you mean measurements?"),
        ("/evaluate", "modell", "did you mean model?"),
        ("/evaluate", "bits", "expected format, margin, model, spacing_mm, threshold"),
        ("/evaluate", "Jane-Doe-1970", "expected format, margin, model, spacing_mm, threshold"),
    ],
)
def test_an_unknown_parameter_is_answered_with_the_nearest_of_the_route(
    client: TestClient, path: str, name: str, expected: str
) -> None:
    response = client.post(f"{path}?{name}=0.4", files={"image": JPEG})
    problem = assert_problem(response, 422, "invalid-request")
    (fault,) = problem.errors or []
    assert (fault.place, fault.detail) == ("query", f"no such parameter, {expected}")


Fields = list[tuple[str, Any]]


@pytest.mark.parametrize(
    ("fields", "query", "status", "slug"),
    [
        pytest.param([("truth", TRUTH)], "", 422, "invalid-request", id="truth alone"),
        pytest.param([("image", JPEG)], "", 422, "invalid-request", id="image alone"),
        pytest.param([("pred", TRUTH)], "", 422, "invalid-request", id="pred alone"),
        pytest.param(
            [("image", JPEG), ("pred", TRUTH), ("truth", TRUTH)],
            "",
            422,
            "invalid-request",
            id="image and pred",
        ),
        pytest.param(
            [("pred", TRUTH), ("pred", TRUTH), ("truth", TRUTH)],
            "",
            422,
            "invalid-request",
            id="unequal counts",
        ),
        pytest.param(
            [("pred", TRUTH), ("truth", TRUTH), ("mask", TRUTH)],
            "",
            422,
            "invalid-request",
            id="unknown field",
        ),
        pytest.param(
            [("pred", TRUTH), ("truth", TRUTH)] * (MAX_PAIRS + 1),
            "",
            422,
            "invalid-request",
            id="too many pairs",
        ),
        pytest.param(
            [("pred", TRUTH), ("truth", TRUTH)] * 50, "", 422, "invalid-request", id="100 parts"
        ),
        pytest.param(
            [("pred", TRUTH), ("truth", TRUTH)] * 2,
            "?format=png",
            422,
            "invalid-request",
            id="picture of two pairs",
        ),
        pytest.param(
            [("pred", TRUTH), ("truth", TRUTH)],
            "?threshold=0.3",
            422,
            "invalid-request",
            id="threshold for masks",
        ),
        pytest.param(
            [("pred", TRUTH), ("truth", TRUTH)],
            "?model=1.0.0",
            422,
            "invalid-request",
            id="model for masks",
        ),
        pytest.param(
            [("image", JPEG), ("truth", TRUTH)],
            "?model=9.9.9",
            404,
            "version-not-found",
            id="unknown version",
        ),
        pytest.param(
            [("image", BAD_FILES["GIF"][0]), ("truth", TRUTH)],
            "",
            415,
            "unsupported-image",
            id="GIF to segment",
        ),
        pytest.param(
            [("image", JPEG), ("truth", encode(Image.new("1", (60, 80))))],
            "",
            422,
            "shape-mismatch",
            id="truth of a turned photograph",
        ),
    ],
)
def test_an_evaluation_that_cannot_be_made(
    client: TestClient, fields: Fields, query: str, status: int, slug: str
) -> None:
    assert_problem(client.post(f"/evaluate{query}", files=fields), status, slug)


HOSTILE_MASKS = {
    "empty": (b"", 422, "unreadable-image"),
    "JPEG": (JPEG, 415, "unsupported-image"),
    "text": (b"a mask", 415, "unsupported-image"),
    "truncated PNG": (TRUTH[:45], 422, "unreadable-image"),
    "PNG of 15000x15000": (png_header(15_000, 15_000), 413, "image-too-large"),
    "grey values": (encode(Image.linear_gradient("L")), 422, "invalid-mask"),
    "colours": (PNG, 422, "invalid-mask"),
    "other size": (encode(Image.new("1", (60, 80))), 422, "shape-mismatch"),
    "broken JSON": (b'{"size": [60, 80], "counts": ', 422, "invalid-rle"),
    "JSON of bad bytes": (b'{"size": \xff\xfe}', 422, "invalid-rle"),
    "deep JSON": (b"[" * 200_000, 422, "invalid-rle"),
    "JSON list": (b"[1, 2, 3]", 422, "invalid-rle"),
    "JSON without counts": (b'{"size": [60, 80]}', 422, "invalid-rle"),
    "number of 5000 digits": (b'{"size": [60, ' + b"9" * 5_000 + b"]}", 422, "invalid-rle"),
    "annotation without a mask": (b'{"segmentation": null}', 422, "invalid-rle"),
    "polygon": (b'{"segmentation": [[0, 0, 1, 1]]}', 422, "invalid-rle"),
    "size of words": (rle(["60", "80"], [4800]), 422, "invalid-rle"),
    "negative size": (rle([-60, -80], [4800]), 422, "invalid-rle"),
    "huge size": (rle([2**31, 2**31], [2**62]), 413, "image-too-large"),
    "negative run": (rle([60, 80], [4801, -1]), 422, "invalid-rle"),
    "runs too short": (rle([60, 80], [4799]), 422, "invalid-rle"),
    "runs too long": (rle([60, 80], [4801]), 422, "invalid-rle"),
    "runs of 64 bits": (rle([60, 80], [2**64, 4800]), 422, "invalid-rle"),
    "compressed overflow": (rle([60, 80], "o" * 200 + "0"), 422, "invalid-rle"),
    "compressed noise": (rle([60, 80], "\ud800\x00~~~"), 422, "invalid-rle"),
}


@pytest.mark.parametrize("name", HOSTILE_MASKS)
@pytest.mark.parametrize("field", ["truth", "pred"])
def test_a_mask_that_cannot_be_used(client: TestClient, name: str, field: str) -> None:
    data, status, slug = HOSTILE_MASKS[name]
    masks = {"truth": TRUTH, "pred": TRUTH} | {field: data}
    fields = [
        (name, mask)
        for pair in ({"truth": TRUTH, "pred": TRUTH}, masks)
        for name, mask in pair.items()
    ]
    problem = assert_problem(client.post("/evaluate", files=fields), status, slug)
    assert (problem.detail or "").startswith("pair 1: ")


def test_the_detail_names_the_pair_and_the_mask(client: TestClient) -> None:
    fields = [("truth", TRUTH), ("pred", rle([60, 80], [1]))]
    problem = assert_problem(client.post("/evaluate", files=fields), 422, "invalid-rle")
    assert problem.detail == "pair 0: pred: counts add up to 1 pixels, size says 4800"
