"""Write measurements as a DICOM structured report (TID 1500) that refers to the segmentation.

Standard codes come first; what DICOM, SNOMED CT and UCUM have no code for is of the private scheme
`99LESIONSEG`. docs/dicom.md lists every code; docs/measurements.md and docs/quality.md define them.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from model_core.arrays import Mask
from model_core.dicom.derived import (
    MANUFACTURER,
    SERIES_NUMBER,
    SOFTWARE_VERSION,
    Author,
    Source,
    check_size,
    dataset_of,
    derived_uid,
    read_source,
    reference_to,
    tracking_of,
    write_object,
    writing_dicom,
)
from model_core.dicom.segmentation import SEGMENTATION, segmentation_uids

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

PRIVATE = "99LESIONSEG"
"""Designator of the private scheme (PS3.16 chapter 8: private ones begin with 99)."""
_PRIVATE_VERSION = "1"


class Term(NamedTuple):
    """A coded concept.

    Attributes:
        value: At most 16 characters.
        scheme: `DCM`, `SCT`, `UCUM` or `PRIVATE`.
        meaning: In words, at most 64 characters.
    """

    value: str
    scheme: str
    meaning: str


_NUMBER, _PIXELS = Term("1", "UCUM", "no units"), Term("{pixels}", "UCUM", "pixels")
_MM, _MM2 = Term("mm", "UCUM", "mm"), Term("mm2", "UCUM", "square millimeter")
_AREA, _PERIMETER = Term("42798000", "SCT", "Area"), Term("131191004", "SCT", "Perimeter")
_EQUIVALENT = Term("EQUIVDIAMETER", PRIVATE, "Diameter of the disc of the same area")
_LONG_AXIS = Term("103339001", "SCT", "Long axis")  # the largest diameter in the plane
MEASUREMENTS: Mapping[str, tuple[Term, Term]] = {
    "area_px": (_AREA, _PIXELS),
    "area_mm2": (_AREA, _MM2),
    "perimeter_px": (_PERIMETER, _PIXELS),
    "perimeter_mm": (_PERIMETER, _MM),
    "equivalent_diameter_px": (_EQUIVALENT, _PIXELS),
    "equivalent_diameter_mm": (_EQUIVALENT, _MM),
    "feret_diameter_px": (_LONG_AXIS, _PIXELS),
    "feret_diameter_mm": (_LONG_AXIS, _MM),
    "orientation_deg": (
        Term("ORIENTATION", PRIVATE, "Direction of the longer principal axis"),
        Term("deg", "UCUM", "Degree"),
    ),
    "compactness": (Term("COMPACTNESS", PRIVATE, "Compactness"), _NUMBER),
    "solidity": (Term("SOLIDITY", PRIVATE, "Share of the convex hull that is lesion"), _NUMBER),
    "asymmetry_longer": (Term("ASYMLONGAXIS", PRIVATE, "Asymmetry about the longer axis"), _NUMBER),
    "asymmetry_shorter": (
        Term("ASYMSHORTAXIS", PRIVATE, "Asymmetry about the shorter axis"),
        _NUMBER,
    ),
    "border_irregularity": (Term("BORDERIRREG", PRIVATE, "Border irregularity"), _NUMBER),
    "colour_spread": (Term("COLOURSPREAD", PRIVATE, "Spread of colours, CIELAB"), _NUMBER),
    "score": (Term("PREDJACCARD", PRIVATE, "Predicted Jaccard index"), _NUMBER),
}
"""Concept and unit of each number, by its name in the JSON answer."""
ADVICE = Term("ADVICE", PRIVATE, "Advice on the outline")
ADVICES: Mapping[str, Term] = {
    "accept": Term("ACCEPT", PRIVATE, "Accept"),
    "review": Term("REVIEW", PRIVATE, "Let a person review"),
    "reject": Term("REJECT", PRIVATE, "Reject and take another photograph"),
}
REASON = Term("REASON", PRIVATE, "Reason of the advice")
REASONS: Mapping[str, Term] = {
    "nothing_found": Term("NOTHING_FOUND", PRIVATE, "No lesion found"),
    "not_skin": Term("NOT_SKIN", PRIVATE, "Does not look like skin"),
    "underexposed": Term("UNDEREXPOSED", PRIVATE, "Underexposed"),
    "overexposed": Term("OVEREXPOSED", PRIVATE, "Overexposed"),
    "blurred": Term("BLURRED", PRIVATE, "Blurred"),
    "several_lesions": Term("SEVERAL_LESIONS", PRIVATE, "Several lesions"),
    "low_score": Term("LOW_SCORE", PRIVATE, "Predicted Jaccard index is low"),
    "not_calibrated": Term("NOT_CALIBRATED", PRIVATE, "Version is not calibrated"),
    "cut_by_frame": Term("CUT_BY_FRAME", PRIVATE, "Lesion is cut by the frame"),
}


@dataclass(frozen=True)
class Findings:
    """What a report says of a mask.

    Attributes:
        numbers: Values by a key of `MEASUREMENTS`.
        advice: Whether to trust the mask, a key of `ADVICES`.
        reasons: Of the advice, keys of `REASONS`.
    """

    numbers: Mapping[str, float]
    advice: str
    reasons: Sequence[str]


def write_report(
    data: bytes, mask: Mask, author: Author, findings: Findings, *, max_pixels: int
) -> bytes:
    """Write an Enhanced SR of one measurement group about the mask of the DICOM image `data`.

    The region is the one segment of what `write_segmentation` makes of the same arguments. An empty
    mask has none: its group refers to the image, and states no finding. The same arguments give the
    same identifiers.

    Raises:
        InputError: as `read_source`.
        ShapeMismatchError: the mask is not of the image's size.
        ConfigError: the extra `dicom` is not installed.
    """
    with writing_dicom():
        source = read_source(data, max_pixels=max_pixels)
        check_size(source, mask)
        report = _report(source, mask, author, findings)
        return write_object(source, report, without=_OF_IMAGES)


_OF_IMAGES = (
    "Laterality", "LossyImageCompression", "LossyImageCompressionMethod",
    "LossyImageCompressionRatio", "PatientOrientation",
)  # fmt: skip


def _report(source: Source, mask: Mask, author: Author, findings: Findings) -> "Dataset":
    from highdicom.sr import EnhancedSR, MeasurementReport, ObservationContext, ObserverContext
    from pydicom.sr.codedict import codes

    image = reference_to(source)
    evidence = [image]
    series, instance = segmentation_uids(source, mask, author)
    if mask.any():
        segmentation = reference_to(source)
        segmentation.SOPClassUID, segmentation.SeriesInstanceUID = SEGMENTATION, series
        segmentation.SOPInstanceUID = instance
        evidence.append(segmentation)
    content = MeasurementReport(
        title=codes.DCM.ImagingMeasurementReport,  # 126000
        observation_context=ObservationContext(
            observer_device_context=ObserverContext(codes.DCM.Device, _device(author))
        ),
        procedure_reported=codes.SCT.ImagingProcedure,  # 363679005
        imaging_measurements=[_group(source, mask, author, findings, instance)],
    )
    what = repr((sorted(findings.numbers.items()), findings.advice, findings.reasons, instance))
    digest = hashlib.sha256(what.encode()).hexdigest()
    report: Dataset = EnhancedSR(
        evidence=evidence,
        content=content[0],
        series_instance_uid=derived_uid("report series", source.series, *author.parts),
        series_number=SERIES_NUMBER + 2,
        sop_instance_uid=derived_uid("report", source.instance, *author.parts, digest),
        instance_number=source.number,
        manufacturer=MANUFACTURER,
        manufacturer_model_name=author.name,
        software_versions=SOFTWARE_VERSION,
        device_serial_number=author.sha256,
        series_description=f"Skin lesion measured by {author.name} {author.version}"[:64],
        is_complete=True,
        is_final=False,  # no person has seen it
        is_verified=False,
    )
    scheme = dataset_of(
        CodingSchemeDesignator=PRIVATE,
        CodingSchemeName="Measurements and advice of lesion-segmentation",
        CodingSchemeVersion=_PRIVATE_VERSION,
        CodingSchemeResponsibleOrganization=MANUFACTURER,
    )
    report.CodingSchemeIdentificationSequence = [scheme]
    for element in report.iterall():  # highdicom 0.28 has each item run on from the one before
        if element.keyword == "ContinuityOfContent":
            element.value = "SEPARATE"
    return report


def _device(author: Author) -> Any:
    """Describe the version as the device that observes (TID 1004)."""
    from highdicom.sr import DeviceObserverIdentifyingAttributes

    return DeviceObserverIdentifyingAttributes(
        uid=derived_uid("device", author.name, author.version, author.sha256),
        name=f"{author.name} {author.version}",
        manufacturer_name=MANUFACTURER,
        model_name=author.name,
        serial_number=author.sha256,
    )


def _group(
    source: Source, mask: Mask, author: Author, findings: Findings, segmentation: str
) -> Any:
    """Collect everything about one region (TID 1410), or about an image without one (TID 1501)."""
    from highdicom import sr
    from pydicom.sr.codedict import codes

    words, uid = tracking_of(source)
    common: dict[str, Any] = {
        "tracking_identifier": sr.TrackingIdentifier(uid, words),
        "finding_sites": [sr.FindingSite(codes.SCT.Skin)],  # 39937001
        "algorithm_id": sr.AlgorithmIdentification(
            name=author.name,
            version=author.version,
            family=codes.DCM.ArtificialIntelligence,  # 123110
            parameters=[  # one text: dcmqi reads no second
                f"card_sha256={author.sha256}, threshold={author.threshold:g}; for research, not "
                "for diagnosis"
            ],
        ),
        "measurements": [
            sr.Measurement(name=_coded(concept), value=value, unit=_coded(unit))
            for key, (concept, unit) in MEASUREMENTS.items()
            if (value := findings.numbers.get(key)) is not None
        ],
        "qualitative_evaluations": [
            sr.QualitativeEvaluation(_coded(ADVICE), _coded(ADVICES[findings.advice])),
            *(
                sr.QualitativeEvaluation(_coded(REASON), _coded(REASONS[reason]))
                for reason in findings.reasons
            ),
        ],
    }
    if not mask.any():
        seen = sr.SourceImageForMeasurementGroup(source.sop_class, source.instance)
        return sr.MeasurementsAndQualitativeEvaluations(source_images=[seen], **common)
    return sr.PlanarROIMeasurementsAndQualitativeEvaluations(
        referenced_segment=_region(source, segmentation),
        finding_category=codes.SCT.MorphologicallyAbnormalStructure,  # 49755003
        finding_type=codes.SCT.SkinLesion,  # 95324001
        **common,
    )


def _region(source: Source, segmentation: str) -> Any:
    from highdicom import sr

    region = sr.ReferencedSegmentationFrame(
        sop_class_uid=SEGMENTATION,
        sop_instance_uid=segmentation,
        frame_number=1,
        segment_number=1,
        source_image=sr.SourceImageForSegmentation(source.sop_class, source.instance),
    )
    # A frame or a segment, not both (PS3.3 table C.18.4-1); highdicom 0.28 writes both.
    del region[0].ReferencedSOPSequence[0].ReferencedSegmentNumber
    return region


def _coded(term: Term) -> Any:
    from highdicom.sr import CodedConcept

    return CodedConcept(term.value, term.scheme, term.meaning)
