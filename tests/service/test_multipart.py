import contextlib
import os
import time

import pytest

from service.errors import InvalidRequestError, MalformedBodyError
from service.multipart import MAX_PART_HEADER_BYTES, parse_form

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
            b"--xyz\r\nA: " + b"b" * MAX_PART_HEADER_BYTES, "1024 bytes", id="endless header"
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


def test_five_hundred_hostile_heads_are_read_at_once() -> None:
    head = b'--xyz\r\nContent-Disposition: form-data; name="a"; b="'
    head += b'\\";' * ((MAX_PART_HEADER_BYTES - len(head) - 4) // 3)
    started = time.thread_time()
    with pytest.raises(MalformedBodyError):
        parse_form((head + b"\r\n\r\n1\r\n") * 500, TYPE, max_parts=520)
    assert time.thread_time() - started < 0.5
