"""Read what a JPEG or JPEG-LS frame says of itself, before any decoder sees it.

Dermatoscopes often declare YBR_FULL_422 over a JPEG whose samples are RGB, or RGB over YCbCr: their
software copies the camera's JPEG and a fixed photometric interpretation. A viewer that believes it
shows green skin. So the JPEG decides, as Pillow and libjpeg do: an Adobe marker names the colour
model, a JFIF marker means YCbCr, components called R, G and B are what they say. Only a JPEG with
none of these leaves the decision to the photometric interpretation, and there subsampled colour
can only be YCbCr.
"""

import struct

from model_core.errors import UnreadableImageError
from model_core.images.formats.decoder_process import Frame
from model_core.images.formats.jpeg_segments import header_segments

_START = b"\xff\xd8"
_JPEG_LS = 0xF7
_SIZES = {0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF, _JPEG_LS}
_JFIF, _ADOBE = 0xE0, 0xEE
_ADOBE_RGB = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00\x00"


def read_frame(data: bytes) -> Frame:
    """Read the size of a JPEG or JPEG-LS frame.

    Raises:
        UnreadableImageError: there is none.
    """
    if data.startswith(_START):
        for marker, payload, _ in header_segments(data):
            if marker in _SIZES and len(payload) >= 6:
                bits, rows, columns, samples = struct.unpack_from(">BHHB", payload)
                return Frame(rows, columns, samples, bits)
    raise UnreadableImageError("the JPEG frame of the DICOM file has no size")


def with_colours_named(data: bytes, photometric: str) -> bytes:
    """Let a JPEG frame say itself whether it is RGB or YCbCr, as the top of this file explains."""
    if photometric != "RGB":
        return data  # without a marker libjpeg takes YCbCr anyway
    for marker, payload, _ in header_segments(data):
        if (marker, payload[:5]) in ((_JFIF, b"JFIF\0"), (_ADOBE, b"Adobe")):
            return data
        if marker in _SIZES:
            sampling = {payload[at] for at in range(7, len(payload), 3)}
            return data if len(sampling) > 1 else _START + _ADOBE_RGB + data[2:]
    return data
