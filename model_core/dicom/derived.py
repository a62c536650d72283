"""What every object made of a DICOM photograph shares: patient, study, author and identifiers.

Patient and study are copied byte for byte, without being decoded: nothing of them can be lost to
an odd character set, fail, or end up in a log. Identifiers are derived from what they identify, so
that the same photograph, version and mask give the same object, and an archive keeps one of them.
"""

import io
import re
import struct
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from model_core.dicom.header import SOP_CLASS, Header, read_header
from model_core.errors import ConfigError, UnreadableImageError

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

LATERALITY = 0x0020_0060
"""Required of a secondary capture, and not allowed in a segmentation."""
MANUFACTURER = "lesion-segmentation"
SOFTWARE_VERSION = "0.1.0"
"""As in pyproject.toml, which an image does not have."""
SERIES_NUMBER = 900
"""Of our series within the study, beyond those of a camera's visit."""

_CHARACTERS, _INSTANCE, _STUDY, _SERIES, _NUMBER = (
    0x0008_0005, 0x0008_0018, 0x0020_000D, 0x0020_000E, 0x0020_0013,
)  # fmt: skip
_REMOVED, _REMOVAL = 0x0012_0062, 0x0012_0063
# Type 2 in every object: there, and empty where the source has none.
_ALWAYS = {
    0x0008_0020: "DA",  # Study Date
    0x0008_0030: "TM",  # Study Time
    0x0008_0050: "SH",  # Accession Number
    0x0008_0090: "PN",  # Referring Physician's Name
    0x0010_0010: "PN",  # Patient's Name
    0x0010_0020: "LO",  # Patient ID
    0x0010_0030: "DA",  # Patient's Birth Date
    0x0010_0040: "CS",  # Patient's Sex
    0x0020_0010: "SH",  # Study ID
    0x0020_0020: "CS",  # Patient Orientation
}
_WHERE_THERE = {
    0x0008_1030: "LO",  # Study Description
    0x0010_0021: "LO",  # Issuer of Patient ID
    0x0010_0022: "CS",  # Type of Patient ID
    0x0010_0032: "TM",  # Patient's Birth Time
    0x0010_1010: "AS",  # Patient's Age
    0x0010_1020: "DS",  # Patient's Size
    0x0010_1030: "DS",  # Patient's Weight
    0x0010_2160: "SH",  # Ethnic Group
    0x0010_4000: "LT",  # Patient Comments
    0x0012_0010: "LO",  # Clinical Trial Sponsor Name
    0x0012_0020: "LO",  # Clinical Trial Protocol ID
    0x0012_0021: "LO",  # Clinical Trial Protocol Name
    0x0012_0030: "LO",  # Clinical Trial Site ID
    0x0012_0031: "LO",  # Clinical Trial Site Name
    0x0012_0040: "LO",  # Clinical Trial Subject ID
    0x0012_0042: "LO",  # Clinical Trial Subject Reading ID
    0x0012_0050: "LO",  # Clinical Trial Time Point ID
    _REMOVED: "CS",  # Patient Identity Removed
    _REMOVAL: "LO",  # De-identification Method
    0x0028_2110: "CS",  # Lossy Image Compression
    0x0028_2112: "DS",  # Lossy Image Compression Ratio
    0x0028_2114: "CS",  # Lossy Image Compression Method
}
_TAGS = frozenset(
    {*_ALWAYS, *_WHERE_THERE, LATERALITY, SOP_CLASS, _CHARACTERS, _INSTANCE, _STUDY, _SERIES,
     _NUMBER}
)  # fmt: skip
_UID = re.compile(r"[0-9.]{1,64}")


@dataclass(frozen=True)
class Author:
    """Who made an object.

    Attributes:
        name: Of the model.
        version: Of the model.
        sha256: Of the version's card, which lists the hashes of the rest.
        threshold: Probability at which the mask was cut.
    """

    name: str
    version: str
    sha256: str
    threshold: float

    @property
    def parts(self) -> tuple[str, ...]:
        """What tells this author from every other."""
        return self.name, self.version, self.sha256, repr(self.threshold)


@dataclass(frozen=True)
class Source:
    """A DICOM photograph, as what is made of it refers to it.

    Attributes:
        header: Its size and its spacing.
        sop_class: UID of its kind.
        instance: Its own UID.
        study: UID of its study.
        series: UID of its series.
        number: Within its series, from 1.
        values: Elements as bytes, by tag.
    """

    header: Header
    sop_class: str
    instance: str
    study: str
    series: str
    number: int
    values: Mapping[int, bytes]


def read_source(data: bytes, *, max_pixels: int) -> Source:
    """The photograph that an object is to refer to.

    Raises:
        InputError: as `read_header`; or it has no usable identifiers.
    """
    header, file = read_header(data, max_pixels=max_pixels, also=_TAGS)
    texts = {tag: value.decode("ascii", "replace") for tag, value in file.values.items()}
    texts = {tag: text.strip("\0 ") for tag, text in texts.items()}
    for tag, name in ((_STUDY, "Study"), (_SERIES, "Series"), (_INSTANCE, "SOP")):
        if not _UID.fullmatch(texts.get(tag, "")):
            raise UnreadableImageError(
                f"the DICOM file has no valid {name} Instance UID, to which what is made of it "
                "would have to refer"
            )
    number = texts.get(_NUMBER, "")
    usable = re.fullmatch(r"[0-9]{1,10}", number) and 1 <= int(number) < 2**31
    return Source(
        header=header,
        sop_class=texts[SOP_CLASS],
        instance=texts[_INSTANCE],
        study=texts[_STUDY],
        series=texts[_SERIES],
        number=int(number) if usable else 1,
        values=file.values,
    )


def derived_uid(*parts: str) -> str:
    """A UID for what these texts identify: always the same one (2.25, a UUID of version 5).

    Example:
        >>> derived_uid("mask", "1.2.3") == derived_uid("mask", "1.2.3") != derived_uid("", "1.2.3")
        True
    """
    return f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, chr(0).join(parts)).int}"


def write_object(source: Source, ds: "Dataset", *also: int) -> bytes:
    """The file of an object that has the patient and the study of its source, byte for byte.

    Args:
        source: Of the patient and the study.
        ds: The object without them, its own texts in ASCII; is given them.
        also: Tags of further code words to copy where they are there.
    """
    from pydicom.charset import default_encoding
    from pydicom.dataelem import RawDataElement
    from pydicom.filewriter import correct_ambiguous_vr
    from pydicom.tag import Tag

    values = {**dict.fromkeys(_ALWAYS, b""), **source.values}
    if values.get(_REMOVED, b"").strip() == b"YES" and not values.get(_REMOVAL):
        values[_REMOVAL] = b"As in the source image"  # required then; a sequence may have said it
    ds.StudyInstanceUID = source.study
    ds.pop(_CHARACTERS, None)
    correct_ambiguous_vr(ds, True)
    for tag, vr in (_ALWAYS | _WHERE_THERE | dict.fromkeys(also, "CS")).items():
        if tag in values:
            value = _even(values[tag])
            ds[tag] = RawDataElement(Tag(tag), vr, len(value), value, 0, False, True)
    # In the encoding that they were "read" in, pydicom writes raw elements as they are.
    ds.set_original_encoding(False, True, default_encoding)
    out = io.BytesIO()
    ds.save_as(out, implicit_vr=False, little_endian=True, enforce_file_format=True)
    return _with_characters(out.getvalue(), source.values.get(_CHARACTERS))


def _with_characters(file: bytes, term: bytes | None) -> bytes:
    """The file with its character set, which pydicom would want to understand, as first element."""
    if term is None:
        return file
    value = _even(term)
    element = struct.pack("<HH2sH", 0x0008, 0x0005, b"CS", len(value)) + value
    # The file meta information tells its own length (0002,0000), behind preamble and "DICM".
    start = 144 + int(struct.unpack_from("<I", file, 140)[0])
    return file[:start] + element + file[start:]


def _even(value: bytes) -> bytes:
    return value + b" " * (len(value) % 2)


def quieten_pydicom() -> None:
    """Keep values of a file out of the log: pydicom would quote those that break the standard.

    They are copied as they are: whoever compares patients needs the same bytes.
    """
    from pydicom import config

    config.settings.reading_validation_mode = config.IGNORE
    config.settings.writing_validation_mode = config.IGNORE


def missing_library() -> ConfigError:
    """What to raise where pydicom or highdicom cannot be imported."""
    return ConfigError(
        "this installation writes no DICOM: pip install 'lesion-segmentation[dicom]'"
    )
