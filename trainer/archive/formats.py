"""The files of a shard: COCO JSON, Parquet of masks and measurements, a table of bad images.

An entry is what is known of one photograph: `file_name` and `problem`, or `file_name`, `sha256`,
`height`, `width`, `segmentation`, `area`, `bbox`, `score` and, for Parquet, `measurements`.
"""

import csv
import io
import json
from collections.abc import Iterable, Sequence
from typing import Any

from model_core.arrays import Mask
from model_core.masks.measurements import measure

PNG, COCO, PARQUET = "png", "coco", "parquet"
FORMATS = (PNG, COCO, PARQUET)
SKIPPED = "skipped"
FOLDERS = (COCO, PARQUET, SKIPPED)
"""Folders with a file a shard."""

Entry = dict[str, Any]
_CATEGORY = {"id": 1, "name": "skin lesion"}
_LENGTHS = ("perimeter", "equivalent_diameter", "feret_diameter")
_PLAIN = ("orientation_deg", "compactness", "solidity", "border_irregularity")
_ASYMMETRY = ("asymmetry_longer_axis", "asymmetry_shorter_axis")
_BBOX = ("bbox_x_px", "bbox_y_px", "bbox_width_px", "bbox_height_px")


def measurements(mask: Mask) -> dict[str, float | None]:
    """Measure a mask in px, by column of the Parquet; all None where it is empty."""
    shape = measure(mask)
    lower, upper = shape.asymmetry if shape else (None, None)
    lengths = {f"{name}_px": getattr(shape, name, None) for name in _LENGTHS}
    plain = {name: getattr(shape, name, None) for name in _PLAIN}
    return {**lengths, **plain, **dict(zip(_ASYMMETRY, (lower, upper), strict=True))}


def coco(entries: Sequence[Entry], *, start: int, info: dict[str, Any]) -> bytes:
    """Encode a shard as COCO's JSON for objects; no annotation where there is no lesion.

    `start` is the place of the first in the whole list: ids are unique over all shards.
    """
    images, annotations = [], []
    for number, entry in enumerate(entries, start=start + 1):
        if "problem" in entry:
            continue
        kept = {key: entry[key] for key in ("file_name", "height", "width", "sha256")}
        images.append({"id": number, **kept})
        if entry["area"]:
            lesion = {key: entry[key] for key in ("segmentation", "area", "bbox", "score")}
            annotations.append(
                {"id": number, "image_id": number, "category_id": 1, "iscrowd": 0, **lesion}
            )
    return _coco_document(images, annotations, info)


def joined_coco(parts: Iterable[bytes]) -> bytes:
    """Join the COCO JSON of several shards into one."""
    images, annotations, info = [], [], {}
    for part in map(json.loads, parts):
        images += part["images"]
        annotations += part["annotations"]
        info = part["info"]
    return _coco_document(images, annotations, info)


def _coco_document(images: list[Any], annotations: list[Any], info: dict[str, Any]) -> bytes:
    document = {
        "info": {"description": "Skin-lesion masks; not for diagnosis", **info},
        "images": images,
        "annotations": annotations,
        "categories": [_CATEGORY],
    }
    return (json.dumps(document) + "\n").encode()


def parquet(entries: Sequence[Entry], *, info: dict[str, Any]) -> bytes:
    """Encode a row a mask: name, hash, size, COCO run lengths, score and measurements."""
    import pyarrow as pa
    from pyarrow import parquet as pq

    rows = [_row(entry) for entry in entries if "problem" not in entry]
    schema = _schema(pa).with_metadata({"lesion-segmentation": json.dumps(info)})
    table = pa.Table.from_pylist(rows, schema)
    file = io.BytesIO()
    pq.write_table(table, file, compression="zstd")
    return file.getvalue()


def _row(entry: Entry) -> dict[str, Any]:
    kept = {key: entry[key] for key in ("file_name", "sha256", "height", "width", "score")}
    return {
        **kept,
        "rle_counts": entry["segmentation"]["counts"],
        "area_px": entry["area"],
        **dict(zip(_BBOX, entry["bbox"], strict=True)),
        **entry["measurements"],
    }


def _schema(pa: Any) -> Any:
    whole = ("height", "width", "area_px", *_BBOX)
    real = (*(f"{name}_px" for name in _LENGTHS), *_PLAIN, *_ASYMMETRY)
    return pa.schema(
        [
            ("file_name", pa.string()),
            ("sha256", pa.string()),
            *((name, pa.int64()) for name in whole),
            ("rle_counts", pa.string()),
            ("score", pa.float64()),
            *((name, pa.float64()) for name in real),
        ]
    )


def skipped_table(rows: Iterable[tuple[str, str]]) -> bytes:
    """Encode the images that could not be used as CSV: file_name, problem."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("file_name", "problem"))
    writer.writerows(rows)
    return text.getvalue().encode()


def read_skipped(data: bytes) -> list[tuple[str, str]]:
    """Decode the rows of a `skipped_table`."""
    _, *rows = csv.reader(io.StringIO(data.decode(), newline=""))
    return [(name, problem) for name, problem in rows]
