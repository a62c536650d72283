"""DICOM files of drawn lesions and of an invented patient, for tests."""

import io
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    JPEG2000,
    UID,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
)

VL_PHOTOGRAPHIC = "1.2.840.10008.5.1.4.1.1.77.1.4"
DERMOSCOPIC = "1.2.840.10008.5.1.4.1.1.77.1.7"
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
PATIENT = "Zebedee^Quillfeather"
PATIENT_ID = "PLANTED-4711"
STUDY_UID = "1.2.826.0.1.3680043.8.498.1"
SERIES_UID = "1.2.826.0.1.3680043.8.498.2"
INSTANCE_UID = "1.2.826.0.1.3680043.8.498.3"

Pixels = npt.NDArray[np.uint8] | npt.NDArray[np.uint16] | npt.NDArray[np.int16]


def dataset(pixels: Pixels, *, photometric: str = "", **elements: Any) -> Dataset:
    """An uncompressed photograph of the invented patient; further elements by keyword.

    Args:
        pixels: (H, W) or (H, W, 3), of 8 or 16 bits.
        photometric: By default RGB or MONOCHROME2.
        elements: Value by DICOM keyword; None takes an element away.
    """
    bits = pixels.dtype.itemsize * 8
    ds = Dataset()
    ds.SOPClassUID = VL_PHOTOGRAPHIC
    ds.SOPInstanceUID = INSTANCE_UID
    ds.StudyInstanceUID = STUDY_UID
    ds.SeriesInstanceUID = SERIES_UID
    ds.PatientName, ds.PatientID = PATIENT, PATIENT_ID
    ds.PatientBirthDate, ds.PatientSex = "19700101", "O"
    ds.StudyDate, ds.StudyTime, ds.StudyID = "20260102", "101112", "7"
    ds.AccessionNumber, ds.ReferringPhysicianName = "A-1", "Doctor^Planted"
    ds.Modality, ds.SeriesNumber, ds.InstanceNumber = "XC", 1, 1
    ds.Manufacturer = "Drawn"
    ds.ImageType, ds.LossyImageCompression = ["ORIGINAL", "PRIMARY"], "00"
    ds.ContentDate, ds.ContentTime = "20260102", "101112"
    ds.AcquisitionContextSequence = []
    ds.PatientOrientation, ds.Laterality, ds.BurnedInAnnotation = "", "", "NO"
    ds.SamplesPerPixel = 3 if pixels.ndim == 3 else 1
    ds.PhotometricInterpretation = photometric or ("RGB" if pixels.ndim == 3 else "MONOCHROME2")
    if pixels.ndim == 3:
        ds.PlanarConfiguration = 0
    ds.Rows, ds.Columns = pixels.shape[:2]
    ds.BitsAllocated = ds.BitsStored = bits
    ds.HighBit, ds.PixelRepresentation = bits - 1, int(pixels.dtype.kind == "i")
    raw = pixels.tobytes()
    ds.add_new(0x7FE00010, "OB" if bits == 8 else "OW", raw + b"\0" * (len(raw) % 2))
    for keyword, value in elements.items():
        if value is None:
            delattr(ds, keyword)
        else:
            setattr(ds, keyword, value)
    return ds


def file_of(ds: Dataset, syntax: str = ExplicitVRLittleEndian) -> bytes:
    """A file's bytes in an uncompressed encoding, or with the pixels as they are compressed."""
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = UID(syntax)
    ds.file_meta.MediaStorageSOPClassUID = ds.get("SOPClassUID", VL_PHOTOGRAPHIC)
    ds.file_meta.MediaStorageSOPInstanceUID = ds.get("SOPInstanceUID", INSTANCE_UID)
    if syntax == ExplicitVRBigEndian and ds.BitsAllocated == 16:
        ds.PixelData = np.frombuffer(ds.PixelData, np.uint16).byteswap().tobytes()
    if UID(syntax).is_encapsulated:
        ds["PixelData"].is_undefined_length = True
        ds["PixelData"].VR = "OB"
    out = io.BytesIO()
    ds.save_as(out, enforce_file_format=True)
    return out.getvalue()


def dicom(picture: Image.Image, syntax: str = ExplicitVRLittleEndian, **elements: Any) -> bytes:
    """A file of a picture in RGB or L, encoded by pydicom's own encoders where compressed."""
    ds = dataset(np.asarray(picture), **elements)
    if syntax in (JPEG2000Lossless, JPEG2000):
        return dicom_around(jpeg_2000(picture), picture, syntax, **elements)
    if UID(syntax).is_compressed:
        ds.file_meta = FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds.compress(UID(syntax), generate_instance_uid=False)
    return file_of(ds, syntax)


def jpeg_2000(picture: Image.Image, *, rgb: bool = True, **options: Any) -> bytes:
    """A lossless JPEG 2000 codestream; where `rgb`, coded as luma and chroma."""
    out = io.BytesIO()
    mct = int(rgb and picture.mode == "RGB")
    options = {"no_jp2": True, "num_resolutions": 2, "mct": mct, **options}
    picture.save(out, "JPEG2000", **options)
    return out.getvalue()


def dicom_around(frame: bytes, picture: Image.Image, syntax: str, **elements: Any) -> bytes:
    """A file whose one frame is these bytes, whatever they are."""
    ds = dataset(np.asarray(picture), **elements)
    ds.PixelData = encapsulate([frame])
    return file_of(ds, syntax)


def dicom_jpeg(picture: Image.Image, photometric: str, **elements: Any) -> bytes:
    """A file around a JPEG as Pillow writes it: with a JFIF marker, so YCbCr, subsampled."""
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=95)
    elements = {"photometric": photometric, **elements}
    return dicom_around(out.getvalue(), picture, JPEGBaseline8Bit, **elements)
