"""Decode a DICOM image from bytes: limits first, then its one frame, then its colours.

Its text (names, dates, descriptions) is never looked at here, nor part of any error.
"""

from dataclasses import replace

import numpy as np
from PIL import Image as Pillow

from model_core.dicom import jpeg
from model_core.dicom.colours import to_picture
from model_core.dicom.elements import JPEG_BASELINE, JPEG_EXTENDED, DicomFile
from model_core.dicom.header import ICC_PROFILE, Header, read_header
from model_core.dicom.pixels import check_frame, decode_samples
from model_core.errors import UnreadableImageError, UnsupportedImageError
from model_core.images.formats.jpeg import reduced_for
from model_core.images.formats.loader import DecodedImage, load_image, open_image


def decode_dicom(
    data: bytes, *, max_pixels: int, at_least: tuple[int, int] | None = None
) -> DecodedImage:
    """Decode a DICOM image as the file stores it: DICOM knows no EXIF orientation.

    Arguments are those of `decode_image`.

    Raises:
        UnsupportedImageError: a kind of object, an encoding or colours that are not read here.
        MultiFrameImageError: several frames.
        ImageTooLargeError: more than `max_pixels`, or half of that in JPEG 2000.
        UnreadableImageError: truncated, damaged or contradicting itself.
        Exception: whatever decoders raise on damaged bytes.

    Returns:
        A picture in mode L or RGB, its colour profile in `info`.
    """
    header, file = read_header(data, max_pixels=max_pixels)
    if file.transfer_syntax in (JPEG_BASELINE, JPEG_EXTENDED):
        picture = _jpeg(header, file, at_least)
    else:
        picture = to_picture(*decode_samples(header, file, max_pixels=max_pixels), file)
    if ICC_PROFILE in file.values:
        picture.info["icc_profile"] = file.values[ICC_PROFILE]
    return DecodedImage(picture, header.rows, header.columns, header.spacing_mm)


def _jpeg(header: Header, file: DicomFile, at_least: tuple[int, int] | None) -> Pillow.Image:
    data = bytes(file.pixels)
    frame = jpeg.read_frame(data)
    if frame.bits != 8:
        raise UnsupportedImageError(f"the JPEG frame has {frame.bits} bits a sample, expected 8")
    check_frame(header, frame)
    named = jpeg.with_colours_named(data, header.photometric)
    image = open_image(named, "JPEG", what="JPEG frame", max_pixels=header.rows * header.columns)
    if image.size != (header.columns, header.rows):
        raise UnreadableImageError("the JPEG frame of the DICOM file has two sizes")
    if header.samples == 1:
        load_image(image)
        coded = replace(header, allocated=8, stored=8, high=7)
        return to_picture(np.asarray(image), coded, file)
    if at_least is not None:
        reduced_for(image, at_least)
    load_image(image)
    return image
