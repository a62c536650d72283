"""Decide by its attributes which object of an archive is a photograph to answer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from fnmatch import fnmatchcase
from typing import Self

from model_core.dicom.derived import MANUFACTURER
from model_core.dicom.elements import read_elements

PHOTOGRAPHS = frozenset({
    "1.2.840.10008.5.1.4.1.1.77.1.4",  # VL Photographic Image
    "1.2.840.10008.5.1.4.1.1.77.1.7",  # Dermoscopic Photography Image
    "1.2.840.10008.5.1.4.1.1.7",  # Secondary Capture Image
    "1.2.840.10008.5.1.4.1.1.7.2",  # Multi-frame Secondary Captures, grey and in colour: those of
    "1.2.840.10008.5.1.4.1.1.7.3",  # several frames are refused by name
    "1.2.840.10008.5.1.4.1.1.7.4",
})  # fmt: skip
"""Kinds of object that hold photographs."""


@dataclass(frozen=True)
class Attributes:
    """What is known of an object; None where a listing does not say.

    Attributes:
        instance: SOP Instance UID.
        study: Study Instance UID.
        series: Series Instance UID.
        sop_class: UID of its kind.
        modality: Such as `XC`.
        station: Name of the device.
        series_description: In words.
        study_description: In words.
        study_date: Eight digits.
        manufacturer: Of what made it.
    """

    instance: str | None = None
    study: str | None = None
    series: str | None = None
    sop_class: str | None = None
    modality: str | None = None
    station: str | None = None
    series_description: str | None = None
    study_description: str | None = None
    study_date: str | None = None
    manufacturer: str | None = None

    @classmethod
    def of_tags(cls, values: Mapping[int, str]) -> Self:
        """Take the attributes from the values of a listing or file, by tag."""
        return cls(**{name: values.get(tag) for name, tag in TAGS.items()})

    @classmethod
    def of_file(cls, data: bytes) -> Self:
        """Read the attributes of a DICOM file with pixels; what it lacks is empty.

        Raises:
            InputError: it is none, or damaged.
        """
        values = read_elements(data, TAGS.values()).values
        return cls.of_tags({tag: _text(values.get(tag, b"")) for tag in TAGS.values()})

    def filled(self, other: "Attributes") -> "Attributes":
        """Return these attributes, with those of another source where they are not known."""
        mine = {field.name: getattr(self, field.name) for field in fields(self)}
        return Attributes(
            **{
                name: getattr(other, name) if value is None else value
                for name, value in mine.items()
            }
        )


TAGS = {
    "instance": 0x0008_0018,
    "study": 0x0020_000D,
    "series": 0x0020_000E,
    "sop_class": 0x0008_0016,
    "modality": 0x0008_0060,
    "station": 0x0008_1010,
    "series_description": 0x0008_103E,
    "study_description": 0x0008_1030,
    "study_date": 0x0008_0020,
    "manufacturer": 0x0008_0070,
}
"""Tags by attribute."""


@dataclass(frozen=True)
class Rule:
    """Which photographs are answered; patterns as of a shell, in any case.

    Attributes:
        modalities: One of these; empty for any.
        stations: Patterns of the station's name, one of which fits; empty for any.
        descriptions: Patterns, one of which fits the series' or the study's description.
        earliest: Study date, eight digits, before which a study is passed over; empty for none.
    """

    modalities: Sequence[str] = ("XC", "DMS")
    stations: Sequence[str] = ()
    descriptions: Sequence[str] = ()
    earliest: str = ""

    @property
    def text(self) -> str:
        """The rule without its moving date, to be compared with that of an earlier start."""
        return repr((sorted(self.modalities), sorted(self.stations), sorted(self.descriptions)))

    def passes_over(self, found: Attributes) -> str:
        """Say why an object is not answered; empty where it is, as far as its attributes tell."""
        if found.sop_class is not None and found.sop_class not in PHOTOGRAPHS:
            return "no photograph"
        if found.manufacturer == MANUFACTURER:
            return "made by this project"
        if self.modalities and not _fits(found.modality, self.modalities):
            return "modality"
        if self.stations and not _fits(found.station, self.stations):
            return "station"
        described = (found.series_description, found.study_description)
        if self.descriptions and not any(_fits(each, self.descriptions) for each in described):
            return "description"
        if self.earliest and found.study_date and found.study_date < self.earliest:
            return "study date"
        return ""


def _fits(value: str | None, patterns: Sequence[str]) -> bool:
    """Compare a value; one that is not known may fit."""
    if value is None:
        return True
    text = value.strip().casefold()
    return any(fnmatchcase(text, pattern.strip().casefold()) for pattern in patterns)


def _text(value: bytes) -> str:
    """Read a value of any character set: patterns are nearly always in ASCII."""
    try:
        text = value.decode()
    except UnicodeDecodeError:
        text = value.decode("latin-1")
    return text.split("\\", maxsplit=1)[0].strip("\0 ")
