"""A multipart body into its parts, at the speed of a search for the boundary.

The body is whole and in memory, so its parts are cut out of it: Python code looks at none of its
bytes, whatever it holds. A parser that walks it in Python can be kept busy for a second by a
megabyte of near misses.
"""

from python_multipart.multipart import parse_options_header

from service.errors import Fault, InvalidRequestError, MalformedBodyError

Form = dict[str, list[bytes]]
"""The content of every part by field name, in the order sent; a file and a text are the same."""

MAX_PART_HEADER_BYTES = 1_024
"""Three times what a name, a type and the longest file name of a disk take."""
_MAX_PART_HEADERS = 16
_MAX_BOUNDARY_BYTES = 70  # RFC 2046, section 5.1.1


def parse_form(body: bytes, content_type: str, *, max_parts: int) -> Form:
    r"""The parts of a multipart body, by field name.

    Args:
        body: All of it.
        content_type: The header, which names the boundary.
        max_parts: Parts at most.

    Raises:
        MalformedBodyError: it cannot be parsed, or ends before its closing boundary.
        InvalidRequestError: more parts.

    Example:
        >>> head = b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n'
        >>> parse_form(head + b"1\r\n--x--\r\n", "multipart/form-data; boundary=x", max_parts=1)
        {'a': [b'1']}
    """
    delimiter = b"\r\n--" + boundary_of(content_type)
    form: Form = {}
    parts = 0
    position = _after_first(body, delimiter)
    while not body.startswith(b"--", position):
        parts += 1
        if parts > max_parts:
            raise InvalidRequestError(Fault("(form)", f"more than {max_parts} parts"))
        start, name = part_head(body, position)
        end = body.find(delimiter, start)
        if end < 0:
            raise MalformedBodyError("the multipart body ends before its closing boundary")
        form.setdefault(name, []).append(body[start:end])
        position = end + len(delimiter)
    return form


def boundary_of(content_type: str) -> bytes:
    """The boundary that a Content-Type names; raises as `parse_form`."""
    boundary = parse_options_header(content_type)[1].get(b"boundary", b"")
    if not boundary:
        raise MalformedBodyError("Content-Type names no boundary")
    if len(boundary) > _MAX_BOUNDARY_BYTES:
        raise MalformedBodyError(
            f"the boundary has {len(boundary)} bytes, the limit is {_MAX_BOUNDARY_BYTES}"
        )
    return boundary


def _after_first(body: bytes, delimiter: bytes) -> int:
    """Where the first delimiter ends; what stands before it is no part (RFC 2046's preamble)."""
    if body.startswith(delimiter[2:]):
        return len(delimiter) - 2
    found = body.find(delimiter)
    if found < 0:
        raise MalformedBodyError("the multipart body does not have the boundary that it names")
    return found + len(delimiter)


def part_head(body: bytes, position: int) -> tuple[int, str]:
    """Where the content of the part begins whose delimiter ends at `position`, and its name."""
    end = body.find(b"\r\n\r\n", position, position + MAX_PART_HEADER_BYTES)
    if end < 0:
        if len(body) - position > MAX_PART_HEADER_BYTES:
            found = f"the head of a part has more than {MAX_PART_HEADER_BYTES} bytes, the limit"
            raise MalformedBodyError(found)
        raise MalformedBodyError("the multipart body ends within the head of a part")
    padding, *lines = body[position:end].split(b"\r\n", _MAX_PART_HEADERS + 1)
    if padding.strip(b" \t"):
        raise MalformedBodyError("the boundary stands within a line, or in the content of a part")
    if len(lines) > _MAX_PART_HEADERS:
        raise MalformedBodyError(f"a part has more than {_MAX_PART_HEADERS} headers")
    for line in lines:
        field, _, value = line.partition(b":")
        if field.strip().lower() == b"content-disposition":
            name = parse_options_header(value.strip())[1].get(b"name")
            if name is not None:
                return end + 4, name.decode("utf-8", "replace")
    raise MalformedBodyError("a part has no field name in its Content-Disposition")
