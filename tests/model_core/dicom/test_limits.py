"""Small files that would be large, long or deep: refused before anything is built of them."""

import base64
import struct
import time
import tracemalloc

import numpy as np
import pytest
from pydicom import uid

from model_core.dicom.elements import MAX_DEPTH, MAX_ELEMENTS
from model_core.errors import ImageTooLargeError, InputError, UnreadableImageError
from model_core.images.announced_size import announced_pixels
from model_core.images.decode import decode_image
from model_core.images.formats import decoder_process
from tests.fixtures.dicom_files import dataset, dicom_around, file_of, jpeg_2000
from tests.fixtures.pictures import lesion

PICTURE = lesion(64, 96)
PLAIN = file_of(dataset(np.asarray(PICTURE)))
# The data set begins behind the file meta information, with (0008,0005) or (0008,0008).
START = PLAIN.index(b"\x08\0\x08\0CS")
UNDEFINED = b"\xff\xff\xff\xff"
ITEM, ITEM_END = b"\xfe\xff\0\xe0", b"\xfe\xff\x0d\xe0" + bytes(4)
SEQUENCE, SEQUENCE_END = b"\x40\0\x75\x02SQ\0\0", b"\xfe\xff\xdd\xe0" + bytes(4)


def with_elements(elements: bytes) -> bytes:
    """A good photograph with further elements at its beginning."""
    return PLAIN[:START] + elements + PLAIN[START:]


def nested(depth: int) -> bytes:
    opened = (SEQUENCE + UNDEFINED + ITEM + UNDEFINED) * depth
    return opened + (ITEM_END + SEQUENCE_END) * depth


def test_sequences_of_a_photograph_are_passed_over() -> None:
    sequences = SEQUENCE + UNDEFINED + (ITEM + bytes(4)) * 100 + SEQUENCE_END
    icon = b"\x41\0\x75\x02OB\0\0" + UNDEFINED + ITEM + b"\x04\0\0\0abcd" + SEQUENCE_END
    data = with_elements(sequences + icon + nested(1).replace(b"\x75\x02", b"\x76\x02"))
    assert np.array_equal(np.asarray(decode_image(data).picture), np.asarray(PICTURE))


def test_a_private_sequence_of_unknown_type_is_read_as_implicit() -> None:
    inner = b"\x08\0\x50\0\x02\0\0\0A1"  # without a VR
    unknown = b"\x09\0\x01\x10UN\0\0" + UNDEFINED + ITEM + UNDEFINED + inner + ITEM_END
    data = with_elements(b"")
    at = data.index(b"\x10\0\x10\0PN")
    data = data[:at] + unknown + SEQUENCE_END + data[at:]
    assert np.array_equal(np.asarray(decode_image(data).picture), np.asarray(PICTURE))


@pytest.mark.parametrize(
    "element",
    [
        pytest.param(b"\x09\0\x01\x10\x06\0\0\0ABCDEF", id="implicit"),
        pytest.param(b"\x09\0\x01\x10" + bytes(4), id="empty"),
        pytest.param(b"\x09\0\x01\x10" + UNDEFINED + ITEM + bytes(4) + SEQUENCE_END, id="sequence"),
    ],
)
def test_a_private_element_without_a_type_is_passed_over(element: bytes) -> None:
    at = PLAIN.index(b"\x10\0\x10\0PN")
    picture = decode_image(PLAIN[:at] + element + PLAIN[at:]).picture
    assert np.array_equal(np.asarray(picture), np.asarray(PICTURE))


@pytest.mark.parametrize("vr", [b"ZZ", b"OX", b"??"])
@pytest.mark.parametrize("tag", [b"\x09\0\x01\x10", b"\x08\0\x06\0"])
def test_an_element_of_a_type_not_known_is_passed_over(tag: bytes, vr: bytes) -> None:
    unknown = tag + vr + b"\0\0\x06\0\0\0ABCDEF"
    within = SEQUENCE + UNDEFINED + ITEM + UNDEFINED + unknown + ITEM_END + SEQUENCE_END
    at = PLAIN.index(b"\x10\0\x10\0PN")
    for elements in (unknown, within):
        data = PLAIN[:at] + elements + PLAIN[at:]
        assert np.array_equal(np.asarray(decode_image(data).picture), np.asarray(PICTURE))


@pytest.mark.parametrize(
    ("elements", "expected"),
    [
        pytest.param(
            SEQUENCE + UNDEFINED + (ITEM + bytes(4)) * 2_000_000 + SEQUENCE_END,
            f"more than {MAX_ELEMENTS} elements",
            id="two million empty items",
        ),
        pytest.param(nested(100_000), f"more than {MAX_DEPTH} deep", id="a hundred thousand deep"),
        pytest.param(
            (SEQUENCE + UNDEFINED + ITEM + UNDEFINED) * 9, "truncated or damaged", id="no end"
        ),
        pytest.param(
            b"\x28\0\x50\x10DS" + struct.pack("<H", 60_000) + b"1\\" * 30_000,
            r"element \(0028,1050\) of the DICOM file has 60000 bytes",
            id="thirty thousand windows",
        ),
        pytest.param(b"\x08\0\x05\0CS\x02\0AA" * 2, "an element twice", id="an element twice"),
        pytest.param(b"\x08\0\x05\0\xff\xff\x02\0AA", "no type known", id="no VR"),
    ],
)
def test_a_file_built_to_be_expensive_is_refused_at_once(elements: bytes, expected: str) -> None:
    data = with_elements(elements)
    tracemalloc.start()
    started = time.perf_counter()
    with pytest.raises(UnreadableImageError, match=expected):
        decode_image(data)
    seconds, peak = time.perf_counter() - started, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert seconds < 5  # of which most is spent on counting memory
    assert peak < 20_000_000


def around(frame: bytes, syntax: str = uid.JPEG2000Lossless) -> bytes:
    return dicom_around(frame, PICTURE, syntax)


def patched(frame: bytes, marker: bytes, offset: int, value: bytes) -> bytes:
    """A frame with other bytes at an offset behind one of its markers."""
    at = frame.index(marker) + offset
    return frame[:at] + value + frame[at + len(value) :]


FRAME = jpeg_2000(PICTURE)


def with_precincts(sizes: bytes) -> bytes:
    """A frame whose header asks for precincts of 2 ** 8 and 2 ** 4 px, and the like."""
    at = FRAME.index(b"\xff\x52")
    coding = b"\xff\x52\0\x0e\x01" + FRAME[at + 5 : at + 14] + sizes
    return FRAME[:at] + coding + FRAME[at + 14 :]


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        pytest.param(
            patched(FRAME, b"\xff\x51", 22, struct.pack(">II", 1, 1)), "6144 tiles", id="tiles"
        ),
        pytest.param(patched(FRAME, b"\xff\x52", 10, b"\0\0"), "blocks of less", id="blocks"),
        pytest.param(patched(FRAME, b"\xff\x52", 6, b"\xff\xff"), "65535 layers", id="layers"),
        pytest.param(with_precincts(b"\x88\x44"), "precincts of less than 64", id="precincts"),
        pytest.param(patched(FRAME, b"\xff\x51", 38, b"\0\x04"), "damaged", id="four components"),
        pytest.param(FRAME[:-40] + b"\xff\xd9", "truncated or damaged", id="cut short"),
        pytest.param(FRAME[:2] + b"\xff\x64\0\x02" * 900 + FRAME[2:], "segments", id="comments"),
        pytest.param(b"\0\0\0\x0cjP  \r\n\x87\n" + FRAME, "is a JP2 file", id="JP2"),
        pytest.param(b"nothing of the kind", "is no JPEG 2000", id="something else"),
    ],
)
def test_a_jpeg_2000_header_that_asks_for_too_much_is_refused(frame: bytes, expected: str) -> None:
    with pytest.raises(UnreadableImageError, match=expected):
        decode_image(around(frame))


def test_tiles_and_precincts_as_encoders_make_them_are_read() -> None:
    picture = lesion(300, 400)
    for options in (
        {"tile_size": (128, 128)},
        {"codeblock_size": (32, 32)},
        {"progression": "RPCL", "num_resolutions": 5},
        {"quality_mode": "rates", "quality_layers": [4, 2, 1]},
    ):
        data = dicom_around(jpeg_2000(picture, **options), picture, uid.JPEG2000Lossless)
        assert decode_image(data).picture.size == (400, 300)


def test_the_size_is_seen_without_decoding_anything() -> None:
    assert announced_pixels(PLAIN) == announced_pixels(around(b"ab")) == 64 * 96
    assert announced_pixels(PLAIN[:200]) == announced_pixels(with_elements(nested(100))) == 0


def test_jpeg_2000_may_have_half_the_pixels_of_others() -> None:
    data = around(FRAME)
    assert decode_image(data, max_pixels=2 * 64 * 96).width == 96
    with pytest.raises(ImageTooLargeError, match="the limit is 6143"):
        decode_image(data, max_pixels=2 * 64 * 96 - 1)


# Found by changing random bytes: CharLS counts zeros far beyond the end of it, for half a minute.
ENDLESS = base64.b64decode(
    "/9j/9wARCAA8AFADAREAAhEAAxEA/9oADAMBAAIAAwAIAgAwxb//f/9//3//f/9//3//f/9//3//f/9//3//f/9/"
    "/3/9/3//f/yMZzf/f/9gAIACAANvmX//f/9//3//f/9/+fc5s/fGxEXXAb91pojbc5v8eIjaGc3yoiNkYZvmRE2B"
    "hhfOiTXGGF9CSawwwvpSTVGGF9SSaskqyTVklWSagwwvrSTUkleSakkryTUkleSakqvVqVV6tWqqBgYC+rVVq+rV"
    "Vq+tVTAwMBd9eqiBgYC/fYqngYGN9mSTRRRvtSSWKKN9uSSRRRvuySKKKN/vySCKKN/w5ISKKMT/f/9/wADZAA=="
)


@pytest.mark.slow
def test_a_decoder_that_does_not_end_is_ended() -> None:
    picture = lesion(60, 80)
    started = time.perf_counter()
    with pytest.raises(UnreadableImageError, match="JPEG-LS frame of the DICOM file is truncated"):
        decode_image(dicom_around(ENDLESS, picture, uid.JPEGLSLossless))
    assert time.perf_counter() - started < 25  # 2 s of a core, or 12 s on a busy machine


def test_a_decoder_gets_no_more_memory_than_its_pixels_need(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(decoder_process, "_LIBRARY_BYTES", 50_000_000)
    with pytest.raises(UnreadableImageError, match="truncated or damaged"):
        decode_image(around(FRAME))


def test_run_lengths_never_expand_beyond_the_pixels() -> None:
    expanding = bytes([129, 7]) * 50_000  # 6.4 MB of an announced 6,144 bytes
    header = struct.pack("<16I", 3, 64, 64 + len(expanding), 64 + 2 * len(expanding), *[0] * 12)
    tracemalloc.start()
    with pytest.raises(UnreadableImageError, match="holds more than its 6144 bytes"):
        decode_image(around(header + expanding * 3, uid.RLELossless))
    assert tracemalloc.get_traced_memory()[1] < 2_000_000
    tracemalloc.stop()


@pytest.mark.parametrize("offsets", [(64, 64, 64), (64, 4_000_000_000, 64), (9, 8, 7), (0, 0, 0)])
def test_run_lengths_that_are_not_there_are_refused(offsets: tuple[int, ...]) -> None:
    header = struct.pack("<16I", 3, *offsets, *[0] * 12)
    with pytest.raises(InputError):
        decode_image(around(header + bytes([129, 7]), uid.RLELossless))
