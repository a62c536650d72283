"""Samples decoded once into memory-mapped uint8 arrays, so that training never waits for JPEGs."""

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
        key: Name of the folder that holds the arrays.
        teachers: uint8 (N, S, S) each, 255 times a teacher's probability of lesion.
    """

    images: npt.NDArray[np.uint8]
    masks: npt.NDArray[np.uint8]
    datasets: list[str]
    key: str
    teachers: tuple[npt.NDArray[np.uint8], ...] = ()

    def __len__(self) -> int:
        return len(self.images)


def open_cache(samples: list[Sample], config: PreprocessConfig, folder: Path) -> Cache:
    """Open the cache of these samples at this size and fit, made on first use.

    Each is a sub-folder of `folder`, named by a hash of what it holds. Its pixels are those that
    the service would give the network, in the samples' order.
    """
    order = [(sample.dataset, sample.id, sample.height, sample.width) for sample in samples]
    key = [PIXELS, digest(samples), order, config.size, config.fit]
    path = built_once(folder, key, lambda path: _build(samples, config, path))
    return Cache(
        np.load(path / "images.npy", mmap_mode="r"),
        np.load(path / "masks.npy", mmap_mode="r"),
        [sample.dataset for sample in samples],
        path.name,
    )


def built_once(folder: Path, key: list[Any], build: Callable[[Path], None]) -> Path:
    """Return the sub-folder that belongs to a key, built on first use and whole from then on.

    Args:
        folder: Where such folders live; made where absent.
        key: Plain values that say what it holds.
        build: Fills an empty folder.
    """
    path = folder / hashlib.sha256(json.dumps(key).encode()).hexdigest()[:16]
    if path.is_dir():
        return path
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        # Of two runs that want the same, one builds and the other waits; a kill frees the lock.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.is_dir():
            beside = path.with_suffix(".part")
            shutil.rmtree(beside, ignore_errors=True)  # of a build that was killed
            beside.mkdir()
            build(beside)
            beside.rename(path)
    return path


def _build(samples: list[Sample], config: PreprocessConfig, path: Path) -> None:
    shape = (len(samples), config.size, config.size)
    images = create_array(path / "images.npy", (*shape, 3))
    masks = create_array(path / "masks.npy", shape)

    def fill(row: int) -> None:
        images[row], _ = preprocess(read_photo(samples[row]), config)
        masks[row] = fit_mask(read_truth(samples[row]), config)

    for _ in map_images(fill, range(len(samples)), f"cache {config.size}px", threads=None):
        continue
    images.flush()
    masks.flush()


def create_array(path: Path, shape: tuple[int, ...]) -> np.memmap:
    """Create a uint8 array in a file, with its room on the disk reserved."""
    array = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
    if hasattr(os, "posix_fallocate"):
        # Reserved now: a disk that fills up under a mapped file kills the process without an error.
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return array
