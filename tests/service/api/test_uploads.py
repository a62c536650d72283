import asyncio
import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import FastAPI
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.requests import Request
from starlette.testclient import TestClient
from starlette.types import Message

from model_core.errors import InputError
from service.api.multipart import Form
from service.api.uploads import read_form

_written: list[Any] = []
_watching = False


def _record_writes(event: str, arguments: tuple[Any, ...]) -> None:
    if _watching and event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR):
        _written.append(arguments[0])


sys.addaudithook(_record_writes)  # Python has no way to take one off again


@contextlib.contextmanager
def watched() -> Iterator[list[Any]]:
    """Whatever the process opens for writing meanwhile."""
    global _watching
    _written.clear()
    _watching = True
    try:
        yield _written
    finally:
        _watching = False


def read(body: bytes, *, chunk: int = 1_000_000, fields: set[str] | None = None) -> Form:
    """The form that a body with the boundary `x` is read as, arriving in chunks."""
    chunks = [body[start : start + chunk] for start in range(0, len(body), chunk)] or [b""]
    messages: list[Message] = [
        {"type": "http.request", "body": piece, "more_body": True} for piece in chunks
    ]
    messages.append({"type": "http.request", "body": b"", "more_body": False})

    async def receive() -> Message:
        return messages.pop(0)

    headers = [(b"content-type", b"multipart/form-data; boundary=x")]
    request = Request({"type": "http", "method": "POST", "headers": headers}, receive)
    return asyncio.run(read_form(request, fields=fields or {"a", "b"}, max_parts=4))


def encoded(parts: list[tuple[str, bytes]]) -> bytes:
    head = b'--x\r\nContent-Disposition: form-data; name="%s"; filename="f"\r\n\r\n%s\r\n'
    return b"".join(head % (name.encode(), content) for name, content in parts) + b"--x--\r\n"


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.binary(max_size=300)), max_size=4),
    st.integers(1, 400),
)
def test_what_was_sent_is_what_is_read_however_it_is_cut(
    parts: list[tuple[str, bytes]], chunk: int
) -> None:
    parts = [(name, content.replace(b"--x", b"")) for name, content in parts]
    form = read(encoded(parts), chunk=chunk)
    assert form == {
        name: [content for other, content in parts if other == name] for name, _ in parts
    }


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_damaged_form_is_read_or_refused_but_never_crashes(data: st.DataObject) -> None:
    body = bytearray(encoded([("a", b"first"), ("b", b"second\r\n--")]))
    for _ in range(data.draw(st.integers(1, 6))):
        place = data.draw(st.integers(0, len(body) - 1))
        body[place : place + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    with contextlib.suppress(InputError):
        read(bytes(body), chunk=data.draw(st.integers(1, 50)))


def test_no_upload_of_any_size_touches_the_disk(client: TestClient) -> None:
    data = os.urandom(5_000_000)
    with watched() as written:
        assert client.post("/segment", files={"image": data}).status_code == 415
        assert client.post("/segment", content=data).status_code == 415
        assert written == []
        tempfile.TemporaryFile().close()
        assert written  # so it would have been seen


def test_a_caller_who_leaves_within_the_body_is_no_error(
    app: FastAPI, caplog: pytest.LogCaptureFixture
) -> None:
    messages: list[Message] = [
        {"type": "http.request", "body": b"--x\r\n", "more_body": True},
        {"type": "http.disconnect"},
    ]

    async def receive() -> Message:
        return messages.pop(0)

    async def send(message: Message) -> None:
        assert message.get("status", 499) == 499

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/segment",
        "query_string": b"",
        "headers": [(b"content-type", b"multipart/form-data; boundary=x")],
    }
    caplog.set_level("INFO", "service")
    asyncio.run(app(scope, receive, send))
    (record,) = caplog.records
    assert record.levelname == "INFO"
    assert "status=499" in record.getMessage()
