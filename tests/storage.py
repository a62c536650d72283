"""A local stand-in for the challenge's public storage: HTTP with ranges, ETags and faults."""

import hashlib
import io
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import numpy.typing as npt
from PIL import Image

from trainer.drawn import draw_lesion


@dataclass
class Stored:
    """One file of the storage, and how it misbehaves.

    Attributes:
        content: Its bytes.
        declared: Content-Length to claim instead of the true one.
        status: Error to answer with instead of the file.
        breaks: How many bytes each coming GET sends before it closes the connection; the
            ones after these send all.
        becomes: Bytes to hold from the moment the next connection has broken.
        stalls: Sends half of the file, then nothing more until the storage closes.
    """

    content: bytes
    declared: int | None = None
    status: int | None = None
    breaks: list[int] = field(default_factory=list)
    becomes: bytes | None = None
    stalls: bool = False

    @property
    def etag(self) -> str:
        return f'"{hashlib.sha256(self.content).hexdigest()[:16]}"'


@dataclass
class Storage:
    """Files by path, and every request made of them.

    Attributes:
        files: By path, such as `2018/a.zip`.
        url: Base URL once it serves.
        ranges: Whether it knows Range; otherwise it sends the whole file every time.
        etags: Whether it sends ETags.
        conditions: Whether it heeds If-Range.
        asked: (method, path, Range or "") of every request.
    """

    files: dict[str, Stored]
    url: str = ""
    ranges: bool = True
    etags: bool = True
    conditions: bool = True
    asked: list[tuple[str, str, str]] = field(default_factory=list)
    closing: threading.Event = field(default_factory=threading.Event)

    def fetched(self) -> list[str]:
        """What was fetched, in order: `<path>` or, where only a part of it, `<path> <range>`."""
        return [f"{path} {part}".strip() for method, path, part in self.asked if method == "GET"]


@contextmanager
def serving(storage: Storage) -> Iterator[Storage]:
    """Serve on a free port of this machine until the block ends."""

    class Handler(_Handler):
        store = storage

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    storage.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield storage
    finally:
        storage.closing.set()
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    store: Storage

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        path = self.path.lstrip("/")
        self.store.asked.append((self.command, path, self.headers.get("Range", "")))
        stored = self.store.files.get(path)
        if stored is None or stored.status:
            self.send_error(stored.status if stored and stored.status else 404)
            return
        start = self._start(stored)
        size = len(stored.content)
        if start is not None and start >= size:
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{size}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(200 if start is None else 206)
        if start is not None:
            self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
        if self.store.etags:
            self.send_header("ETag", stored.etag)
        length = size - (start or 0) if stored.declared is None else stored.declared
        self.send_header("Content-Length", str(length))
        self.end_headers()
        if self.command == "GET":
            self._send(stored, stored.content[start or 0 :])

    def _start(self, stored: Stored) -> int | None:
        """First byte asked for; None for the whole file."""
        asked = self.headers.get("Range")
        if not (asked and self.store.ranges):
            return None
        if self.store.conditions and self.headers.get("If-Range") not in (None, stored.etag):
            return None
        return int(asked.removeprefix("bytes=").removesuffix("-"))

    def _send(self, stored: Stored, body: bytes) -> None:
        if stored.breaks:
            self.wfile.write(body[: stored.breaks.pop(0)])
            if stored.becomes is not None:
                stored.content, stored.becomes = stored.becomes, None
        elif stored.stalls:
            self.wfile.write(body[: len(body) // 2])
            self.store.closing.wait()
        else:
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: `Storage.asked` has it."""


def archives_of_isic2018(parts: dict[str, list[str]]) -> dict[str, bytes]:
    """The archives of ISIC 2018 Task 1 by path, with one drawn lesion for each ID of each part."""
    archives: dict[str, bytes] = {}
    for part, names in parts.items():
        images, masks = {}, {}
        for name in names:
            image, mask = draw_lesion(int(name[-7:]), height=48, width=64)
            images[f"{name}.jpg"] = encode(image, "JPEG")
            images[f"{name}_superpixels.png"] = b"of another task"
            masks[f"{name}_segmentation.png"] = encode(mask.astype(np.uint8) * 255, "PNG")
        for top, files in (
            (f"ISIC2018_Task1-2_{part}_Input", images),
            (f"ISIC2018_Task1_{part}_GroundTruth", masks),
        ):
            archives[f"2018/{top}.zip"] = pack(top, files)
    return archives


def encode(pixels: npt.NDArray[np.uint8], kind: str) -> bytes:
    """An image file of these pixels."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


def pack(top: str, files: dict[str, bytes]) -> bytes:
    """A ZIP file as macOS makes it of a folder."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.mkdir(top)
        for name, content in files.items():
            archive.writestr(f"{top}/{name}", content)
        archive.writestr(f"__MACOSX/{top}/._ISIC_0000000.jpg", b"of macOS")
    return file.getvalue()
