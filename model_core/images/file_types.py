"""Identify a file by its first bytes: types that are read, and others with what to do instead."""

import binascii
import re
import zlib

from model_core.dicom.elements import start_of
from model_core.images.formats import heif

_MAGIC: tuple[tuple[int, bytes, str], ...] = (
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


def sniff(data: bytes) -> str | None:
    """Name the file type that the first bytes announce, or None where they are not known.

    Example:
        >>> sniff(b"GIF89a"), sniff(b"hello")
        ('GIF', None)
    """
    # First: the preamble of a DICOM file may be that of a TIFF file (PS3.10, section 7.1).
    if start_of(data) is not None:
        return "DICOM"
    for offset, magic, name in _MAGIC:
        if data[offset : offset + len(magic)] == magic:
            return name
    return heif.kind_of(data)


def describe(data: bytes) -> tuple[str, str]:
    """Name a file's type with its article, and how its sender can make it one that is read.

    Returns:
        Name and advice; the advice is empty where there is none to give.

    Example:
        >>> describe(b"data:image/png;base64,iVBORw0KGgoAAAANSUhEUg==")[0]
        'a data: URL'
    """
    if not data:
        return "empty (0 bytes)", ""
    if kind := sniff(data):
        return f"a {kind} file", ""
    for offset, magic, name, advice in _OTHERS:
        if data[offset : offset + len(magic)] == magic:
            return name, advice
    if data.startswith(_GZIP):
        return f"a file packed with gzip{_of(_unpacked(data))}", _UNPACK
    text = data[:_LOOKED_AT].removeprefix(b"\xef\xbb\xbf").lstrip()
    if text[:5].lower() == b"data:":
        return "a data: URL", f"{_DECODE}, without what stands before the comma"
    if text[:1] in (b"{", b"["):
        match = _IN_JSON.search(text)
        if match and (what := _of(_decoded(match[1].replace(b"\\/", b"/")))):
            return f"JSON{what} in base64", _DECODE
    elif what := _of(_decoded(b"".join(text.strip(b"\"'").split()))):
        return f"text in base64{what}", _DECODE
    return "bytes of no image type we know", ""


def _of(content: bytes) -> str:
    kind = sniff(content)
    return f" of a {kind} file" if kind else ""


def _unpacked(packed: bytes) -> bytes:
    try:
        return zlib.decompressobj(wbits=31).decompress(packed[:_LOOKED_AT], 256)
    except zlib.error:
        return b""


def _decoded(text: bytes) -> bytes:
    match = _BASE64.match(text)
    return binascii.a2b_base64(match[0].translate(_URL_SAFE)) if match else b""
