"""Turn a DICOM frame's samples into a picture as a viewer shows it, 8 bits a channel.

| photometric interpretation | what becomes of it |
| --- | --- |
| MONOCHROME1, MONOCHROME2 | rescaled, then the (first) window, else the whole range of its bits |
| PALETTE COLOR | each value's colour, of 16 bits the high byte |
| RGB, YBR_RCT, YBR_ICT | taken as RGB |
| YBR_FULL, YBR_FULL_422 | converted (ITU-R BT.601, full range), as JPEG's YCbCr is |
"""

import numpy as np
import numpy.typing as npt
from PIL import Image as Pillow

from model_core.dicom.elements import DicomFile
from model_core.dicom.header import PALETTE_DATA, PALETTE_DESCRIPTORS, Header, Window
from model_core.dicom.pixels import Samples
from model_core.errors import UnreadableImageError

Table = npt.NDArray[np.uint8]


def to_picture(samples: Samples, header: Header, file: DicomFile) -> Pillow.Image:
    """Make a picture of mode L or RGB of what `decode_samples` gives, and of the file's palette.

    Raises:
        UnreadableImageError: the palette is missing or damaged.
    """
    shift, mask = header.high + 1 - header.stored, (1 << header.stored) - 1
    whole = header.stored == header.allocated == 8 and not header.signed
    if header.samples == 3:
        if not whole:
            samples = _bytes_of(_stretched(_values(header)))[samples >> shift & mask]
        mode = "YCbCr" if header.photometric in ("YBR_FULL", "YBR_FULL_422") else "RGB"
        packed = np.ascontiguousarray(samples, np.uint8)
        picture = Pillow.frombytes(mode, (header.columns, header.rows), packed.tobytes())
        return picture if mode == "RGB" else picture.convert("RGB")
    if header.photometric == "PALETTE COLOR":
        table = _palette(header, file)
    else:
        table = grey_table(header)
    return Pillow.fromarray(table[samples >> shift & mask])


def grey_table(header: Header) -> Table:
    """Make a table of brightness, uint8 (2 ** stored,), by the value of a grey sample's bits.

    Raises:
        UnreadableImageError: the rescale leaves the range of numbers.
    """
    with np.errstate(over="ignore"):
        values = _values(header) * header.slope + header.intercept
        reach = values.max() - values.min()
    if not np.isfinite(reach):
        raise UnreadableImageError(
            f"the DICOM file rescales by {header.slope:g} and {header.intercept:g}, which leaves "
            "the range of numbers"
        )
    grey = _stretched(values) if header.window is None else _through(values, header.window)
    if header.photometric == "MONOCHROME1":
        grey = 1 - grey
    return _bytes_of(grey)


def _values(header: Header) -> npt.NDArray[np.float64]:
    """List the number that each pattern of bits stands for."""
    values = np.arange(1 << header.stored, dtype=np.float64)
    if header.signed:
        values[values >= 1 << (header.stored - 1)] -= 1 << header.stored
    return values


def _through(values: npt.NDArray[np.float64], window: Window) -> npt.NDArray[np.float64]:
    """Compute brightness 0 to 1 by the formulas of PS3.3 C.11.2.1.2 and C.11.2.1.3."""
    if window.function == "SIGMOID":
        return 1 / (1 + np.exp(np.clip(-4 * (values - window.centre) / window.width, -700, 700)))
    if window.function == "LINEAR_EXACT":
        return np.clip((values - window.centre) / window.width + 0.5, 0, 1)
    if window.width <= 1:
        return (values > window.centre - 0.5).astype(np.float64)
    return np.clip((values - (window.centre - 0.5)) / (window.width - 1) + 0.5, 0, 1)


def _stretched(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Compute brightness 0 to 1, of the least value to the largest."""
    return (values - float(values.min())) / max(float(np.ptp(values)), 1e-12)


def _palette(header: Header, file: DicomFile) -> Table:
    """Make a table of colours, uint8 (2 ** stored, 3); values outside get the first or last one."""
    numbers = np.dtype(f"{file.order}u2")
    channels = []
    for descriptor_tag, data_tag in zip(PALETTE_DESCRIPTORS, PALETTE_DATA, strict=True):
        descriptor = np.frombuffer(_value(file, descriptor_tag, 6), numbers).astype(int)
        entries, first, bits = descriptor.tolist()
        entries = entries or 65_536
        if header.signed and first >= 1 << 15:
            first -= 1 << 16
        data = _value(file, data_tag)
        if len(data) == 2 * entries:
            colours = np.frombuffer(data, numbers)
            # An entry of 8 bits may be written as a number of 16, or wrongly called one of 16.
            deep = bits == 16 and colours.max() > 255
            colours = (colours >> 8 if deep else colours & 255).astype(np.uint8)
        elif len(data) == entries + entries % 2:
            colours = np.frombuffer(data, np.uint8)[:entries]
        else:
            raise UnreadableImageError(
                f"the palette of the DICOM file has {len(data)} bytes for {entries} entries"
            )
        index = np.clip(_values(header) - first, 0, entries - 1).astype(int)
        channels.append(colours[index])
    return np.stack(channels, axis=-1)


def _value(file: DicomFile, tag: int, size: int | None = None) -> bytes:
    value = file.values.get(tag, b"")
    if not value or size not in (None, len(value)):
        raise UnreadableImageError(
            f"the palette of the DICOM file is missing or damaged: ({tag >> 16:04X},"
            f"{tag & 0xFFFF:04X})"
        )
    return value


def _bytes_of(grey: npt.NDArray[np.float64]) -> Table:
    return np.floor(grey * 255 + 0.5).astype(np.uint8)
