"""Samples decoded once into memory-mapped uint8 arrays, so that training never waits for JPEGs."""

import fcntl
import hashlib
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from model_core.processing.preprocess import PreprocessConfig, fit_mask, preprocess
from trainer.data.samples import Sample, digest, map_images, read_photo, read_truth

PIXELS = 1
"""Raised with every change of code that gives other pixels for the same files and config."""


@dataclass(frozen=True)
class Cache:
    """Network inputs of many samples.

    Attributes:
        images: uint8 (N, S, S, 3), RGB.
        masks: uint8 (N, S, S), 0 or 1.
        datasets: Name of each sample's dataset.
    """

    images: npt.NDArray[np.uint8]
    masks: npt.NDArray[np.uint8]
    datasets: list[str]

    def __len__(self) -> int:
        return len(self.images)


def open_cache(samples: list[Sample], config: PreprocessConfig, folder: Path) -> Cache:
    """Open the cache of these samples at this size and fit, made on first use.

    Each is a sub-folder of `folder`, named by a hash of what it holds. Its pixels are those that
    the service would give the network, in the samples' order.
    """
    order = [(sample.dataset, sample.id, sample.height, sample.width) for sample in samples]
    key = json.dumps([PIXELS, digest(samples), order, config.size, config.fit])
    path = folder / hashlib.sha256(key.encode()).hexdigest()[:16]
    if not path.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / ".lock").open("w") as lock:
            # Of two runs that want the same, one builds and the other waits; a kill frees the lock.
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not path.is_dir():
                _build(samples, config, path)
    return Cache(
        np.load(path / "images.npy", mmap_mode="r"),
        np.load(path / "masks.npy", mmap_mode="r"),
        [sample.dataset for sample in samples],
    )


def _build(samples: list[Sample], config: PreprocessConfig, path: Path) -> None:
    beside = path.with_suffix(".part")
    shutil.rmtree(beside, ignore_errors=True)  # of a build that was killed
    beside.mkdir()
    shape = (len(samples), config.size, config.size)
    images = _create(beside / "images.npy", (*shape, 3))
    masks = _create(beside / "masks.npy", shape)

    def fill(row: int) -> None:
        images[row], _ = preprocess(read_photo(samples[row]), config)
        masks[row] = fit_mask(read_truth(samples[row]), config)

    for _ in map_images(fill, range(len(samples)), f"cache {config.size}px", threads=None):
        continue
    images.flush()
    masks.flush()
    beside.rename(path)


def _create(path: Path, shape: tuple[int, ...]) -> np.memmap:
    array = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
    if hasattr(os, "posix_fallocate"):
        # Reserved now: a disk that fills up under a mapped file kills the process without an error.
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return array
