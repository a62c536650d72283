"""Decode in a process apart: JPEG 2000 and JPEG-LS frames of DICOM, HEIC and AVIF.

Their decoders are written in C and keep Python's lock, and a damaged JPEG-LS frame of 262 bytes
held one for half a minute: the whole service would have stood still. Apart, a decoder has so much
time and memory, and if it crashes, it is one answer that is lost. It costs about 0.2 s a frame.
"""

import math
import os
import subprocess
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from model_core.errors import UnreadableImageError, UnsupportedImageError, undecodable

Kind = Literal["jpeg-2000", "jpeg-ls"]
_START_S = 3
_PIXELS_S, _BYTES_S = 2_000_000, 500_000
"""Pixels, and bytes of the file, that get a second of a core: a few times what they take."""
_WAIT_S = 10
"""For a core, on a machine that is busy."""
_LIBRARY_BYTES = 1 << 30
"""Bytes of address space that an interpreter with NumPy and a decoder reserves, mostly unused."""
_PIXEL_BYTES = 40
"""Well over the 15 that JPEG 2000 takes: a limit for hostile files, not an estimate."""
_PASSED = frozenset(
    {"PATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "TZ", "TMPDIR", "SYSTEMROOT", "VIRTUAL_ENV"}
)
"""Environment variables that a decoder is started with, beside those of Python itself."""
_CHILD = Path(__file__).with_name("decoder_child.py")
_LIBRARIES: dict[Kind, tuple[str, str]] = {
    "jpeg-2000": ("JPEG 2000", "openjpeg"),
    "jpeg-ls": ("JPEG-LS", "jpeg_ls"),
}


@dataclass(frozen=True)
class Frame:
    """A compressed frame's own size.

    Attributes:
        rows: Height, px.
        columns: Width, px.
        samples: Components a pixel.
        bits: A sample.
        rgb: Whether the decoder turns the samples into RGB itself; only JPEG 2000 says so.
    """

    rows: int
    columns: int
    samples: int
    bits: int
    rgb: bool = False


def decode_apart(
    kind: Kind, data: bytes, frame: Frame
) -> npt.NDArray[np.uint8] | npt.NDArray[np.uint16]:
    """Decode a frame whose own header is within the limits.

    Returns:
        uint8 or uint16 (rows, columns) or (rows, columns, samples).

    Raises:
        UnsupportedImageError: the library is not installed.
        UnreadableImageError: it cannot be decoded, or not within the limits.
    """
    name, library = _LIBRARIES[kind]
    if find_spec(library) is None:
        raise UnsupportedImageError(
            f"the DICOM file is compressed with {name}, which this installation does not read: "
            "pip install 'lesion-segmentation[dicom]'"
        )
    pixels = frame.rows * frame.columns
    content = run_decoder(kind, data, pixels, what=f"{name} frame of the DICOM file")
    dtype = np.dtype("u1" if frame.bits <= 8 else "<u2")
    shape = (frame.rows, frame.columns, frame.samples)
    if len(content) != math.prod(shape) * dtype.itemsize:
        raise UnreadableImageError(f"the {name} frame of the DICOM file has another size than said")
    samples = np.frombuffer(content, dtype).astype(dtype.newbyteorder("="), copy=False)
    return samples.reshape(shape[: 3 if frame.samples > 1 else 2])


def run_decoder(kind: str, data: bytes, pixels: int, *, what: str, max_pixels: int = 0) -> bytes:
    """Give what `decoder_child.py` writes of a file, decoded within its time and memory.

    Args:
        kind: As the child has it.
        data: The file or frame.
        pixels: Height times width that it announces, by which time and memory are measured.
        what: Names it in the error.
        max_pixels: Of HEIC and AVIF, the limit on what the decoder finds in the header.

    Raises:
        UnreadableImageError: it cannot be decoded, or not within the limits.
    """
    seconds = _START_S + pixels // _PIXELS_S + len(data) // _BYTES_S
    limits = [seconds, _LIBRARY_BYTES + _PIXEL_BYTES * pixels, max_pixels]
    try:
        return subprocess.run(
            [sys.executable, "-I", str(_CHILD), kind, *map(str, limits)],
            input=data,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=_WAIT_S + seconds,
            check=True,
            env=bare_environment(),
        ).stdout
    except subprocess.SubprocessError as exc:
        raise undecodable(what) from exc


def bare_environment() -> dict[str, str]:
    """Keep what an interpreter needs to start, and nothing that a broken decoder could give away.

    Keys of buckets and settings of the service stay behind. Numerical libraries run on one thread:
    each of theirs would reserve memory.

    Example:
        >>> os.environ["AWS_SECRET_ACCESS_KEY"] = "not for a decoder"
        >>> "AWS_SECRET_ACCESS_KEY" in bare_environment()
        False
        >>> del os.environ["AWS_SECRET_ACCESS_KEY"]
    """
    kept = {
        name: value
        for name, value in os.environ.items()
        if name in _PASSED or name.startswith("PYTHON")
    }
    return kept | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
