"""Write a mask as a DICOM segmentation (SEG) that refers to its image."""

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np

from model_core.arrays import Mask
from model_core.dicom.derived import (
    MANUFACTURER,
    SERIES_NUMBER,
    SOFTWARE_VERSION,
    Author,
    Plane,
    Source,
    check_size,
    dataset_of,
    decimal_strings,
    derived_uid,
    read_source,
    reference_to,
    tracking_of,
    write_object,
    writing_dicom,
)

if TYPE_CHECKING:
    from pydicom.dataset import Dataset


SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.4"
"""UID of the kind of object."""
COLOUR = (86, 180, 233)
"""What viewers are to show the segment in, sRGB: that of the outline in a secondary capture."""


def write_segmentation(data: bytes, mask: Mask, author: Author, *, max_pixels: int) -> bytes:
    """Write an object of one segment, "Skin lesion", in the frame of the DICOM image `data`.

    The mask, bool (Rows, Columns), may be empty. The same arguments give the same identifiers.

    Raises:
        InputError: as `read_source`.
        ShapeMismatchError: the mask is not of the image's size.
        ConfigError: the extra `dicom` is not installed.
    """
    with writing_dicom():
        source = read_source(data, max_pixels=max_pixels)
        check_size(source, mask)
        segmentation = _segmentation(source, mask, author)
        return write_object(source, segmentation, without=("Laterality",))


def segmentation_uids(source: Source, mask: Mask, author: Author) -> tuple[str, str]:
    """Derive the UIDs of series and instance, by which a report refers to a segmentation.

    Both may be asked for in two requests: neither has to see the other.
    """
    digest = hashlib.sha256(np.packbits(mask).data).hexdigest()
    series = derived_uid("segmentation series", source.series, *author.parts)
    return series, derived_uid("segmentation", source.instance, *author.parts, digest)


def _segmentation(source: Source, mask: Mask, author: Author) -> "Dataset":
    from highdicom.seg import Segmentation, SegmentationTypeValues

    series, instance = segmentation_uids(source, mask, author)
    segmentation = Segmentation(
        source_images=[reference_to(source)],
        pixel_array=mask[None],
        segmentation_type=SegmentationTypeValues.BINARY,
        segment_descriptions=[_description(source, author)],
        series_instance_uid=series,
        series_number=SERIES_NUMBER,
        sop_instance_uid=instance,
        instance_number=source.number,
        manufacturer=MANUFACTURER,
        manufacturer_model_name=author.name,
        software_versions=SOFTWARE_VERSION,
        device_serial_number=author.sha256,  # no machine has one: it names the weights
        content_label="SKIN_LESION",
        content_description="Automatic; for research, not for diagnosis",
        series_description=f"Skin lesion by {author.name} {author.version}"[:64],
        omit_empty_frames=False,
    )
    _place(segmentation, source)
    dimensions = derived_uid("segmentation dimensions")
    segmentation.DimensionOrganizationSequence[0].DimensionOrganizationUID = dimensions
    for index in segmentation.DimensionIndexSequence:
        index.DimensionOrganizationUID = dimensions
    dataset: Dataset = segmentation
    return dataset


def _place(segmentation: "Dataset", source: Source) -> None:
    """Put the frame into a coordinate system, where the size of its pixels is known.

    Pixel Measures are for frames of reference alone (PS3.3 table A.51-2). A photograph has none, so
    its segmentation gets one: x runs along the rows, y along the columns. Without a size there is
    no coordinate system: each pixel is one of the image.
    """
    if source.header.spacing_mm is None:
        return
    plane = source.plane or Plane(
        derived_uid("frame of reference", source.instance), ("0",) * 3, tuple("100010")
    )
    segmentation.FrameOfReferenceUID = plane.frame
    segmentation.PositionReferenceIndicator = ""
    height, width = decimal_strings(source.header.spacing_mm)
    shared = segmentation.SharedFunctionalGroupsSequence[0]
    # Readers want a thickness above 0 beside the spacing. An image has none: as a pixel.
    measures = dataset_of(PixelSpacing=[height, width], SliceThickness=height)
    shared.PixelMeasuresSequence = [measures]
    shared.PlanePositionSequence = [dataset_of(ImagePositionPatient=list(plane.position))]
    orientation = dataset_of(ImageOrientationPatient=list(plane.orientation))
    shared.PlaneOrientationSequence = [orientation]


def _description(source: Source, author: Author) -> Any:
    """Describe the one segment in codes of SNOMED CT and of DICOM's CID 7150 and 7162."""
    from highdicom import AlgorithmIdentificationSequence
    from highdicom.color import CIELabColor
    from highdicom.seg import SegmentAlgorithmTypeValues, SegmentDescription
    from pydicom.sr.codedict import codes

    tracking_id, tracking_uid = tracking_of(source)
    return SegmentDescription(
        segment_number=1,
        segment_label="Skin lesion",
        segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,  # 49755003
        segmented_property_type=codes.SCT.SkinLesion,  # 95324001
        anatomic_regions=[codes.SCT.Skin],  # 39937001
        algorithm_type=SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=AlgorithmIdentificationSequence(
            name=author.name,
            family=codes.DCM.ArtificialIntelligence,  # 123110
            version=author.version,
            source=MANUFACTURER,
            parameters={"card_sha256": author.sha256, "threshold": f"{author.threshold:g}"},
        ),
        display_color=CIELabColor.from_rgb(*COLOUR),
        tracking_id=tracking_id,
        tracking_uid=tracking_uid,
    )
