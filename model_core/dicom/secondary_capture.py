"""Write a picture as a DICOM secondary capture, for viewers that cannot show segmentations."""

import hashlib
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np

from model_core.arrays import Image
from model_core.dicom.derived import (
    MANUFACTURER,
    SERIES_NUMBER,
    SOFTWARE_VERSION,
    Author,
    Source,
    decimal_strings,
    derived_uid,
    read_source,
    write_object,
    writing_dicom,
)

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"


def write_secondary_capture(
    data: bytes, picture: Image, author: Author, *, max_pixels: int
) -> bytes:
    """Write a secondary capture in RGB, uncompressed, that refers to the DICOM image `data`.

    The picture, uint8 (H, W, 3), is the image with the outline drawn into it, which the author
    found. The same arguments give the same identifiers.

    Raises:
        InputError: as `read_source`.
        ConfigError: the extra `dicom` is not installed.
    """
    with writing_dicom():
        source = read_source(data, max_pixels=max_pixels)
        return write_object(source, _capture(source, picture, author))


def _capture(source: Source, picture: Image, author: Author) -> "Dataset":
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    digest = hashlib.sha256(np.ascontiguousarray(picture).data).hexdigest()
    now = datetime.now()
    ds = Dataset()
    ds.SOPClassUID = _SECONDARY_CAPTURE
    ds.SOPInstanceUID = derived_uid("capture", source.instance, *author.parts, digest)
    ds.SeriesInstanceUID = derived_uid("capture series", source.series, *author.parts)
    ds.SeriesNumber, ds.InstanceNumber = SERIES_NUMBER + 1, source.number
    ds.SeriesDescription = f"Skin lesion outlined by {author.name} {author.version}"[:64]
    ds.Modality, ds.ConversionType = "OT", "WSD"
    ds.Laterality = ""  # required here: empty where the source does not say
    ds.Manufacturer, ds.ManufacturerModelName = MANUFACTURER, author.name
    ds.SoftwareVersions = SOFTWARE_VERSION
    ds.DeviceSerialNumber = author.sha256
    ds.ImageType, ds.BurnedInAnnotation = ["DERIVED", "SECONDARY"], "YES"
    ds.DerivationDescription = (
        "Outline of a skin lesion drawn into the photograph; automatic, for research, not for "
        f"diagnosis; card_sha256={author.sha256}, threshold={author.threshold:g}"
    )
    reference = Dataset()
    reference.ReferencedSOPClassUID = source.sop_class
    reference.ReferencedSOPInstanceUID = source.instance
    ds.SourceImageSequence = [reference]
    ds.InstanceCreationDate = ds.ContentDate = now.strftime("%Y%m%d")
    ds.InstanceCreationTime = ds.ContentTime = now.strftime("%H%M%S")
    if source.header.spacing_mm is not None:
        ds.PixelSpacing = decimal_strings(source.header.spacing_mm)
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PlanarConfiguration = 3, "RGB", 0
    ds.Rows, ds.Columns = picture.shape[:2]
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 8, 8, 7, 0
    pixels = picture.tobytes()
    ds.add_new(0x7FE0_0010, "OB", pixels + b"\0" * (len(pixels) % 2))
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return ds
