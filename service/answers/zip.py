"""Write ZIP archives entry by entry, so that each entry can be sent at once."""

import io
import zipfile
from collections.abc import Mapping

_EPOCH = (1980, 1, 1, 0, 0, 0)
"""Time of every entry, the earliest there is: the same files make the same bytes."""
_UNIX = 3
_READABLE = 0o644 << 16
_PACKED = (".png", ".jpg")
"""Kinds of file that would not get smaller."""


def zip_of(files: Mapping[str, bytes]) -> bytes:
    """Return a whole archive of files, by name."""
    archive = ZipStream()
    return b"".join(archive.add(name, data) for name, data in files.items()) + archive.close()


class ZipStream:
    """An archive that is sent while it is written."""

    def __init__(self) -> None:
        self._sink = _Sink()
        self._archive = zipfile.ZipFile(self._sink, "w")

    def add(self, name: str, data: bytes) -> bytes:
        """Add a file and return the bytes of the archive that can be sent now."""
        entry = zipfile.ZipInfo(name, _EPOCH)
        entry.create_system, entry.external_attr = _UNIX, _READABLE
        entry.compress_type = zipfile.ZIP_DEFLATED
        if name.endswith(_PACKED):
            entry.compress_type = zipfile.ZIP_STORED
        self._archive.writestr(entry, data)
        return self._sink.take()

    def close(self) -> bytes:
        """Return the last bytes of the archive: its directory."""
        self._archive.close()
        return self._sink.take()


class _Sink(io.BytesIO):
    """A file that gives up what is written of it, and goes on counting from there.

    `zipfile` goes back only to the head of the entry at hand, to fill in its size.
    """

    def __init__(self) -> None:
        super().__init__()
        self._taken = 0

    def take(self) -> bytes:
        data = self.getvalue()
        self._taken += len(data)
        super().seek(0)
        self.truncate()
        return data

    def tell(self) -> int:
        return self._taken + super().tell()

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence == io.SEEK_SET:
            offset -= self._taken
        return self._taken + super().seek(offset, whence)
