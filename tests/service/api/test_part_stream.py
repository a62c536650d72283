import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.api.multipart import parse_form
from service.api.part_stream import Content, PartStream
from service.contract.errors import BodyTooLargeError, InvalidRequestError, MalformedBodyError

TYPE = "multipart/form-data; boundary=xyz"


def form(*contents: bytes, name: str = "images") -> bytes:
    head = f'Content-Disposition: form-data; name="{name}"; filename="a.jpg"'.encode()
    parts = (b"--xyz\r\n" + head + b"\r\n\r\n" + content + b"\r\n" for content in contents)
    return b"".join(parts) + b"--xyz--\r\n"


def parts_of(body: bytes, step: int, max_bytes: int = 10_000) -> list[Content]:
    stream = PartStream(TYPE, field="images", max_bytes=max_bytes)
    found = [
        part
        for start in range(0, len(body), step)
        for part in stream.feed(body[start : start + step])
    ]
    stream.close()
    return found


@given(
    contents=st.lists(st.binary(max_size=60) | st.sampled_from([b"\r\n--xy", b"--xyz--"])),
    step=st.integers(1, 200),
    preamble=st.sampled_from([b"", b"to be ignored\r\n"]),
)
def test_whatever_the_pieces_the_parts_are_those_of_the_whole_form(
    contents: list[bytes], step: int, preamble: bytes
) -> None:
    body = preamble + form(*contents)
    assert parts_of(body, step) == parse_form(body, TYPE, max_parts=1_000).get("images", [])


@pytest.mark.parametrize("step", [1, 7, 50, 5_000])
def test_a_part_that_is_too_large_harms_no_other(step: int) -> None:
    small, large, other = parts_of(form(b"small", b"x" * 2_000, b"other"), step, max_bytes=100)
    assert (small, other) == (b"small", b"other")
    assert isinstance(large, BodyTooLargeError)


def test_of_a_part_that_is_too_large_nothing_is_kept() -> None:
    stream = PartStream(TYPE, field="images", max_bytes=1_000)
    assert not list(stream.feed(form(b"")[:-9] + b"x" * 50_000))
    assert not list(stream.feed(b"x" * 50_000))
    assert len(stream._buffer) < 2_000


def test_a_part_with_another_name_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match="no such field, expected images"):
        parts_of(form(b"a", name="image"), 20)


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        pytest.param(form(b"a")[:-20], "ends before its closing boundary", id="cut off"),
        pytest.param(b"", "ends before its closing boundary", id="empty"),
        pytest.param(b"no form" * 500, "does not have the boundary", id="no form"),
        pytest.param(b"--xyz\r\n" + b"A: b\r\n" * 2_000, "head of a part", id="endless head"),
        pytest.param(b"--xyz\r\n\r\nx\r\n--xyz--", "no field name", id="no name"),
    ],
)
@pytest.mark.parametrize("step", [1, 100, 10_000])
def test_what_is_no_form_is_refused(body: bytes, detail: str, step: int) -> None:
    with pytest.raises(MalformedBodyError, match=detail):
        parts_of(body, step)
