"""What is not read is named, with the way out."""

import base64
import bz2
import gzip
import json
import lzma

import pytest

from model_core.errors import UnsupportedImageError
from model_core.images.decode import decode_image
from model_core.images.file_types import describe
from model_core.masks.png import decode_mask
from tests.fixtures.pictures import encode, quarters

PNG, JPEG = encode(quarters()), encode(quarters(), "JPEG")
TEXT = base64.b64encode(PNG)


@pytest.mark.parametrize(
    ("data", "found"),
    [
        pytest.param(encode(quarters(), "TIFF", big_tiff=True), "a BigTIFF file.*save it as",
                     id="BigTIFF"),
        pytest.param(b"MM\0+\0\x08\0\0" + bytes(20), "a BigTIFF file", id="big-endian BigTIFF"),
        pytest.param(TEXT, "text in base64 of a PNG file.*decoded", id="base64"),
        pytest.param(base64.encodebytes(JPEG), "text in base64 of a JPEG file", id="in lines"),
        pytest.param(base64.urlsafe_b64encode(JPEG), "text in base64 of a JPEG", id="URL-safe"),
        pytest.param(b'\xef\xbb\xbf "' + TEXT + b'"\n', "text in base64 of a PNG", id="quoted"),
        pytest.param(b"data:image/png;base64," + TEXT, "a data: URL.*decoded", id="data URL"),
        pytest.param(b"\r\nDATA:;base64," + TEXT, "a data: URL", id="data URL, odd"),
        pytest.param(json.dumps({"id": 7, "image": TEXT.decode()}).encode(),
                     "JSON of a PNG file in base64", id="JSON"),
        pytest.param(b'["data:image\\/png;base64,' + TEXT.replace(b"/", b"\\/") + b'"]',
                     "JSON of a PNG file in base64", id="JSON with a data URL"),
        pytest.param(gzip.compress(PNG), "packed with gzip of a PNG file.*unpacked", id="gzip"),
        pytest.param(gzip.compress(b"text"), "packed with gzip,.*unpacked", id="gzip of text"),
        pytest.param(bz2.compress(PNG), "packed with bzip2", id="bzip2"),
        pytest.param(lzma.compress(PNG), "packed with xz", id="xz"),
        pytest.param(b"\0\0\0\x18ftypcrx \0\0\0\1crx isom", "Canon CR3", id="CR3"),
        pytest.param(b"FUJIFILMCCD-RAW 0201FF", "Fujifilm RAF", id="RAF"),
        pytest.param(b"IIRO\x08\0\0\0" + bytes(9), "Olympus ORF", id="ORF"),
        pytest.param(b"IIU\0\x18\0\0\0" + bytes(9), "Panasonic RW2", id="RW2"),
        pytest.param(b"8BPS\0\1", "Photoshop", id="PSD"),
    ],
)  # fmt: skip
def test_a_file_that_is_not_read_is_named_with_the_way_out(data: bytes, found: str) -> None:
    with pytest.raises(UnsupportedImageError, match=f"found .*{found}"):
        decode_image(data)
    with pytest.raises(UnsupportedImageError, match=f"the mask is .*{found.partition('.')[0]}"):
        decode_mask(data)


@pytest.mark.parametrize(
    "data",
    [b"hello, this is text", b"wordswithoutspacesbetween", b'{"size": [1, 1]}', bytes(64)],
)
def test_what_is_not_known_is_not_named(data: bytes) -> None:
    assert describe(data) == ("bytes of no image type we know", "")
