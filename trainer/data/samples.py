"""Prepared samples: checked pairs of photograph and mask, as `samples.csv` keeps them."""

import hashlib
import io
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from PIL import Image as Pillow
from tqdm import tqdm

from model_core.arrays import Mask
from model_core.errors import DatasetError
from model_core.images.decode import decode_image
from model_core.masks.png import decode_mask
from trainer.data.split import Part, parse_part
from trainer.data.tables import Row, read_table, write_table

SAMPLES_CSV = "samples.csv"
T = TypeVar("T")
R = TypeVar("R")

MASK_FORMATS = ("PNG", "BMP")
"""Expert masks are PNG in the ISIC archives and BMP in PH2."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One photograph with its expert mask.

    Attributes:
        dataset: Source, such as `isic`, `ph2`.
        id: Image ID within its archive; the same ID in two datasets is the same photograph.
        image: Path of the photograph.
        mask: Path of the mask, of the very size of its file.
        height: Rows at the true aspect ratio, px.
        width: Columns at the true aspect ratio, px; differs from the file's where the source
            had squashed the photograph to a square.
        group: ID shared by near-duplicates, which stay on one side of the split.
        part: Side of the split.
        image_sha256: Hash of the photograph's file.
        mask_sha256: Hash of the mask's file.
        phash: Perceptual hash (`near_duplicates.perceptual_hash`), hexadecimal; empty in folders
            prepared before there was one.
    """

    dataset: str
    id: str
    image: Path
    mask: Path
    height: int
    width: int
    group: str
    part: Part
    image_sha256: str
    mask_sha256: str
    phash: str = ""

    @property
    def key(self) -> str:
        """`dataset/id`, which names it in messages."""
        return f"{self.dataset}/{self.id}"


COLUMNS = tuple(entry.name for entry in fields(Sample))


def write_samples(samples: Iterable[Sample], folder: Path) -> Path:
    """Write `samples.csv` into `folder` (made where absent), replacing an older one whole."""
    path = folder / SAMPLES_CSV
    write_table(path, COLUMNS, map(astuple, samples))
    return path


def read_samples(folder: Path) -> list[Sample]:
    """Read the samples of a prepared folder.

    Raises:
        DatasetError: the folder was not prepared, or its `samples.csv` is another program's.
    """
    path = folder / SAMPLES_CSV
    if not path.is_file():
        raise DatasetError(
            f"no {path}: run `python -m trainer prepare SOURCE --out {folder}` first"
        )
    rows = read_table(path, set(COLUMNS) - {"phash"})
    try:
        return [_sample_of_row(row) for row in rows]
    except ValueError as exc:
        raise DatasetError(f"{path} was not written by `prepare`: {exc}") from exc


def digest(samples: Iterable[Sample]) -> str:
    """Hash names, sides and file hashes, with SHA-256: a card's hash of its data."""
    rows = sorted((s.dataset, s.id, s.part, s.image_sha256, s.mask_sha256) for s in samples)
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def read_photo(sample: Sample) -> bytes:
    """Read a photograph's bytes as a client would send them.

    A file that its source squashed is sent as a PNG at its true aspect ratio instead.

    Raises:
        DatasetError: the file is no longer there, or no longer the same.
    """
    data = _read(sample.image, sample, sample.image_sha256)
    photograph = decode_image(data)
    if (photograph.height, photograph.width) == (sample.height, sample.width):
        return data
    size = (sample.width, sample.height)
    out = io.BytesIO()
    restored = photograph.picture.resize(size, Pillow.Resampling.BICUBIC)
    restored.save(out, format="PNG", compress_level=1)
    return out.getvalue()


def read_picture(sample: Sample) -> Pillow.Image:
    """Decode a photograph, upright, RGB, at its true aspect ratio; raises as `read_photo`."""
    return decode_image(read_photo(sample)).picture.convert("RGB")


def read_truth(sample: Sample) -> Mask:
    """Read the expert mask at the sample's true aspect ratio: bool (height, width).

    Raises:
        DatasetError: the file is no longer there, or no longer the same.
    """
    mask = decode_mask(_read(sample.mask, sample, sample.mask_sha256), formats=MASK_FORMATS)
    if mask.shape == (sample.height, sample.width):
        return mask
    size = (sample.width, sample.height)
    return np.asarray(Pillow.fromarray(mask).resize(size, Pillow.Resampling.NEAREST))


def count_parts(samples: Iterable[Sample]) -> dict[str, Counter[str]]:
    """Count the samples of each dataset on each side."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for sample in samples:
        counts[sample.dataset][sample.part] += 1
    return dict(counts)


def map_images(
    work: Callable[[T], R], images: Sequence[T], label: str, *, threads: int | None = 2
) -> Iterator[R]:
    """Do `work` for every image, in threads and below a progress bar; results in their order.

    Args:
        work: Decodes, infers or scores one.
        images: What it takes: samples, pairs, rows.
        label: What the bar is called.
        threads: Two keep decoding beside the network, which has the cores; None takes all cores,
            for work that is decoding alone.
    """
    with ThreadPoolExecutor(threads) as pool:
        results = pool.map(work, images)
        yield from tqdm(results, total=len(images), desc=label, leave=False, disable=None)


def _read(path: Path, sample: Sample, sha256: str) -> bytes:
    try:
        data = path.read_bytes()
    except FileNotFoundError as exc:
        raise DatasetError(
            f"{sample.key}: {path} is gone; put the dataset back, or run `prepare` on what is left"
        ) from exc
    if hashlib.sha256(data).hexdigest() != sha256:
        raise DatasetError(
            f"{sample.key}: {path} is not what it was; put it back, or run `prepare` again"
        )
    return data


def _sample_of_row(row: Row) -> Sample:
    cells: dict[str, Any] = {name: row.get(name, "") for name in COLUMNS}
    cells |= {name: Path(row[name]) for name in ("image", "mask")}
    cells |= {name: int(row[name]) for name in ("height", "width")}
    return Sample(**cells | {"part": parse_part(row["part"])})
