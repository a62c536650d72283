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
    Source,
    derived_uid,
    read_source,
    write_object,
    writing_dicom,
)
from model_core.errors import ShapeMismatchError

if TYPE_CHECKING:
    from pydicom.dataset import Dataset


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
        size = (source.header.rows, source.header.columns)
        if mask.shape != size:
            raise ShapeMismatchError(f"the mask is {mask.shape}, the DICOM image {size}")
        segmentation = _segmentation(source, mask, author)
        return write_object(source, segmentation, without=("Laterality",))


def _segmentation(source: Source, mask: Mask, author: Author) -> "Dataset":
    from highdicom.seg import Segmentation, SegmentationTypeValues

    digest = hashlib.sha256(np.packbits(mask).data).hexdigest()
    segmentation = Segmentation(
        source_images=[_reference(source)],
        pixel_array=mask[None],
        segmentation_type=SegmentationTypeValues.BINARY,
        segment_descriptions=[_description(author)],
        series_instance_uid=derived_uid("segmentation series", source.series, *author.parts),
        series_number=SERIES_NUMBER,
        sop_instance_uid=derived_uid("segmentation", source.instance, *author.parts, digest),
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
    if source.header.spacing_mm is not None:
        # Readers want a thickness above 0 beside the spacing. An image has none: as a pixel.
        height, width = source.header.spacing_mm
        measures = _dataset(PixelSpacing=[height, width], SliceThickness=height)
        segmentation.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence = [measures]
    dimensions = derived_uid("segmentation dimensions")
    segmentation.DimensionOrganizationSequence[0].DimensionOrganizationUID = dimensions
    for index in segmentation.DimensionIndexSequence:
        index.DimensionOrganizationUID = dimensions
    dataset: Dataset = segmentation
    return dataset


def _description(author: Author) -> Any:
    """Describe the one segment in codes of SNOMED CT and of DICOM's CID 7150 and 7162."""
    from highdicom import AlgorithmIdentificationSequence
    from highdicom.seg import SegmentAlgorithmTypeValues, SegmentDescription
    from pydicom.sr.codedict import codes

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
    )


def _reference(source: Source) -> "Dataset":
    """Tell highdicom what it must know of the image: no text, which is copied as it is later."""
    blank = ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber",
             "StudyID", "StudyDate", "StudyTime")  # fmt: skip
    return _dataset(
        SOPClassUID=source.sop_class,
        SOPInstanceUID=source.instance,
        StudyInstanceUID=source.study,
        SeriesInstanceUID=source.series,
        Rows=source.header.rows,
        Columns=source.header.columns,
        Modality="XC",
        **dict.fromkeys(blank, ""),
    )


def _dataset(**elements: Any) -> "Dataset":
    from pydicom.dataset import Dataset

    dataset = Dataset()
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    return dataset
