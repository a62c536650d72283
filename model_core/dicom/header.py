"""Read what a DICOM image says of itself, and check it before any of its pixels are decoded."""

import struct
from dataclasses import dataclass

from model_core.arrays import Spacing
from model_core.decimals import decimal
from model_core.dicom.elements import JPEG_BASELINE, JPEG_EXTENDED, DicomFile, read_elements
from model_core.errors import (
    MultiFrameImageError,
    UnreadableImageError,
    UnsupportedImageError,
    check_pixels,
)

_SOP_CLASSES = {
    "1.2.840.10008.5.1.4.1.1.77.1.4": "VL Photographic Image",
    "1.2.840.10008.5.1.4.1.1.77.1.7": "Dermoscopic Photography Image",
    "1.2.840.10008.5.1.4.1.1.7": "Secondary Capture Image",
}
"""The objects that are read: images in one frame."""
_FRAMES_OF_PHOTOGRAPHS = {
    "1.2.840.10008.5.1.4.1.1.7.2": "Multi-frame Grayscale Byte Secondary Capture Image",
    "1.2.840.10008.5.1.4.1.1.7.3": "Multi-frame Grayscale Word Secondary Capture Image",
    "1.2.840.10008.5.1.4.1.1.7.4": "Multi-frame True Color Secondary Capture Image",
}
"""Multi-frame objects that are read where they have one frame, as converters write them."""
_MULTI_FRAME = {
    "1.2.840.10008.5.1.4.1.1.7.1": "Multi-frame Single Bit Secondary Capture Image",
    "1.2.840.10008.5.1.4.1.1.77.1.4.1": "Video Photographic Image",
    "1.2.840.10008.5.1.4.1.1.77.1.6": "VL Whole Slide Microscopy Image",
    "1.2.840.10008.5.1.4.1.1.77.1.9": "Confocal Microscopy Tiled Pyramidal Image",
}
_OTHER_KINDS = {
    "1.2.840.10008.5.1.4.1.1.1": "a Computed Radiography Image",
    "1.2.840.10008.5.1.4.1.1.1.1": "a Digital X-Ray Image",
    "1.2.840.10008.5.1.4.1.1.2": "a CT Image",
    "1.2.840.10008.5.1.4.1.1.3.1": "an Ultrasound Multi-frame Image",
    "1.2.840.10008.5.1.4.1.1.4": "an MR Image",
    "1.2.840.10008.5.1.4.1.1.6.1": "an Ultrasound Image",
    "1.2.840.10008.5.1.4.1.1.66.4": "a Segmentation",
    "1.2.840.10008.5.1.4.1.1.77.1.1": "a VL Endoscopic Image",
    "1.2.840.10008.5.1.4.1.1.77.1.2": "a VL Microscopic Image",
    "1.2.840.10008.5.1.4.1.1.77.1.5.1": "an Ophthalmic Photography 8 Bit Image",
    "1.2.840.10008.5.1.4.1.1.481.2": "an RT Dose",
}
"""Objects of other kinds that lie in the same archives; named in the error."""
SAMPLES = {
    "RGB": 3, "YBR_FULL": 3, "YBR_FULL_422": 3, "YBR_RCT": 3, "YBR_ICT": 3,
    "MONOCHROME1": 1, "MONOCHROME2": 1, "PALETTE COLOR": 1,
}  # fmt: skip
"""Samples a pixel by photometric interpretation, of those that are read."""
_OF_JPEG = {"YBR_PARTIAL_422", "YBR_PARTIAL_420"}
"""Retired ones that old devices write over a JPEG, which says itself what its colours are."""

SOP_CLASS = 0x0008_0016
PALETTE_DESCRIPTORS = (0x0028_1101, 0x0028_1102, 0x0028_1103)
PALETTE_DATA = (0x0028_1201, 0x0028_1202, 0x0028_1203)
ICC_PROFILE = 0x0028_2000
_IMAGE_TAGS = (
    _SAMPLES, _PHOTOMETRIC, _PLANAR, _FRAMES, _ROWS, _COLUMNS, _SPACING, _ALLOCATED, _STORED, _HIGH,
    _SIGNED, _CENTRE, _WIDTH, _INTERCEPT, _SLOPE, _FUNCTION
) = (
    0x0028_0002, 0x0028_0004, 0x0028_0006, 0x0028_0008, 0x0028_0010, 0x0028_0011, 0x0028_0030,
    0x0028_0100, 0x0028_0101, 0x0028_0102, 0x0028_0103, 0x0028_1050, 0x0028_1051, 0x0028_1052,
    0x0028_1053, 0x0028_1056,
)  # fmt: skip
_SEGMENTED_PALETTE = 0x0028_1221
_MODALITY_TABLE, _VOI_TABLE = 0x0028_3000, 0x0028_3010
_FINEST_MM, _COARSEST_MM = 1e-6, 1e6
"""Sides of a pixel that are believed: squares of others leave the range of numbers."""
_LIMITS = {ICC_PROFILE: 4_000_000} | dict.fromkeys(PALETTE_DATA, 131_072)
"""Longest values, bytes: a printer's profile has some 2 MB, a palette 65,536 entries of two."""


@dataclass(frozen=True)
class Window:
    """The range of grey that a viewer is to show (PS3.3 C.11.2.1.2).

    Attributes:
        centre: Middle of the range, after the rescale.
        width: Width of the range, above 0.
        function: `LINEAR`, `LINEAR_EXACT` or `SIGMOID`.
    """

    centre: float
    width: float
    function: str


@dataclass(frozen=True)
class Header:
    """How the pixels of a DICOM image are to be read.

    Attributes:
        rows: Height, px.
        columns: Width, px.
        photometric: A key of `SAMPLES`.
        planar: Whether the samples come plane by plane.
        allocated: Bits a sample takes, 8 or 16.
        stored: Bits of it that are used.
        high: Number of the highest of these.
        signed: Whether samples are in two's complement.
        slope: Of the rescale.
        intercept: Of the rescale.
        window: The range to show; None where the file names none.
        spacing_mm: Height and width of a pixel from Pixel Spacing (0028,0030), mm, or None. Imager
            Pixel Spacing and a dermatoscope's magnification say nothing of sizes on the skin.
    """

    rows: int
    columns: int
    photometric: str
    planar: bool
    allocated: int
    stored: int
    high: int
    signed: bool
    slope: float
    intercept: float
    window: Window | None
    spacing_mm: Spacing | None

    @property
    def samples(self) -> int:
        """Samples a pixel: 1 or 3."""
        return SAMPLES[self.photometric]


def read_header(
    data: bytes, *, max_pixels: int, also: frozenset[int] = frozenset()
) -> tuple[Header, DicomFile]:
    """Read and check the header; give the file whose pixels it describes, too.

    `also` are tags of further elements that are wanted.

    Raises:
        UnsupportedImageError: another kind of object, encoding or colour than is read here.
        MultiFrameImageError: several frames.
        ImageTooLargeError: more than `max_pixels`.
        UnreadableImageError: truncated, damaged or contradicting itself.
    """
    wanted = {SOP_CLASS, *PALETTE_DESCRIPTORS, *PALETTE_DATA, ICC_PROFILE, *_IMAGE_TAGS, *also}
    file = read_elements(data, wanted, limits=_LIMITS)
    fields = _Fields(file)
    _check_object(fields)
    rows, columns = fields.number(_ROWS), fields.number(_COLUMNS)
    if not rows or not columns:
        raise UnreadableImageError("the DICOM file does not say how many rows and columns it has")
    check_pixels("image", rows, columns, max_pixels)
    photometric = _photometric(fields, file.transfer_syntax)
    if photometric == "PALETTE COLOR" and _SEGMENTED_PALETTE in file.tags:
        raise UnsupportedImageError(
            "the DICOM file has a segmented palette (0028,1221), expected one that is written out"
        )
    allocated, stored, high = _bits(fields)
    window = _window(fields)
    _refuse_lookup_tables(file, window)
    slopes, intercepts = fields.numbers(_SLOPE), fields.numbers(_INTERCEPT)
    spacing = fields.numbers(_SPACING)
    usable = len(spacing) == 2 and all(_FINEST_MM <= side <= _COARSEST_MM for side in spacing)
    header = Header(
        rows=rows,
        columns=columns,
        photometric=photometric,
        planar=fields.number(_PLANAR, default=0) == 1,
        allocated=allocated,
        stored=stored,
        high=high,
        signed=fields.number(_SIGNED, default=0) == 1,
        slope=(slopes or [1.0])[0] or 1.0,
        intercept=(intercepts or [0.0])[0],
        window=window,
        spacing_mm=(spacing[0], spacing[1]) if usable else None,
    )
    return header, file


def announced_size(data: bytes) -> tuple[int, int]:
    """Read the columns and rows of a file, whatever its kind; 0 where it does not say."""
    fields = _Fields(read_elements(data, {_ROWS, _COLUMNS}))
    return fields.number(_COLUMNS), fields.number(_ROWS)


def _check_object(fields: "_Fields") -> None:
    """Refuse objects that are no image in one frame."""
    uid = fields.text(SOP_CLASS)
    if uid in _MULTI_FRAME:
        raise MultiFrameImageError(
            f"the DICOM file is a multi-frame object ({_MULTI_FRAME[uid]}), expected an image in "
            "one frame"
        )
    if uid not in _SOP_CLASSES and uid not in _FRAMES_OF_PHOTOGRAPHS:
        found = _OTHER_KINDS.get(uid, "an object of another kind")
        expected = ", ".join(_SOP_CLASSES.values())
        raise UnsupportedImageError(f"the DICOM file is {found}, expected {expected}")
    frames = fields.numbers(_FRAMES)
    if not frames and fields.text(_FRAMES):
        raise UnreadableImageError("the DICOM file's number of frames (0028,0008) is no number")
    if frames and frames[0] > 1:
        raise MultiFrameImageError(
            f"the DICOM file has {frames[0]:.0f} frames, expected an image in one: split it into "
            "an object for each"
        )


def _photometric(fields: "_Fields", transfer_syntax: str) -> str:
    photometric = fields.text(_PHOTOMETRIC)
    if photometric in _OF_JPEG and transfer_syntax in (JPEG_BASELINE, JPEG_EXTENDED):
        photometric = "YBR_FULL_422"
    samples = fields.number(_SAMPLES, default=0)
    if photometric not in SAMPLES:
        expected = ", ".join(SAMPLES)
        raise UnsupportedImageError(
            f"the DICOM file's photometric interpretation is none of {expected}"
        )
    if samples != SAMPLES[photometric]:
        raise UnreadableImageError(
            f"the DICOM file has {samples} samples a pixel, {photometric} has "
            f"{SAMPLES[photometric]}"
        )
    return photometric


def _bits(fields: "_Fields") -> tuple[int, int, int]:
    """Read the bits allocated, the bits stored and the highest bit."""
    allocated = fields.number(_ALLOCATED, default=0)
    stored = fields.number(_STORED, default=allocated)
    high = fields.number(_HIGH, default=stored - 1)
    if allocated not in (8, 16):
        raise UnsupportedImageError(
            f"the DICOM file has {allocated} bits a sample, expected 8 or 16"
        )
    if not 1 <= stored <= high + 1 <= allocated:
        raise UnreadableImageError(
            f"the DICOM file stores {stored} bits up to number {high} in {allocated}"
        )
    return allocated, stored, high


def _refuse_lookup_tables(file: DicomFile, window: Window | None) -> None:
    if _MODALITY_TABLE in file.tags or (_VOI_TABLE in file.tags and window is None):
        raise UnsupportedImageError(
            "the DICOM file shows its greys through a lookup table (0028,3000) or (0028,3010), "
            "expected a rescale and a window"
        )


def _window(fields: "_Fields") -> Window | None:
    centres, widths = fields.numbers(_CENTRE), fields.numbers(_WIDTH)
    if not centres or not widths or widths[0] <= 0:
        return None
    function = fields.text(_FUNCTION)
    known = function in ("LINEAR_EXACT", "SIGMOID")
    return Window(centres[0], widths[0], function if known else "LINEAR")


class _Fields:
    """Values of elements as numbers and code words; what is absent or cannot be read is empty."""

    def __init__(self, file: DicomFile) -> None:
        self._values = file.values
        self._order = file.order

    def number(self, tag: int, *, default: int = 0) -> int:
        """Read an unsigned number of 16 bits."""
        value = self._values.get(tag, b"")
        return default if len(value) != 2 else int(struct.unpack(self._order + "H", value)[0])

    def text(self, tag: int) -> str:
        """Read the first of several code words; only to be compared, never to be shown."""
        value = self._values.get(tag, b"").decode("ascii", "replace")
        return value.split("\\", maxsplit=1)[0].strip("\0 ")

    def numbers(self, tag: int) -> list[float]:
        """Read numbers that are written out in decimal; none where one of them is no number."""
        parts = self._values.get(tag, b"").decode("ascii", "replace").split("\\")
        try:
            return [decimal(part.strip("\0 ")) for part in parts if part.strip("\0 ")]
        except ValueError:
            return []
