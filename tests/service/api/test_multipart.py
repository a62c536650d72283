import contextlib
import os
import time
from base64 import b64encode
from urllib.parse import quote

import pytest

from service.api.multipart import MAX_PART_HEADER_BYTES, boundary_of, parse_form
from service.api.part_stream import PartStream
from service.contract.errors import InvalidRequestError, MalformedBodyError

TYPE = "multipart/form-data; boundary=xyz"
HEAD = b'--xyz\r\nContent-Disposition: form-data; name="a"\r\n\r\n'
END = b"\r\n--xyz--\r\n"


def parse(body: bytes) -> dict[str, list[bytes]]:
    return parse_form(body, TYPE, max_parts=3)


@pytest.mark.parametrize(
    ("body", "content"),
    [
        pytest.param(HEAD + b"1" + END, b"1", id="one byte"),
        pytest.param(HEAD + END, b"", id="no byte"),
        pytest.param(HEAD + b"\r\n" + END, b"\r\n", id="an empty line"),
        pytest.param(HEAD + b"--xyz" + END, b"--xyz", id="the boundary within a line"),
        pytest.param(HEAD + b"\r\n--xy" + END, b"\r\n--xy", id="nearly the boundary"),
        pytest.param(b"\r\n" + HEAD + b"1" + END, b"1", id="an empty line first"),
        pytest.param(b"preamble\r\n" + HEAD + b"1" + END, b"1", id="a preamble"),
        pytest.param(HEAD + b"1" + END + b"epilogue", b"1", id="an epilogue"),
        pytest.param(HEAD.replace(b"xyz", b"xyz \t") + b"1" + END, b"1", id="padding"),
        pytest.param(HEAD.replace(b"Content", b"A: b\r\nContent") + b"1" + END, b"1", id="headers"),
        pytest.param(HEAD.replace(b"Content-D", b"CONTENT-d") + b"1" + END, b"1", id="capitals"),
    ],
)
def test_a_part_is_cut_out_of_the_body(body: bytes, content: bytes) -> None:
    assert parse(body) == {"a": [content]}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        pytest.param(HEAD + b"1", "ends before its closing boundary", id="no end"),
        pytest.param(HEAD[:-4], "ends within the head", id="half a head"),
        pytest.param(HEAD + b"1\r\n--xyzzy--\r\n", "ends within the head", id="longer boundary"),
        pytest.param(
            HEAD + b"1\r\n--xyzzy\r\n\r\n", "stands within a line", id="longer boundary, and on"
        ),
        pytest.param(b"--xyz\r\n" + b"A: b\r\n" * 17 + b"\r\n", "16 headers", id="many headers"),
        pytest.param(
            b"--xyz\r\nA: " + b"b" * MAX_PART_HEADER_BYTES, "8192 bytes", id="endless header"
        ),
    ],
)
def test_what_is_no_form_is_refused(body: bytes, expected: str) -> None:
    with pytest.raises(MalformedBodyError, match=expected):
        parse(body)


def test_parts_are_counted() -> None:
    with pytest.raises(InvalidRequestError, match="more than 3 parts"):
        parse((HEAD + b"1\r\n") * 4 + END)


@pytest.mark.parametrize(
    "piece",
    [b"\r", b"\r\n", b"\r\n--", b"\r\n--xy", b"\r\n--xyz", b"-", HEAD + b"\r\n", b'";' * 500],
    ids=repr,
)
def test_no_megabyte_keeps_the_event_loop_busy(piece: bytes) -> None:
    noise = os.urandom(10) + piece * (5_000_000 // len(piece))
    started = time.thread_time()
    for body in (HEAD + noise + END, noise):
        with contextlib.suppress(MalformedBodyError, InvalidRequestError):
            parse(body)
    # A parser in Python takes seconds for some of these; on an idle machine this takes 0.02 s.
    assert time.thread_time() - started < 0.5


@pytest.mark.parametrize(
    "piece", [b'\\";', b";", b";a=b", b'";', b";a", b" ", b"; ", b';"a"', b"a"]
)
@pytest.mark.parametrize("start", [b'form-data; b="', b"form-data;"])
def test_five_hundred_hostile_heads_are_read_at_once(start: bytes, piece: bytes) -> None:
    head = b"--xyz\r\nContent-Disposition: " + start
    head += piece * ((MAX_PART_HEADER_BYTES - len(head) - 20) // len(piece))
    started = time.thread_time()
    with contextlib.suppress(MalformedBodyError, InvalidRequestError):
        parse_form((head + b'; name="a"\r\n\r\n1\r\n') * 500, TYPE, max_parts=520)
    for _ in range(500):
        with contextlib.suppress(MalformedBodyError):
            boundary_of((start + piece * 60).decode())
    assert time.thread_time() - started < 0.5


LONG = "皮膚鏡画像" * 51
"""255 characters of three bytes each."""
ESCAPED = quote(LONG)


@pytest.mark.parametrize(
    "disposition",
    [
        pytest.param(f'name="a"; filename="{LONG}"', id="as it is"),
        pytest.param(f'name="a"; filename="{ESCAPED}"', id="percent"),
        pytest.param(f"name=\"a\"; filename*=UTF-8''{ESCAPED}", id="RFC 5987"),
        pytest.param(f"name=a; filename=\"{ESCAPED}\"; filename*=utf-8''{ESCAPED}", id="both"),
        pytest.param(f"filename*=utf-8''{ESCAPED}; filename=\"{LONG}\"; name=a", id="name last"),
        pytest.param('name="a"; filename="%s"' % ('\\"' * 255), id="quotes, escaped"),
        pytest.param('filename="%s"; name="a"' % ("\\\\" * 255), id="backslashes, escaped"),
        pytest.param('name="a"; filename="%s"' % ("%22" * 255), id="quotes as browsers write them"),
        pytest.param('name="a"; filename="%s"' % ("&#128512;" * 255), id="entities"),
        pytest.param(
            f'name="a"; filename="=?utf-8?B?{b64encode(LONG.encode()).decode()}?="',
            id="encoded word",
        ),
        pytest.param(
            'name="a"'
            + "".join(f"; filename*{i}*={ESCAPED[i * 60 : i * 60 + 60]}" for i in range(39)),
            id="RFC 2231, in pieces",
        ),
        pytest.param(f'name="a";\r\n filename="{LONG}"', id="folded"),
        pytest.param('filename="x.png";\r\n\tname="a"', id="folded, name last"),
        pytest.param(r'filename="b\"; name=\"b"; name="a"', id="another name in the file's"),
        pytest.param(r'name="a"; filename="C:\dir\"', id="a backslash at the end"),
        pytest.param("name = a ;filename=x", id="spaces"),
        pytest.param("NAME=a", id="capitals"),
        pytest.param("x;; name=a", id="no parameter"),
    ],
)
def test_the_field_is_found_beside_a_file_name_of_any_form(disposition: str) -> None:
    head = f"Content-Disposition: form-data; {disposition}\r\nContent-Type: image/png".encode()
    body = b"--xyz\r\n" + head + b"\r\n\r\n1" + END
    assert parse(body) == {"a": [b"1"]}
    stream = PartStream(TYPE, field="a", max_bytes=10)
    assert [part for byte in body for part in stream.feed(bytes([byte]))] == [b"1"]


def test_a_file_name_in_latin_1_is_taken() -> None:
    assert parse(HEAD.replace(b'"a"', b'"a"; filename="l\xe4sion"') + b"1" + END) == {"a": [b"1"]}


@pytest.mark.parametrize(
    ("header", "boundary"),
    [
        ("multipart/form-data; boundary=xyz", b"xyz"),
        ('multipart/form-data; charset=utf-8; boundary="x y"', b"x y"),
        ("multipart/form-data;BOUNDARY=----x'()+_,-./:?", b"----x'()+_,-./:?"),
        ("multipart/form-data; boundary=a=b", b"a=b"),
    ],
)
def test_a_boundary_is_read_as_it_is_quoted(header: str, boundary: bytes) -> None:
    assert boundary_of(header) == boundary
