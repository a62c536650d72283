"""Images cut out of a body while it arrives: a multipart form, or a ZIP (`zip_stream`)."""

from collections.abc import Callable, Iterator

from service.api.multipart import MAX_PART_HEADER_BYTES, boundary_of, part_head
from service.contract.errors import (
    BodyTooLargeError,
    Fault,
    InvalidRequestError,
    MalformedBodyError,
)

Content = bytes | Exception
"""An image, or what is wrong with it; the next one may be right all the same."""

_MAX_PREAMBLE_BYTES = 1_024


class PartStream:
    """Cut a multipart body into its parts, each as soon as it is whole.

    Args:
        content_type: The header, which names the boundary.
        field: The one name that a part may have.
        max_bytes: Limit on a part; of a larger one nothing is kept.
    """

    def __init__(self, content_type: str, *, field: str, max_bytes: int) -> None:
        self._delimiter = b"\r\n--" + boundary_of(content_type)
        self._field = field
        self._max_bytes = max_bytes
        self._buffer = bytearray(b"\r\n")  # the first delimiter may lack its line break
        self._searched = 0
        self._step: Callable[[], Content | None] = self._preamble
        self._too_large = False

    def feed(self, data: bytes) -> Iterator[Content]:
        """Take more bytes; gives the parts that are whole now.

        Raises:
            MalformedBodyError: this is no such form.
            InvalidRequestError: a part has another name.
        """
        self._buffer += data
        while True:
            before = self._step
            part = self._step()
            if part is not None:
                yield part
            elif self._step == before:
                return

    @property
    def held_bytes(self) -> int:
        """Bytes that wait for more."""
        return len(self._buffer)

    def close(self) -> None:
        """Check that the body has come to its end.

        Raises:
            MalformedBodyError: it has not.
        """
        if self._step != self._epilogue:
            raise MalformedBodyError("the multipart body ends before its closing boundary")

    def _preamble(self) -> None:
        position = self._find_delimiter()
        if position >= 0:
            self._cut(position + len(self._delimiter))
            self._step = self._head
        elif len(self._buffer) > _MAX_PREAMBLE_BYTES + len(self._delimiter):
            raise MalformedBodyError("the multipart body does not have the boundary that it names")

    def _head(self) -> None:
        if self._buffer.startswith(b"--"):
            self._step = self._epilogue
            return
        if self._buffer.find(b"\r\n\r\n") < 0 and len(self._buffer) <= MAX_PART_HEADER_BYTES:
            return
        head = bytes(self._buffer[: MAX_PART_HEADER_BYTES + 4])
        length, name = part_head(head, 0)
        if name != self._field:
            fault = Fault(name, f"no such field, expected {self._field}")
            raise InvalidRequestError(fault)
        self._cut(length)
        self._step = self._content

    def _content(self) -> Content | None:
        position = self._find_delimiter()
        size = position if position >= 0 else len(self._buffer) - len(self._delimiter)
        if self._too_large or size > self._max_bytes:
            self._too_large = True
            if position < 0:  # only what may be the beginning of the delimiter is kept
                self._cut(max(0, size))
                return None
        if position < 0:
            return None
        with memoryview(self._buffer) as view:
            content: Content = bytes(view[:position])
        if self._too_large:
            content = BodyTooLargeError(
                f"the image has more than {self._max_bytes} bytes, the limit"
            )
        self._too_large = False
        self._cut(position + len(self._delimiter))
        self._step = self._head
        return content

    def _epilogue(self) -> None:
        self._buffer.clear()  # what stands after the form is no part of it

    def _find_delimiter(self) -> int:
        position = self._buffer.find(self._delimiter, self._searched)
        self._searched = max(0, len(self._buffer) - len(self._delimiter))
        return position

    def _cut(self, length: int) -> None:
        del self._buffer[:length]
        self._searched = 0
