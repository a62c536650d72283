"""Describe a segmented image as JSON: a COCO annotation, or GeoJSON."""

import hashlib

from model_core.masks.polygons import TOLERANCE_PX, coco_polygons, geojson_geometry, polygons_of
from model_core.masks.rle import area_and_bbox, encode_rle
from model_core.registry.registry import LoadedVersion
from service.answers.measurements import measurements_of, quality_of
from service.answers.segmented import Segmented
from service.contract.queries import AnswerQuery
from service.contract.schemas import (
    Annotation,
    Feature,
    FeatureCollection,
    FeatureProperties,
    Geometry,
    ImageRef,
    ModelRef,
    RleMask,
)


def annotation_of(answer: Segmented, *, polygons: bool = False) -> Annotation:
    """Return the COCO annotation, with run lengths or with polygons."""
    mask = answer.prediction.mask
    rle = encode_rle(mask)
    area, (x, y, across, down) = area_and_bbox(rle)
    height, width = mask.shape
    segmentation: RleMask | list[list[float]]
    segmentation = RleMask(size=(height, width), counts=rle["counts"])
    tolerance = _tolerance(answer.query) if polygons else None
    if tolerance is not None:
        segmentation = coco_polygons(polygons_of(mask, tolerance))
    sha256 = hashlib.sha256(answer.data).hexdigest()
    return Annotation(
        id=answer.index + 1,
        image_id=answer.index + 1,
        segmentation=segmentation,
        tolerance_px=tolerance,
        area=area,
        bbox=(x, y, across, down),
        image=ImageRef(height=height, width=width, sha256=sha256),
        model=model_ref(answer.version),
        threshold=answer.prediction.threshold,
        score=answer.prediction.score,
        score_interval=answer.prediction.score_interval,
        lesion_found=area > 0,
        quality=quality_of(answer),
        measurements=measurements_of(answer) if answer.query.measurements else None,
    )


def features_of(answer: Segmented) -> FeatureCollection:
    """Return the GeoJSON: one feature, or none where there is no lesion."""
    annotation = annotation_of(answer)
    tolerance = _tolerance(answer.query)
    features = []
    if annotation.lesion_found:
        shape = geojson_geometry(polygons_of(answer.prediction.mask, tolerance))
        properties = FeatureProperties(area=annotation.area, score=annotation.score)
        features.append(Feature(geometry=Geometry(**shape), properties=properties))
    shared = FeatureCollection.model_fields.keys() & Annotation.model_fields.keys()
    members = {name: getattr(annotation, name) for name in shared - {"tolerance_px"}}
    return FeatureCollection(features=features, tolerance_px=tolerance, **members)


def model_ref(version: LoadedVersion) -> ModelRef:
    """Return the reference by which an answer names its version."""
    return ModelRef(name=version.card.name, version=version.card.version, sha256=version.sha256)


def _tolerance(query: AnswerQuery) -> float:
    return TOLERANCE_PX if query.tolerance_px is None else query.tolerance_px
