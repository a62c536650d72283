"""Write what every object made of a DICOM image shares: patient, study, author and identifiers.

Patient and study are copied byte for byte, without being decoded: nothing of them can be lost to
an odd character set, fail, or end up in a log. Identifiers are derived from what they identify, so
that the same image, version and mask give the same object, and an archive keeps one of them.
"""

import io
import re
import struct
import uuid
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from model_core.arrays import Mask
from model_core.decimals import decimal
from model_core.dicom.header import SOP_CLASS, Header, read_header
from model_core.errors import ConfigError, ShapeMismatchError, UnreadableImageError
from model_core.version import VERSION

if TYPE_CHECKING:
    from pydicom.dataelem import DataElement
    from pydicom.dataset import Dataset

MANUFACTURER = "lesion-segmentation"
SOFTWARE_VERSION = VERSION
"""As in pyproject.toml, which an image does not have."""
SERIES_NUMBER = 900
"""Of our series within the study, beyond those of a camera's visit."""

_CHARACTERS, _INSTANCE, _STUDY, _SERIES, _NUMBER = (
    0x0008_0005, 0x0008_0018, 0x0020_000D, 0x0020_000E, 0x0020_0013,
)  # fmt: skip
_POSITION, _ORIENTATION, _FRAME = 0x0020_0032, 0x0020_0037, 0x0020_0052
_REMOVED, _REMOVAL = 0x0012_0062, 0x0012_0063
# Type 2 in every object: there, and empty where the source has none.
_ALWAYS = [
    "AccessionNumber", "PatientBirthDate", "PatientID", "PatientName", "PatientOrientation",
    "PatientSex", "ReferringPhysicianName", "StudyDate", "StudyID", "StudyTime",
]  # fmt: skip
_WHERE_THERE = [
    "ClinicalTrialProtocolID", "ClinicalTrialProtocolName", "ClinicalTrialSiteID",
    "ClinicalTrialSiteName", "ClinicalTrialSponsorName", "ClinicalTrialSubjectID",
    "ClinicalTrialSubjectReadingID", "ClinicalTrialTimePointID", "DeidentificationMethod",
    "EthnicGroup", "IssuerOfPatientID", "Laterality", "LossyImageCompression",
    "LossyImageCompressionMethod", "LossyImageCompressionRatio", "PatientAge", "PatientBirthTime",
    "PatientComments", "PatientIdentityRemoved", "PatientSize", "PatientWeight",
    "StudyDescription", "TypeOfPatientID",
]  # fmt: skip
_TURNED = 1e-3
"""How far directions may be from length 1 and from a right angle."""
_DECIMAL_STRING = 16
"""Longest decimal string that DICOM allows, bytes."""
_SINGLE_FRAME = "1.2.840.10008.5.1.4.1.1.77.1.4"  # VL Photographic Image
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
        """Values that tell this author from every other."""
        return self.name, self.version, self.sha256, repr(self.threshold)


class Plane(NamedTuple):
    """Where an image lies in space; numbers as they are written.

    Attributes:
        frame: UID of the coordinate system.
        position: x, y, z of the middle of the upper left pixel, mm.
        orientation: Direction of the rows, then of the columns, each of length 1.
    """

    frame: str
    position: Sequence[str]
    orientation: Sequence[str]


@dataclass(frozen=True)
class Source:
    """A DICOM image, as what is made of it refers to it.

    Attributes:
        header: Its size and its spacing.
        sop_class: UID of its kind.
        instance: Its own UID.
        study: UID of its study.
        series: UID of its series.
        number: Within its series, from 1.
        plane: Where it says to lie; None for nearly every photograph.
        values: Elements as bytes, by tag.
    """

    header: Header
    sop_class: str
    instance: str
    study: str
    series: str
    number: int
    plane: Plane | None
    values: Mapping[int, bytes]


@contextmanager
def writing_dicom() -> Iterator[None]:
    """Silence pydicom's checks for the block that writes a DICOM object, and name missing packages.

    Its warnings quote values that break the standard, patients' among them. Such values are copied
    unchanged, because archives match patients by the same bytes.

    Raises:
        ConfigError: pydicom or highdicom is not installed.
    """
    try:
        from pydicom import config

        config.settings.reading_validation_mode = config.IGNORE
        config.settings.writing_validation_mode = config.IGNORE
        yield
    except ImportError as exc:
        raise ConfigError(
            "this installation writes no DICOM: pip install 'lesion-segmentation[dicom]'"
        ) from exc


def read_source(data: bytes, *, max_pixels: int) -> Source:
    """Read the image that an object is to refer to.

    Raises:
        InputError: as `read_header`; or it has no usable identifiers.
    """
    tags = {SOP_CLASS, _CHARACTERS, _INSTANCE, _STUDY, _SERIES, _NUMBER}
    tags |= {_POSITION, _ORIENTATION, _FRAME}
    tags |= _types_of(_ALWAYS + _WHERE_THERE).keys()
    header, file = read_header(data, max_pixels=max_pixels, also=frozenset(tags))
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
        plane=_plane(texts),
        values=file.values,
    )


def _plane(texts: Mapping[int, str]) -> Plane | None:
    frame, wanted = texts.get(_FRAME, ""), ((_POSITION, 3), (_ORIENTATION, 6))
    position, orientation = (texts.get(tag, "").split("\\") for tag, _ in wanted)
    try:
        x, y = (np.array([decimal(text) for text in orientation[i : i + 3]]) for i in (0, 3))
        place = [decimal(text) for text in position]
    except ValueError:
        return None
    if not _UID.fullmatch(frame) or (len(place), len(orientation)) != (3, 6):
        return None
    upright = np.allclose([x @ x, y @ y, x @ y], [1, 1, 0], atol=_TURNED)
    short = all(len(text) <= _DECIMAL_STRING for text in position + orientation)
    return Plane(frame, position, orientation) if upright and short else None


def check_size(source: Source, mask: Mask) -> None:
    """Refuse a mask that is not of the image's size.

    Raises:
        ShapeMismatchError: it is not.
    """
    size = (source.header.rows, source.header.columns)
    if mask.shape != size:
        raise ShapeMismatchError(f"the mask is {mask.shape}, the DICOM image {size}")


def derived_uid(*parts: str) -> str:
    """Derive a UID from what these texts identify: always the same one (2.25, a UUID version 5).

    Example:
        >>> derived_uid("mask", "1.2.3") == derived_uid("mask", "1.2.3") != derived_uid("", "1.2.3")
        True
    """
    return f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, chr(0).join(parts)).int}"


def tracking_of(source: Source) -> tuple[str, str]:
    """Name the lesion of an image, in words and by UID, alike for every version and threshold."""
    return f"Skin lesion of image {source.number}", derived_uid("lesion", source.instance)


def reference_to(source: Source) -> "Dataset":
    """Tell highdicom what it must know of the image: no text, which is copied as it is later."""
    blank = ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber",
             "StudyID", "StudyDate", "StudyTime")  # fmt: skip
    return dataset_of(
        # Of a kind that could have several frames it would want what a photograph lacks: the true
        # kind comes into the references when the object is written.
        SOPClassUID=_SINGLE_FRAME,
        SOPInstanceUID=source.instance,
        StudyInstanceUID=source.study,
        SeriesInstanceUID=source.series,
        Rows=source.header.rows,
        Columns=source.header.columns,
        Modality="XC",
        **dict.fromkeys(blank, ""),
    )


def dataset_of(**elements: Any) -> "Dataset":
    """Make a data set of values by DICOM keyword."""
    from pydicom.dataset import Dataset

    dataset = Dataset()
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    return dataset


def decimal_strings(values: Iterable[float]) -> list[Any]:
    """Write numbers in the 16 bytes of a decimal string, rounded where they need more."""
    from pydicom.valuerep import DSfloat

    return [DSfloat(value, auto_format=True) for value in values]


def write_object(source: Source, ds: "Dataset", *, without: Collection[str] = ()) -> bytes:
    """Write an object with the patient and the study of its source, byte for byte.

    Args:
        source: Of the patient and the study.
        ds: The object without them, its own texts in ASCII; is given them.
        without: Keywords of what is not copied, because objects of its kind may not have it.
    """
    from pydicom.charset import default_encoding
    from pydicom.datadict import keyword_for_tag
    from pydicom.dataelem import RawDataElement
    from pydicom.filewriter import correct_ambiguous_vr
    from pydicom.tag import Tag

    def name_kind(within: "Dataset", element: "DataElement") -> None:
        if element.keyword == "ReferencedSOPInstanceUID" and element.value == source.instance:
            within.ReferencedSOPClassUID = source.sop_class

    ds.walk(name_kind)
    values = dict.fromkeys(_types_of(_ALWAYS), b"") | dict(source.values)
    if values.get(_REMOVED, b"").strip() == b"YES" and not values.get(_REMOVAL):
        values[_REMOVAL] = b"As in the source image"  # required then; a sequence may have said it
    ds.StudyInstanceUID = source.study
    ds.pop(_CHARACTERS, None)
    correct_ambiguous_vr(ds, True)
    for tag, vr in _types_of(_ALWAYS + _WHERE_THERE).items():
        if tag in values and keyword_for_tag(tag) not in without:
            value = _even(values[tag])
            ds[tag] = RawDataElement(Tag(tag), vr, len(value), value, 0, False, True)
    # In the encoding that they were "read" in, pydicom writes raw elements as they are.
    ds.set_original_encoding(False, True, default_encoding)
    out = io.BytesIO()
    ds.save_as(out, implicit_vr=False, little_endian=True, enforce_file_format=True)
    return _with_characters(out.getvalue(), source.values.get(_CHARACTERS))


def _types_of(keywords: Iterable[str]) -> dict[int, str]:
    """Look up the value representation of elements, by tag."""
    from pydicom.datadict import dictionary_VR, tag_for_keyword

    tags = (tag_for_keyword(keyword) for keyword in keywords)
    return {tag: dictionary_VR(tag) for tag in tags if tag is not None}


def _with_characters(file: bytes, term: bytes | None) -> bytes:
    """Put the character set, which pydicom would want to understand, first into the data set."""
    if term is None:
        return file
    value = _even(term)
    element = struct.pack("<HH2sH", 0x0008, 0x0005, b"CS", len(value)) + value
    # The file meta information tells its own length (0002,0000), behind preamble and "DICM".
    start = 144 + int(struct.unpack_from("<I", file, 140)[0])
    return file[:start] + element + file[start:]


def _even(value: bytes) -> bytes:
    return value + b" " * (len(value) % 2)
