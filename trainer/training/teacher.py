"""Probability maps of a teacher, computed once: what a smaller network learns besides the masks.

Source: Hinton, Vinyals and Dean 2015, arXiv:1503.02531, at a temperature of 1, on the calibrated
logits of a published version or of a run.
"""

from dataclasses import asdict
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image as Pillow
from scipy.special import expit

from model_core.backends.select import open_backend
from model_core.card import parse_card
from model_core.errors import ConfigError
from model_core.predictor import Predictor
from model_core.registry.local_store import file_sha256
from trainer.data.cache import Cache, built_once, create_array, open_cache
from trainer.data.samples import Sample, map_images
from trainer.evaluation.subjects import run_subject
from trainer.training.run import CONFIG, WEIGHTS

_BATCH = 16
_MAPS = "maps.npy"


def open_teacher(folder: Path) -> Predictor:
    """Open the weights of a run folder, or of a version's folder, in float32.

    Raises:
        ConfigError: it is neither.
    """
    if (folder / CONFIG).is_file():
        return run_subject(folder).predictor
    if not (folder / "card.json").is_file():
        raise ConfigError(f"teacher is {str(folder)!r}, and that is no run and no version's folder")
    card = parse_card((folder / "card.json").read_bytes())
    backend = open_backend(card, folder, "pytorch-fp32")
    return Predictor(backend, card.preprocess, card.postprocess, card.calibration)


def teacher_maps(
    samples: list[Sample], folder: Path, *, size: int, fit: str, cache: Path
) -> npt.NDArray[np.uint8]:
    """Open the teacher's probability maps of these samples, made on first use.

    Args:
        samples: In the order of the rows wanted.
        folder: The teacher's.
        size: Side of the maps, px; the teacher itself looks at its own size.
        fit: How images are fitted to the square, which must be the teacher's way, too.
        cache: Where maps are kept, beside the images.

    Returns:
        uint8 (N, size, size), 255 times the probability of lesion.

    Raises:
        ConfigError: the folder is no teacher, or fits images in another way.
    """
    predictor = open_teacher(folder)
    own = predictor.preprocess_config
    if own.fit != fit:
        raise ConfigError(f"the teacher fits images by {own.fit}, expected {fit}")
    # Versions may share weights and differ in calibration, as 1.1.1 and 1.2.0 do.
    calibration = predictor.calibration and asdict(predictor.calibration)
    images = open_cache(samples, own, cache)
    key = [images.key, file_sha256(folder / WEIGHTS), calibration, own.size]

    def infer(path: Path) -> None:
        _infer_maps(predictor, images, path)

    maps = _load(built_once(cache, key, infer))
    if size == own.size:
        return maps

    def resize(path: Path) -> None:
        resized = create_array(path / _MAPS, (len(samples), size, size))
        for row, picture in enumerate(maps):
            scaled = Pillow.fromarray(picture).resize((size, size), Pillow.Resampling.BILINEAR)
            resized[row] = scaled
        resized.flush()

    return _load(built_once(cache, [*key, size], resize))


def _infer_maps(predictor: Predictor, images: Cache, path: Path) -> None:
    maps = create_array(path / _MAPS, images.masks.shape)

    def fill(start: int) -> None:
        rows = slice(start, start + _BATCH)
        logits = predictor.infer(np.array(images.images[rows]))
        if predictor.calibration is not None:
            logits = predictor.calibration.logits(logits)
        maps[rows] = np.round(255 * expit(logits))

    for _ in map_images(fill, range(0, len(maps), _BATCH), "teacher", threads=1):
        continue
    maps.flush()


def _load(folder: Path) -> npt.NDArray[np.uint8]:
    maps: npt.NDArray[np.uint8] = np.load(folder / _MAPS, mmap_mode="r")
    return maps
