"""Samples decoded once into memory-mapped uint8 arrays, so that training never waits for JPEGs."""

import hashlib
import json
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from model_core.preprocess import PreprocessConfig, fit_mask, preprocess
from trainer.datasets import Sample, digest, read_photo, read_truth


@dataclass(frozen=True)
class Cache:
    """Network inputs of many samples.

    Attributes:
        images: uint8 (N, S, S, 3), RGB.
        masks: uint8 (N, S, S), 0 or 1.
    """

    images: npt.NDArray[np.uint8]
    masks: npt.NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.images)


def open_cache(samples: list[Sample], config: PreprocessConfig, folder: Path) -> Cache:
    """The cache of these samples at this size and fit, made on first use.

    Args:
        samples: In the order of the rows wanted.
        config: Preprocessing; the pixels are those that the service would give the network.
        folder: Where caches live; each is a sub-folder named by a hash of what it holds.
    """
    order = [(sample.dataset, sample.id, sample.height, sample.width) for sample in samples]
    key = json.dumps([digest(samples), order, config.size, config.fit])
    path = folder / hashlib.sha256(key.encode()).hexdigest()[:16]
    if not path.is_dir():
        _build(samples, config, path)
    return Cache(
        np.load(path / "images.npy", mmap_mode="r"), np.load(path / "masks.npy", mmap_mode="r")
    )


def _build(samples: list[Sample], config: PreprocessConfig, path: Path) -> None:
    beside = path.with_suffix(".part")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    shape = (len(samples), config.size, config.size)
    images = _create(beside / "images.npy", (*shape, 3))
    masks = _create(beside / "masks.npy", shape)

    def fill(row: int) -> None:
        images[row], _ = preprocess(read_photo(samples[row]), config)
        masks[row] = fit_mask(read_truth(samples[row]), config)

    _each(fill, len(samples), f"cache {config.size}px")
    images.flush()
    masks.flush()
    (beside / "cache.json").write_text(json.dumps({"n": len(samples), **asdict(config)}))
    beside.replace(path)  # a killed build leaves only a .part folder, which the next one clears


def _create(path: Path, shape: tuple[int, ...]) -> np.memmap:
    return np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)


def _each(work: Callable[[int], None], count: int, label: str) -> None:
    with ThreadPoolExecutor() as pool:
        for _ in tqdm(pool.map(work, range(count)), total=count, desc=label, leave=False):
            continue
