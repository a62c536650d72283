"""Say which photographs to correct first: those a version is unsure of, each unlike the others.

    python -m trainer next photographs --model production

Uncertainty alone lists one kind of difficult photograph many times, so that each is weighed by how
far it is from those before it on the list, and from those that are corrected already.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from model_core.errors import ConfigError, SegmentationError
from model_core.predictor import Prediction, Predictor
from trainer.archive.sources import Photograph, Reader
from trainer.data.samples import map_images

Table = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Looked:
    """One photograph as a version sees it.

    Attributes:
        name: Of the photograph.
        score: Jaccard that the version expects of its mask.
        look: float (13,), as `describe_look` gives it.
    """

    name: str
    score: float
    look: Table


@dataclass(frozen=True)
class Listed:
    """One line of the list.

    Attributes:
        name: Of the photograph.
        score: Jaccard that the version expects of its mask.
        spread: How far it is from all before it, as a share of the farthest that was left then.
    """

    name: str
    score: float
    spread: float


def look_at(
    predictor: Predictor, photographs: Sequence[Photograph]
) -> tuple[list[Looked], list[tuple[str, str]]]:
    """Predict photographs; return how they look, and the name and fault of each that cannot be.

    Raises:
        ConfigError: the version is not calibrated, and so does not know how sure it is.
    """
    if predictor.calibration is None:
        raise ConfigError(
            "this version is not calibrated, so it cannot say of which photographs it is unsure: "
            "take one whose answers have a score"
        )
    read = Reader()

    def look(photograph: Photograph) -> Looked | tuple[str, str]:
        try:
            prediction = predictor.predict(read(photograph))
        except (SegmentationError, OSError) as exc:
            return photograph.name, str(exc)
        return Looked(photograph.name, float(prediction.score or 0.0), describe_look(prediction))

    results = list(map_images(look, photographs, "look"))
    looked = [result for result in results if isinstance(result, Looked)]
    return looked, [result for result in results if not isinstance(result, Looked)]


def describe_look(prediction: Prediction) -> Table:
    """Describe a photograph by its colours within the mask and around it, and the mask's share.

    Returns:
        float64 (13,): mean and standard deviation of R, G and B within, the same around, each 0 to
        1, and the square root of the mask's share.

    Raises:
        ValueError: the prediction was made without its pixels.
    """
    if prediction.pixels is None:
        raise ValueError("this prediction was made without its pixels")
    shown = prediction.pixels[prediction.geometry.inside].astype(np.float64) / 255
    mask = prediction.small_mask
    around = shown[~mask] if not mask.all() else shown.reshape(-1, 3)
    within = shown[mask] if mask.any() else around
    colours = [part for pixels in (within, around) for part in (pixels.mean(0), pixels.std(0))]
    return np.concatenate([*colours, [np.sqrt(mask.mean())]])


def choose_next(
    looked: Sequence[Looked], count: int, *, corrected: Sequence[Looked] = ()
) -> list[Listed]:
    """List photographs in the order in which to correct them.

    Each is the one of those left with the highest (1 - score) * spread, where the spread is its
    distance from the nearest one before it, or corrected already, as a share of the largest such
    distance. Of equal ones the first by name.

    Args:
        looked: To choose from.
        count: Length of the list, at most.
        corrected: Photographs that need no choice.
    """
    ordered = sorted(looked, key=lambda photograph: photograph.name)
    table = np.array([photograph.look for photograph in (*ordered, *corrected)])
    # Every figure counts alike, however much it varies.
    table = (table - table.mean(0)) / np.maximum(table.std(0), 1e-9)
    own, known = table[: len(ordered)], table[len(ordered) :]
    nearest = np.full(len(ordered), np.inf)
    for row in known:
        nearest = np.minimum(nearest, _distances(own, row))
    unsure = np.array([1 - photograph.score for photograph in ordered])
    left = np.ones(len(ordered), dtype=bool)
    listed = []
    for _ in range(min(count, len(ordered))):
        farthest = float(nearest[left].max())
        # At first nothing is before it; at last only copies of what is listed may be left.
        spread = nearest / farthest if np.isfinite(farthest) and farthest > 0 else left * 1.0
        place = int(np.argmax(np.where(left, unsure * spread, -1.0)))
        listed.append(Listed(ordered[place].name, ordered[place].score, float(spread[place])))
        left[place] = False
        nearest = np.minimum(nearest, _distances(own, own[place]))
    return listed


def _distances(table: Table, row: Table) -> Table:
    distances: Table = np.linalg.norm(table - row, axis=1)
    return distances
