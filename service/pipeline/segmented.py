"""A photograph that was segmented, together with what its caller asked for."""

from dataclasses import dataclass

import numpy as np

from model_core.arrays import Image
from model_core.images.decode import decode_image
from model_core.predictor import Prediction
from model_core.registry.registry import LoadedVersion
from service.contract.queries import AnswerQuery


@dataclass(frozen=True)
class Segmented:
    """What every form of an answer is made of.

    Attributes:
        prediction: The mask and how it came about.
        version: The version that predicted it.
        data: The photograph's bytes.
        query: The caller's wishes.
        index: Position among the photographs of a request, from 0.
    """

    prediction: Prediction
    version: LoadedVersion
    data: bytes
    query: AnswerQuery
    index: int = 0

    def photograph(self) -> Image:
        """The upright photograph at its full size, uint8 (H, W, 3); decoded anew at each call."""
        limit = self.version.predictor.max_pixels
        return np.asarray(decode_image(self.data, max_pixels=limit).picture)
