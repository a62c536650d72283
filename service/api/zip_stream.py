"""Images out of a ZIP while it arrives: entry after entry, by their local headers.

No name is ever used as a path, nor kept. What a ZIP's directory at the end says is not waited for.
Written here because a damaged entry shall harm no other: stream-unzip ends at the first.
"""

import struct
import zlib
from collections.abc import Callable, Iterator

from model_core.errors import UnreadableImageError, UnsupportedImageError
from model_core.images.file_names import is_litter
from service.api.part_stream import Content
from service.contract.errors import BodyTooLargeError, MalformedBodyError

_LOCAL, _DIRECTORY, _EMPTY = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"
_DESCRIPTOR = b"PK\x07\x08"
_HEADER = struct.Struct("<4xHHHHHIIIHH")
_HEADER_BYTES = 30
_MAX_NAME_BYTES = 4_096
_STORED, _DEFLATED = 0, 8
_ENCRYPTED, _SIZES_FOLLOW = 0x0001, 0x0008
_IN_ZIP64 = 0xFFFFFFFF
_MAX_RATIO = 200
"""Images hardly get smaller; a plain BMP gets 100 times smaller at most."""
_CHUNK = 1 << 16
_MAX_FALSE_ENDS = 64
"""Marks of a descriptor within a stored file; by chance there is one in 4 GB of images."""
_HOW_TO_PACK = "pack the images again into a file, not into a pipe, or compress them (deflate)"


class ZipStream:
    """Read the files of a ZIP archive, each as soon as it is whole.

    Folders are passed over, and so is what systems leave (`model_core.images.file_names`).

    Args:
        max_bytes: Limit on a file, unpacked; of a larger one nothing is kept.
    """

    def __init__(self, *, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._buffer = bytearray()
        self._step: Callable[[], Content | None] = self._header
        self._entry = _Entry(0, 0, 0, 0, b"", max_bytes)
        self._passed_over = 0

    def feed(self, data: bytes) -> Iterator[Content]:
        """Take more bytes; gives the files that are whole now.

        Raises:
            MalformedBodyError: this is no ZIP, or one that cannot be read from front to back.
        """
        self._buffer += data
        while True:
            before, length = self._step, len(self._buffer)
            content = self._step()
            if content is not None:
                yield content
            elif self._step == before and len(self._buffer) == length:
                return

    @property
    def held_bytes(self) -> int:
        """Bytes that wait for more, unpacked ones among them."""
        return len(self._buffer) + self._entry.held_bytes

    def close(self) -> None:
        """Check that the archive has come to its end.

        Raises:
            MalformedBodyError: it has not.
        """
        if self._step == self._data and self._entry.end_unknown:
            raise MalformedBodyError(
                "a stored ZIP entry does not say how long it is, and no mark shows its end; "
                + _HOW_TO_PACK
            )
        if self._step != self._directory:
            raise MalformedBodyError("the ZIP ends before its directory")

    def _header(self) -> None:
        kind = bytes(self._buffer[:4])
        if len(kind) == 4 and kind in (_DIRECTORY, _EMPTY):
            self._step = self._directory
            return
        if not any(mark.startswith(kind) for mark in (_LOCAL, _DIRECTORY, _EMPTY)):
            raise MalformedBodyError("the body is no ZIP, or another thing stands within it")
        if len(self._buffer) < _HEADER_BYTES:
            return
        fields = _HEADER.unpack_from(self._buffer)
        _, flags, method, _, _, checksum, packed, size, name_bytes, extra_bytes = fields
        if name_bytes > _MAX_NAME_BYTES:
            raise MalformedBodyError(f"a ZIP entry's name has over {_MAX_NAME_BYTES} bytes")
        if len(self._buffer) < _HEADER_BYTES + name_bytes + extra_bytes:
            return
        head = bytes(self._buffer[: _HEADER_BYTES + name_bytes + extra_bytes])
        del self._buffer[: len(head)]
        name = head[_HEADER_BYTES : _HEADER_BYTES + name_bytes]
        extra = head[_HEADER_BYTES + name_bytes :]
        if _IN_ZIP64 in (packed, size):
            packed, size = _zip64_sizes(extra)
        self._passed_over += self._entry.size if self._entry.skipped else 0
        # All that is passed over shares one limit: there may be any number of such entries.
        left = self._max_bytes - self._passed_over if _is_skipped(name) else self._max_bytes
        self._entry = _Entry(flags, method, packed, checksum, name, left)
        self._step = self._data

    def _data(self) -> Content | None:
        taken = self._entry.take(self._buffer)
        del self._buffer[:taken]
        if not self._entry.whole:
            return None
        self._step = self._descriptor if self._entry.flags & _SIZES_FOLLOW else self._header
        return self._entry.content() if self._step == self._header else None

    def _descriptor(self) -> Content | None:
        # Checksum and two sizes, 4 bytes each, or 8 in ZIP64; with a mark before them or not.
        if len(self._buffer) < 28:
            return None
        start = 4 if self._buffer.startswith(_DESCRIPTOR) else 0
        self._entry.checksum = int.from_bytes(self._buffer[start : start + 4], "little")
        for size in (8, 16):
            end = start + 4 + size
            if bytes(self._buffer[end : end + 4]) in (_LOCAL, _DIRECTORY):
                del self._buffer[:end]
                self._step = self._header
                return self._entry.content()
        raise MalformedBodyError("a ZIP entry does not end where it says")

    def _directory(self) -> None:
        self._buffer.clear()


class _Entry:
    """One file of an archive, on its way in."""

    def __init__(
        self, flags: int, method: int, packed: int, checksum: int, name: bytes, max_bytes: int
    ) -> None:
        self.flags = flags
        self.checksum = checksum
        self.whole = False
        self.skipped = _is_skipped(name)
        self.size = 0  # of what was unpacked
        self._method = method
        self._left = packed
        self._max_bytes = max_bytes
        self._taken = 0
        self._content = bytearray()
        self._fault: Exception | None = None
        self._inflate = zlib.decompressobj(-zlib.MAX_WBITS)
        if flags & _ENCRYPTED:
            self._fault = UnsupportedImageError("the ZIP entry is encrypted, expected a plain one")
        elif method not in (_STORED, _DEFLATED):
            found = f"the ZIP entry is packed by method {method}"
            self._fault = UnsupportedImageError(f"{found}, expected stored or deflated")
        self.end_unknown = bool(flags & _SIZES_FOLLOW) and method == _STORED
        self._false_ends = 0
        if flags & _SIZES_FOLLOW and self._fault:
            raise MalformedBodyError(
                f"{self._fault}, and does not say how long it is, so that what follows cannot be "
                f"found; {_HOW_TO_PACK}"
            )

    @property
    def held_bytes(self) -> int:
        """Bytes of it that are kept."""
        return len(self._content)

    def take(self, data: bytearray) -> int:
        """Take the bytes that belong to this entry, and return how many they are."""
        if self.end_unknown:
            return self._take_stored(data)
        known = not self.flags & _SIZES_FOLLOW
        piece = bytes(data[: min(_CHUNK, self._left) if known else _CHUNK])
        used = len(piece)
        if known and (self._fault or self.skipped):
            pass  # where it ends is known without looking into it
        elif self._method == _DEFLATED and not self._inflate.eof:
            unpacked = self._unpack(piece)
            used = used if known else unpacked
        elif self._method == _STORED:
            self._keep(piece)
        self._taken += used
        self._left -= used
        self.whole = self._left == 0 if known else self._inflate.eof
        return used

    def content(self) -> Content | None:
        """The whole file, or what is wrong with it; None where it holds no image."""
        if self.skipped:
            return None
        if self._method == _DEFLATED and not self._fault and not self._inflate.eof:
            self._fault = UnreadableImageError("the ZIP entry is damaged: it ends too early")
        if not self._fault and zlib.crc32(self._content) != self.checksum:
            self._fault = UnreadableImageError("the ZIP entry is damaged: its checksum differs")
        return self._fault or bytes(self._content)

    def _take_stored(self, data: bytearray) -> int:
        """As `take`, where a descriptor that counts the bytes before it shows the end."""
        at = data.find(_DESCRIPTOR)
        if at == 0:
            if len(data) < 12:
                return 0
            if int.from_bytes(data[8:12], "little") == self._taken:
                self.whole = True
                return 0
            self._false_ends += 1
            if self._false_ends > _MAX_FALSE_ENDS:
                raise MalformedBodyError(
                    f"a stored ZIP entry does not say how long it is; {_HOW_TO_PACK}"
                )
            at = len(_DESCRIPTOR)
        # The last bytes may be the beginning of a mark.
        used = at if at > 0 else max(0, len(data) - len(_DESCRIPTOR) + 1)
        self._keep(bytes(data[:used]))
        self._taken += used
        return used

    def _unpack(self, piece: bytes) -> int:
        rest = piece
        while rest and not self._inflate.eof and not self._fault:
            try:
                self._keep(self._inflate.decompress(rest, _CHUNK))
            except zlib.error as exc:
                if self.flags & _SIZES_FOLLOW:
                    raise MalformedBodyError("a ZIP entry is damaged") from exc
                self._fault = UnreadableImageError("the ZIP entry is damaged")
                return len(piece)
            rest = self._inflate.unconsumed_tail
        return len(piece) - len(self._inflate.unused_data)

    def _keep(self, content: bytes) -> None:
        if self._fault:
            return
        self.size += len(content)
        if not self.skipped:
            self._content += content
        if self.size > self._max_bytes or self.size > _CHUNK + _MAX_RATIO * (self._taken + _CHUNK):
            limit = f"{self._max_bytes} bytes, or {_MAX_RATIO} times what is sent, the limits"
            self._fault = BodyTooLargeError(f"the unpacked image has more than {limit}")
            self._content.clear()
            if self.flags & _SIZES_FOLLOW:  # only unpacking it all would tell where it ends
                raise self._fault


def _is_skipped(name: bytes) -> bool:
    """Folders, and what systems leave in them, are no images."""
    return name.endswith((b"/", b"\\")) or is_litter(name.decode("utf-8", "replace"))


def _zip64_sizes(extra: bytes) -> tuple[int, int]:
    """Packed and unpacked size out of an entry's extra fields."""
    while len(extra) >= 4:
        kind, length = struct.unpack_from("<HH", extra)
        if kind == 1 and length >= 16 and len(extra) >= 20:
            size, packed = struct.unpack_from("<QQ", extra, 4)
            return packed, size
        extra = extra[4 + length :]
    raise MalformedBodyError("a ZIP entry announces sizes of ZIP64 and has none")
