"""Decode the samples of a DICOM frame, whatever it is compressed with, before its colours."""

import math
import struct
from dataclasses import replace
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from PIL import Image as Pillow

from model_core.dicom import jpeg, jpeg2000
from model_core.dicom.elements import JPEG_2000, JPEG_LS, RLE, DicomFile
from model_core.dicom.header import Header
from model_core.errors import UnreadableImageError, UnsupportedImageError, check_pixels
from model_core.images.formats.decoder_process import Frame, Kind, decode_apart
from model_core.images.formats.tiff import holds_more

Samples = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]


def decode_samples(header: Header, file: DicomFile, *, max_pixels: int) -> tuple[Samples, Header]:
    """Decode a frame that is not JPEG.

    Returns:
        uint8 or uint16 (rows, columns) or (rows, columns, 3), two's complement where the header
        says signed; and the header as the frame itself corrects it (its bits, its colours).

    Raises:
        UnreadableImageError: too few or too many bytes, damaged, or not of the header's size.
        UnsupportedImageError: the library that decodes it is not installed.
        ImageTooLargeError: JPEG 2000 of more than half of `max_pixels`.
    """
    if file.transfer_syntax in JPEG_LS:
        data = bytes(file.pixels)
        return _coded_apart("jpeg-ls", header, data, jpeg.read_frame(data))
    if file.transfer_syntax in JPEG_2000:
        # It takes 15 bytes a pixel to decode, three times as many as the others.
        check_pixels("JPEG 2000 image", header.rows, header.columns, max_pixels // 2)
        data = bytes(file.pixels)
        return _coded_apart("jpeg-2000", header, data, jpeg2000.read_frame(data))
    if file.transfer_syntax == RLE:
        return _run_lengths(header, file.pixels), header
    pixels = file.pixels
    if file.order == ">" and file.in_words and header.allocated == 8 and len(pixels) % 2 == 0:
        pixels = memoryview(np.frombuffer(pixels, np.uint16).byteswap().tobytes())
    if header.photometric == "YBR_FULL_422":
        return _subsampled(header, pixels), header
    dtype = np.dtype(f"{file.order}u{header.allocated // 8}")
    shape = (header.rows, header.columns, header.samples)
    samples = np.frombuffer(_exactly(pixels, math.prod(shape) * dtype.itemsize), dtype)
    if header.planar:
        samples = samples.reshape(shape[2], *shape[:2]).transpose(1, 2, 0)
    native = samples.astype(dtype.newbyteorder("="), copy=False)
    return native.reshape(shape[: 3 if header.samples == 3 else 2]), header


def check_frame(header: Header, frame: Frame) -> None:
    """Refuse a frame of another size than the file announced, on which the limits were held.

    Raises:
        UnreadableImageError: it has another.
    """
    coded, announced = ((part.rows, part.columns, part.samples) for part in (frame, header))
    if coded != announced:
        raise UnreadableImageError(
            f"the compressed frame has rows, columns and samples {coded}, "
            f"the DICOM file says {announced}"
        )


def _exactly(pixels: memoryview, size: int) -> memoryview:
    """Cut off the padding behind the pixel data (PS3.5, 8.1.1).

    Padding repeats one byte. Other bytes are pixels that the header knows nothing of.
    """
    if len(pixels) < size or len(set(pixels[size + size % 2 :])) > 1:
        raise UnreadableImageError(
            f"the DICOM file has {len(pixels)} bytes of pixels, its header announces {size}"
        )
    return pixels[:size]


def _subsampled(header: Header, pixels: memoryview) -> Samples:
    """Read YBR_FULL_422: two values of Y, then one of Cb and Cr for both (PS3.3 C.7.6.3.1.2)."""
    rows, columns = header.rows, header.columns
    if columns % 2 or header.allocated != 8:
        raise UnreadableImageError(
            f"YBR_FULL_422 of {columns} columns and {header.allocated} bits, expected an even "
            "number and 8"
        )
    pairs = np.frombuffer(_exactly(pixels, rows * columns * 2), np.uint8).reshape(rows, -1, 4)
    samples = np.empty((rows, columns, 3), np.uint8)
    samples[:, 0::2, 0], samples[:, 1::2, 0] = pairs[..., 0], pairs[..., 1]
    samples[..., 1:] = np.repeat(pairs[..., 2:], 2, axis=1)
    return samples


def _run_lengths(header: Header, pixels: memoryview) -> Samples:
    """Decode RLE (PS3.5 annex G): a segment for each byte of a sample, the highest byte first."""
    sample_bytes, pixel_count = header.allocated // 8, header.rows * header.columns
    expected = header.samples * sample_bytes
    if len(pixels) < 64:
        raise UnreadableImageError("the RLE frame of the DICOM file ends within its header")
    count, *offsets = struct.unpack_from("<16I", pixels)
    if count != expected:
        raise UnreadableImageError(
            f"the RLE frame of the DICOM file has {count} segments, expected {expected}"
        )
    bounds = [*offsets[:count], len(pixels)]
    planes = np.empty((expected, pixel_count), np.uint8)
    for number, (start, end) in enumerate(pairwise(bounds)):
        # Pillow's decoder stops at the pixels asked for, whatever the bytes would expand to.
        packed = bytes(pixels[start:end])
        line = Pillow.frombytes("L", (pixel_count, 1), packed, "packbits", "L")
        # Padding may stand behind the pixels: zeros, or the erased bits of a memory card.
        if holds_more(packed.rstrip(b"\0\xff"), pixel_count):
            raise UnreadableImageError(
                f"segment {number + 1} of the RLE frame of the DICOM file is damaged: it holds "
                f"more than its {pixel_count} bytes"
            )
        planes[number] = np.asarray(line)[0]
    high, *low = planes.reshape(header.samples, sample_bytes, header.rows, header.columns).swapaxes(
        0, 1
    )
    samples: Samples = high.astype(np.uint16) << np.uint16(8) | low[0] if low else high
    return samples[0] if header.samples == 1 else samples.transpose(1, 2, 0)


def _coded_apart(kind: Kind, header: Header, data: bytes, frame: Frame) -> tuple[Samples, Header]:
    """Decode a frame in a process apart; its bits, which may be others than announced, count."""
    check_frame(header, frame)
    if frame.bits > 16:
        name = {"jpeg-ls": "JPEG-LS", "jpeg-2000": "JPEG 2000"}[kind]
        raise UnsupportedImageError(f"the {name} frame has {frame.bits} bits, expected up to 16")
    coded = replace(
        header,
        planar=False,
        allocated=8 if frame.bits <= 8 else 16,
        stored=frame.bits,
        high=frame.bits - 1,
    )
    if frame.rgb or header.photometric in ("YBR_RCT", "YBR_ICT"):
        coded = replace(coded, photometric="RGB")
    return decode_apart(kind, data, frame), coded
