"""Request bodies: counted while they stream, kept in memory, and split into form fields.

The multipart parser is fed here rather than by the framework, which keeps any file over 1 MB in
a temporary file: photographs of patients must not reach a disk.
"""

from collections.abc import AsyncIterator, Collection

from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header
from starlette.requests import Request

from service.errors import (
    BodyTooLargeError,
    Fault,
    InvalidRequestError,
    MalformedBodyError,
    UnsupportedMediaTypeError,
)
from service.quoting import known_media_type

Form = dict[str, list[bytes]]
"""The content of every part by field name, in the order sent; a file and a text are the same."""

_MULTIPART = "multipart/form-data"
_FILES = ("", "application/dicom", "application/octet-stream")
_SPARE_PARTS = 8
"""Parts read beyond those a route can use, so that a superfluous one is named in the error."""


async def read_photograph(request: Request, *, max_bytes: int) -> bytes:
    """The bytes of the one photograph of a request: the whole body, or the form field `image`.

    Args:
        request: Its Content-Type says which: an image type, `application/dicom`,
            `application/octet-stream` or none at all means the body itself. What the bytes really
            are is decided by their content.
        max_bytes: Limit on the body.

    Raises:
        UnsupportedMediaTypeError: neither a form nor an image.
        InvalidRequestError: the form has no `image`, several, or another field.
        MalformedBodyError: as `read_form`.
        BodyTooLargeError: as `read_form`.
    """
    declared = _media_type(request)
    if declared.startswith("image/") or declared in _FILES:
        body = bytearray()
        async for chunk in _counted(request, max_bytes):
            body += chunk
        return bytes(body)
    if declared != _MULTIPART:
        raise UnsupportedMediaTypeError(
            f"Content-Type is {known_media_type(declared)}, expected {_MULTIPART} or an image type"
        )
    form = await read_form(request, fields={"image"}, max_bytes=max_bytes, max_parts=1)
    images = form.get("image", [])
    if len(images) != 1:
        raise InvalidRequestError(Fault("image", f"found {len(images)}, expected one"))
    return images[0]


async def read_form(
    request: Request, *, fields: Collection[str], max_bytes: int, max_parts: int
) -> Form:
    """The parts of a multipart body, by field name.

    Args:
        request: Its body is read to the end, or to where it breaks a limit.
        fields: Names that the route knows.
        max_bytes: Limit on the body.
        max_parts: Parts that the route can use at most.

    Raises:
        UnsupportedMediaTypeError: not `multipart/form-data`.
        MalformedBodyError: it cannot be parsed, or ends before its closing boundary.
        BodyTooLargeError: more than `max_bytes`.
        InvalidRequestError: a field with another name, or too many parts.
    """
    declared = _media_type(request)
    if declared != _MULTIPART:
        found = known_media_type(declared)
        raise UnsupportedMediaTypeError(f"Content-Type is {found}, expected {_MULTIPART}")
    reader = _FormReader(request.headers["content-type"], max_parts + _SPARE_PARTS)
    async for chunk in _counted(request, max_bytes):
        reader.feed(chunk)
    form = reader.close()
    unknown = [name for name in form if name not in fields]
    if unknown:
        expected = f"no such field, expected {', '.join(sorted(fields))}"
        raise InvalidRequestError(*(Fault(name, expected) for name in unknown))
    return form


async def _counted(request: Request, max_bytes: int) -> AsyncIterator[bytes]:
    """The chunks of a body, until they are more than the limit."""
    too_large = BodyTooLargeError(f"the body has more than {max_bytes} bytes, the limit")
    if int(request.headers.get("content-length", 0)) > max_bytes:
        raise too_large
    received = 0
    async for chunk in request.stream():
        received += len(chunk)
        if received > max_bytes:
            raise too_large
        yield chunk


def _media_type(request: Request) -> str:
    declared, _, _ = request.headers.get("content-type", "").partition(";")
    return declared.strip().lower()


class _FormReader:
    """Collects the parts of a multipart body in memory while it arrives."""

    def __init__(self, content_type: str, max_parts: int) -> None:
        boundary = parse_options_header(content_type)[1].get(b"boundary")
        if not boundary:
            raise MalformedBodyError("Content-Type names no boundary")
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._begin_part,
                    "on_header_field": self._add_to_header_name,
                    "on_header_value": self._add_to_header_value,
                    "on_header_end": self._end_header,
                    "on_headers_finished": self._end_headers,
                    "on_part_data": self._add_to_content,
                    "on_part_end": self._end_part,
                    "on_end": self._end,
                },
            )
        except FormParserError as exc:
            raise MalformedBodyError(f"the boundary cannot be used: {exc}") from exc
        self._max_parts = max_parts
        self._parts = 0
        self._form: Form = {}
        self._ended = False
        # Of the part that is arriving:
        self._name = ""
        self._header_name = self._header_value = self._disposition = b""
        self._content = bytearray()

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes of the body."""
        try:
            self._parser.write(chunk)
        except FormParserError as exc:
            raise MalformedBodyError(f"the multipart body cannot be parsed: {exc}") from exc

    def close(self) -> Form:
        """The whole form, once the body has ended."""
        if not self._ended:
            raise MalformedBodyError("the multipart body ends before its closing boundary")
        return self._form

    def _begin_part(self) -> None:
        self._parts += 1
        if self._parts > self._max_parts:
            raise InvalidRequestError(Fault("(form)", f"more than {self._max_parts} parts"))
        self._header_name = self._header_value = self._disposition = b""
        self._content = bytearray()

    def _add_to_header_name(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def _add_to_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def _end_header(self) -> None:
        if self._header_name.lower() == b"content-disposition":
            self._disposition = self._header_value
        self._header_name = self._header_value = b""

    def _end_headers(self) -> None:
        name = parse_options_header(self._disposition)[1].get(b"name")
        if name is None:
            raise MalformedBodyError("a part has no field name in its Content-Disposition")
        self._name = name.decode("utf-8", "replace")

    def _add_to_content(self, data: bytes, start: int, end: int) -> None:
        self._content += data[start:end]

    def _end_part(self) -> None:
        self._form.setdefault(self._name, []).append(bytes(self._content))

    def _end(self) -> None:
        self._ended = True
