"""Identify a file by its first bytes: types that are read, and others with what to do instead."""

import binascii
import re
import zlib
from dataclasses import dataclass

from model_core.images.formats import heif

_MAGIC: tuple[tuple[int, bytes, str], ...] = (
    # First: the preamble before it may be that of a TIFF file (DICOM PS3.10, section 7.1).
    (128, b"DICM", "DICOM"),
    (0, b"\xff\xd8\xff", "JPEG"),
    (0, b"\x89PNG\r\n\x1a\n", "PNG"),
    (0, b"II*\x00", "TIFF"),
    (0, b"MM\x00*", "TIFF"),
    (0, b"BM", "BMP"),
    (8, b"WEBP", "WEBP"),
    (0, b"GIF8", "GIF"),
    (0, b"%PDF", "PDF"),
    (0, b"\x00\x00\x00\x0cjP  ", "JPEG 2000"),
    (0, b"PK\x03\x04", "ZIP"),
)
_EXPORT, _UNPACK = "export it as JPEG, PNG or TIFF", "send it unpacked"
_DECODE = "send the bytes themselves, decoded"
_OTHERS: tuple[tuple[int, bytes, str, str], ...] = (
    (0, b"II+\x00", "a BigTIFF file", "save it as a TIFF of the ordinary kind, or as PNG"),
    (0, b"MM\x00+", "a BigTIFF file", "save it as a TIFF of the ordinary kind, or as PNG"),
    (4, b"ftypcrx ", "a camera raw file (Canon CR3)", _EXPORT),
    (6, b"HEAPCCDR", "a camera raw file (Canon CRW)", _EXPORT),
    (0, b"FUJIFILMCCD-RAW", "a camera raw file (Fujifilm RAF)", _EXPORT),
    (0, b"IIRO", "a camera raw file (Olympus ORF)", _EXPORT),
    (0, b"IIRS", "a camera raw file (Olympus ORF)", _EXPORT),
    (0, b"MMOR", "a camera raw file (Olympus ORF)", _EXPORT),
    (0, b"IIU\x00", "a camera raw file (Panasonic RW2)", _EXPORT),
    (0, b"FOVb", "a camera raw file (Sigma X3F)", _EXPORT),
    (0, b"\x00MRM", "a camera raw file (Minolta MRW)", _EXPORT),
    (0, b"\x28\xb5\x2f\xfd", "a file packed with Zstandard", _UNPACK),
    (0, b"\xfd7zXZ\x00", "a file packed with xz", _UNPACK),
    (0, b"BZh", "a file packed with bzip2", _UNPACK),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive", _UNPACK),
    (0, b"Rar!\x1a\x07", "a RAR archive", _UNPACK),
    (0, b"8BPS", "a Photoshop file", _EXPORT),
    (0, b"\xff\x0a", "a JPEG XL file", _EXPORT),
    (0, b"\x00\x00\x00\x0cJXL ", "a JPEG XL file", _EXPORT),
    (0, b"\xff\x4f\xff\x51", "a JPEG 2000 codestream", _EXPORT),
    (0, b"v/1\x01", "an OpenEXR file", _EXPORT),
)
_GZIP = b"\x1f\x8b"
_LOOKED_AT = 4_096
"""Bytes at the beginning in which what is packed or written as text shows its own beginning."""
_BASE64 = re.compile(rb"(?:[A-Za-z0-9+/_-]{4}){4,}")
_IN_JSON = re.compile(rb'"(?:data:[^",]{0,100},)?((?:[A-Za-z0-9+/_-]|\\/){16,})')
_URL_SAFE = bytes.maketrans(b"-_", b"+/")


@dataclass(frozen=True)
class OtherType:
    """A type of file that is not read.

    Attributes:
        name: With its article.
        way_out: What its sender can do.
    """

    name: str
    way_out: str


def sniff(data: bytes) -> str | None:
    """Name of the file type that the first bytes announce, or None where they are not known.

    Example:
        >>> sniff(b"GIF89a"), sniff(b"hello")
        ('GIF', None)
    """
    for offset, magic, name in _MAGIC:
        if data[offset : offset + len(magic)] == magic:
            return name
    return heif.kind_of(data)


def other_type(data: bytes) -> OtherType | None:
    """Identify a file whose type is not read; None where it is unknown.

    Example:
        >>> other_type(b"data:image/png;base64,iVBORw0KGgoAAAANSUhEUg==").name
        'a data: URL'
    """
    for offset, magic, name, way_out in _OTHERS:
        if data[offset : offset + len(magic)] == magic:
            return OtherType(name, way_out)
    if data.startswith(_GZIP):
        return OtherType(f"a file packed with gzip{_of(_unpacked(data))}", _UNPACK)
    text = data[:_LOOKED_AT].removeprefix(b"\xef\xbb\xbf").lstrip()
    if text[:5].lower() == b"data:":
        return OtherType("a data: URL", f"{_DECODE}, without what stands before the comma")
    if text[:1] in (b"{", b"["):
        found = _IN_JSON.search(text)
        what = _of(_decoded(found[1].replace(b"\\/", b"/"))) if found else ""
        return OtherType(f"JSON{what} in base64", _DECODE) if what else None
    what = _of(_decoded(b"".join(text.strip(b"\"'").split())))
    return OtherType(f"text in base64{what}", _DECODE) if what else None


def _of(content: bytes) -> str:
    kind = sniff(content)
    return f" of a {kind} file" if kind else ""


def _unpacked(packed: bytes) -> bytes:
    try:
        return zlib.decompressobj(wbits=31).decompress(packed[:_LOOKED_AT], 256)
    except zlib.error:
        return b""


def _decoded(text: bytes) -> bytes:
    found = _BASE64.match(text)
    return binascii.a2b_base64(found[0].translate(_URL_SAFE)) if found else b""
