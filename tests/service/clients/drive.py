"""Drives every operation of the client that openapi-python-client makes; type-checked beside it.

python drive.py ADDRESS PHOTOGRAPH MASK
"""

import json
import sys
from io import BytesIO
from pathlib import Path

from skin_lesion_segmentation_client import AuthenticatedClient
from skin_lesion_segmentation_client.api.corrections import correct, count_corrections
from skin_lesion_segmentation_client.api.evaluation import evaluate, evaluate_scores
from skin_lesion_segmentation_client.api.models import list_versions, read_version
from skin_lesion_segmentation_client.api.operation import healthz, metrics, readyz
from skin_lesion_segmentation_client.api.segmentation import (
    segment,
    segment_annotation,
    segment_batch,
    segment_geojson,
    segment_mask,
    segment_polygons,
)
from skin_lesion_segmentation_client.models import (
    CorrectBody,
    Correction,
    CorrectionCount,
    EvaluateBody,
    EvaluateScoresBody,
    Evaluation,
    FeatureCollection,
    PolygonAnnotation,
    ProblemDetails,
    RleAnnotation,
    SegmentAnnotationBody,
    SegmentBatchFilesBody,
    SegmentFilesBody,
    SegmentGeojsonBody,
    SegmentMaskBody,
    SegmentPolygonsBody,
    VersionDetail,
    VersionList,
)
from skin_lesion_segmentation_client.types import File

address, photograph, mask = sys.argv[1:]


def file(path: str) -> File:
    return File(payload=BytesIO(Path(path).read_bytes()), file_name="file.png")


with AuthenticatedClient(base_url=address, token="none") as client:
    png = segment_mask.sync(client=client, body=SegmentMaskBody(image=file(photograph)))
    assert isinstance(png, File)
    assert png.payload.read() == Path(mask).read_bytes()

    png = segment.sync(client=client, body=SegmentFilesBody(image=file(photograph)))
    assert isinstance(png, File)
    assert png.payload.read() == Path(mask).read_bytes()

    annotation = segment_annotation.sync(
        client=client, body=SegmentAnnotationBody(image=file(photograph)), measurements=True
    )
    assert isinstance(annotation, RleAnnotation)
    assert annotation.segmentation.size == [annotation.image.height, annotation.image.width]
    assert annotation.measurements
    assert annotation.measurements.area_px == annotation.area > 0

    polygons = segment_polygons.sync(
        client=client, body=SegmentPolygonsBody(image=file(photograph)), tolerance_px=0.5
    )
    assert isinstance(polygons, PolygonAnnotation)
    assert polygons.tolerance_px == 0.5
    assert len(polygons.segmentation[0]) >= 6

    geojson = segment_geojson.sync(client=client, body=SegmentGeojsonBody(image=file(photograph)))
    assert isinstance(geojson, FeatureCollection)
    assert geojson.features[0].properties.area == annotation.area

    lines = segment_batch.sync(
        client=client, body=SegmentBatchFilesBody(images=[file(photograph), file(photograph)])
    )
    assert isinstance(lines, str)
    assert [json.loads(line)["index"] for line in lines.splitlines()] == [0, 1]

    body = EvaluateScoresBody(image=[file(photograph)], truth=[file(mask)])
    scores = evaluate_scores.sync(client=client, body=body, threshold=0.5)
    assert isinstance(scores, Evaluation)
    assert scores.items[0].dice == 1

    of_masks = evaluate.sync(
        client=client, body=EvaluateBody(pred=[file(mask)], truth=[file(mask)])
    )
    assert isinstance(of_masks, Evaluation)
    assert of_masks.summary.n == 1

    corrected = CorrectBody(image=file(photograph), mask=file(mask), annotator="a", seconds=2.5)
    kept = correct.sync(client=client, body=corrected)
    assert isinstance(kept, Correction)
    assert (kept.annotator, kept.seconds, kept.image.height) == ("a", 2.5, 48)
    count = count_corrections.sync(client=client)
    assert isinstance(count, CorrectionCount)
    assert count.photographs > 0

    versions = list_versions.sync(client=client)
    assert isinstance(versions, VersionList)
    assert versions.serving
    card = read_version.sync(versions.serving.version, client=client)
    assert isinstance(card, VersionDetail)
    assert card.sha256 == versions.serving.sha256

    for probe in (healthz, readyz):
        status = probe.sync(client=client)
        assert status
        assert not isinstance(status, ProblemDetails)
        assert status.status == "ok"
    text = metrics.sync(client=client)
    assert isinstance(text, str)
    assert "lesion_queue_depth" in text

    problem = segment_mask.sync(
        client=client, body=SegmentMaskBody(image=File(payload=BytesIO(b"GIF89a")))
    )
    assert isinstance(problem, ProblemDetails)
    assert problem.status == 415
