"""Describe a lesion beside its mask: measurements, and whether to trust them."""

from dataclasses import asdict

from model_core.arrays import PIXELS
from model_core.decimals import parse_spacing
from model_core.images.lab import colour_spread
from model_core.masks.measurements import measure
from model_core.predictor import Prediction
from service.answers.segmented import Segmented
from service.contract.schemas import Measurements, QualityReport, UncertainBand

_UNITLESS = ("orientation_deg", "compactness", "solidity", "asymmetry", "border_irregularity")
_LENGTHS = ("perimeter", "equivalent_diameter", "feret_diameter", "bbox")


def measurements_of(answer: Segmented) -> Measurements:
    """Return all measurements, in mm too where the caller or a DICOM image gives a spacing."""
    text, own = answer.query.spacing_mm, answer.prediction.geometry.spacing_mm
    spacing = own if text is None else parse_spacing(text)
    mask = answer.prediction.mask
    px = measure(mask, PIXELS)
    mm = None if spacing is None else measure(mask, spacing)
    return Measurements(
        spacing_mm=spacing,
        area_px=None if px is None else round(px.area),
        area_mm2=None if mm is None else mm.area,
        colour_spread=_spread(answer.prediction),
        **{f"{name}_px": getattr(px, name, None) for name in _LENGTHS},
        **{f"{name}_mm": getattr(mm, name, None) for name in _LENGTHS},
        **{name: getattr(mm or px, name, None) for name in _UNITLESS},
    )


def quality_of(answer: Segmented) -> QualityReport:
    """Return advice, reasons and uncertainty of a mask."""
    quality = answer.prediction.quality(answer.version.card.accept_score)
    band = None if quality.band is None else UncertainBand(**asdict(quality.band))
    return QualityReport(advice=quality.advice, reasons=quality.reasons, uncertainty=band)


def _spread(prediction: Prediction) -> float | None:
    """Measure the colours that the network saw: no camera's resolution changes their spread."""
    if prediction.pixels is None:
        return None
    return colour_spread(prediction.pixels[prediction.geometry.inside], prediction.small_mask)
