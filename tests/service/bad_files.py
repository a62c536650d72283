"""Files that are no usable photograph, drawn or assembled byte by byte."""

import io
import struct
import zipfile
import zlib

from PIL import Image

from tests.fixtures.dicom_files import dicom
from tests.fixtures.pictures import encode, lesion

JPEG = encode(lesion(60, 80), "JPEG")
PNG = encode(lesion(60, 80))
TIFF = encode(lesion(60, 80), "TIFF")
DICOM = dicom(lesion(60, 80))
CT = "1.2.840.10008.5.1.4.1.1.2"
FRAMES = [lesion(20, 30), Image.new("RGB", (30, 20))]


def animated(kind: str) -> bytes:
    """Two frames, or two pages."""
    return encode(FRAMES[0], kind, save_all=True, append_images=FRAMES[1:])


def png_header(width: int, height: int) -> bytes:
    """A PNG that announces a size and holds next to nothing."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(b"\0"))


def zip_file() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        file.writestr("lesion.png", PNG)
    return out.getvalue()


def _chunk(kind: bytes, data: bytes) -> bytes:
    checksum = struct.pack(">I", zlib.crc32(kind + data))
    return struct.pack(">I", len(data)) + kind + data + checksum


# name: (bytes, status, slug)
BAD_FILES: dict[str, tuple[bytes, int, str]] = {
    "empty": (b"", 422, "unreadable-image"),
    "one byte": (b"\xff", 415, "unsupported-image"),
    "text": (b"not an image at all\n" * 50, 415, "unsupported-image"),
    "SVG": (b'<svg xmlns="http://www.w3.org/2000/svg"/>', 415, "unsupported-image"),
    "PDF": (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", 415, "unsupported-image"),
    "ZIP": (zip_file(), 415, "unsupported-image"),
    "GIF": (encode(lesion(20, 30), "GIF"), 415, "unsupported-image"),
    "HEIC": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", 422, "unreadable-image"),
    "AVIF": (b"\0\0\0\x1cftypavif\0\0\0\0avifmif1", 422, "unreadable-image"),
    "JPEG 2000": (b"\0\0\0\x0cjP  \r\n\x87\n", 415, "unsupported-image"),
    "DICOM of a preamble alone": (b"\0" * 128 + b"DICM", 422, "unreadable-image"),
    "truncated DICOM": (DICOM[:2000], 422, "unreadable-image"),
    "DICOM of a CT": (dicom(lesion(60, 80), SOPClassUID=CT), 415, "unsupported-image"),
    "DICOM of 3 frames": (dicom(lesion(60, 80), NumberOfFrames=3), 422, "multi-frame-image"),
    "DICOM of 65535x65535": (
        dicom(lesion(60, 80), Rows=65_535, Columns=65_535),
        413,
        "image-too-large",
    ),
    "truncated JPEG": (JPEG[: len(JPEG) // 2], 422, "unreadable-image"),
    "JPEG of a header alone": (JPEG[:20], 422, "unreadable-image"),
    "truncated PNG": (PNG[: len(PNG) // 2], 422, "unreadable-image"),
    "truncated TIFF": (TIFF[: len(TIFF) // 2], 422, "unreadable-image"),
    "truncated WebP": (encode(lesion(60, 80), "WEBP")[:100], 422, "unreadable-image"),
    "truncated BMP": (encode(lesion(60, 80), "BMP")[:500], 422, "unreadable-image"),
    "PNG signature and noise": (PNG[:8] + b"\x5a" * 300, 422, "unreadable-image"),
    "PNG with a wrong checksum": (
        PNG[:20] + b"\x01" + PNG[21:],
        422,
        "unreadable-image",
    ),
    "32-bit TIFF": (encode(Image.new("F", (8, 8)), "TIFF"), 422, "unreadable-image"),
    "animated PNG": (animated("PNG"), 422, "multi-frame-image"),
    "animated WebP": (animated("WEBP"), 422, "multi-frame-image"),
    "TIFF of two pages": (animated("TIFF"), 422, "multi-frame-image"),
    "PNG of 13000x13000": (png_header(13_000, 13_000), 413, "image-too-large"),
    "PNG of 2 billion pixels": (png_header(65_535, 32_768), 413, "image-too-large"),
    "PNG of no pixels": (png_header(0, 10), 422, "unreadable-image"),
}
