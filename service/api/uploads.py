"""Request bodies: kept in memory, and split into form fields.

The form is read here rather than by the framework, which keeps any file over 1 MB in a temporary
file: images of patients must not reach a disk. `body_limits` has bounded the body before.
"""

from collections.abc import Collection

from starlette.requests import Request

from service.api.multipart import Form, parse_form
from service.contract.errors import Fault, InvalidRequestError, UnsupportedMediaTypeError
from service.contract.quoting import known_media_type

_MULTIPART = "multipart/form-data"
_FILES = ("", "application/dicom", "application/octet-stream")
_SPARE_PARTS = 8
"""Parts read beyond those a route can use, so that a superfluous one is named in the error."""


async def read_image(request: Request) -> bytes:
    """Read the one image of a request: the whole body, or the form field `image`.

    Args:
        request: Its Content-Type says which: an image type, `application/dicom`,
            `application/octet-stream` or none at all means the body itself. What the bytes really
            are is decided by their content.

    Raises:
        UnsupportedMediaTypeError: neither a form nor an image.
        InvalidRequestError: the form has no `image`, several, or another field.
        MalformedBodyError: as `read_form`.
    """
    declared = _media_type(request)
    if declared.startswith("image/") or declared in _FILES:
        return await request.body()
    if declared != _MULTIPART:
        raise UnsupportedMediaTypeError(
            f"Content-Type is {known_media_type(declared)}, expected {_MULTIPART} or an image type"
        )
    form = await read_form(request, fields={"image"}, max_parts=1)
    images = form.get("image", [])
    if len(images) != 1:
        raise InvalidRequestError(Fault("image", f"found {len(images)}, expected one"))
    return images[0]


async def read_form(request: Request, *, fields: Collection[str], max_parts: int) -> Form:
    """Read a multipart body and split it into its parts, by field name.

    Args:
        request: Its body is read to the end.
        fields: Names that the route knows.
        max_parts: Parts that the route can use at most.

    Raises:
        UnsupportedMediaTypeError: not `multipart/form-data`.
        MalformedBodyError: it cannot be parsed, or ends before its closing boundary.
        InvalidRequestError: a field with another name, or too many parts.
    """
    declared = _media_type(request)
    if declared != _MULTIPART:
        found = known_media_type(declared)
        raise UnsupportedMediaTypeError(f"Content-Type is {found}, expected {_MULTIPART}")
    body, content_type = await request.body(), request.headers["content-type"]
    form = parse_form(body, content_type, max_parts=max_parts + _SPARE_PARTS)
    unknown = [name for name in form if name not in fields]
    if unknown:
        expected = f"no such field, expected {', '.join(sorted(fields))}"
        raise InvalidRequestError(*(Fault(name, expected) for name in unknown))
    return form


def _media_type(request: Request) -> str:
    declared, _, _ = request.headers.get("content-type", "").partition(";")
    return declared.strip().lower()
