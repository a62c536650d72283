"""An image that has passed the network, together with what its caller asked for."""

from dataclasses import dataclass, field

import numpy as np

from model_core.arrays import Image, Logits
from model_core.images.decode import decode_image
from model_core.predictor import Prediction, Prepared
from model_core.registry.registry import LoadedVersion
from service.contract.queries import AnswerQuery
from service.telemetry.ticket import no_seconds


@dataclass
class Segmented:
    """Everything that an answer about one image is made of.

    Attributes:
        version: The version that was asked.
        data: The image's bytes.
        query: The caller's wishes.
        prepared: What the network saw, and the way back to the original frame.
        logits: float32 (S, S), what the network said.
        index: Position among the images of a request, from 0.
        seconds: What each stage took.
    """

    version: LoadedVersion
    data: bytes
    query: AnswerQuery
    prepared: Prepared
    logits: Logits
    index: int = 0
    seconds: dict[str, float] = field(default_factory=no_seconds)
    _prediction: Prediction | None = field(default=None, init=False)

    @property
    def prediction(self) -> Prediction:
        """The mask and how it came about.

        It is made at the first use, which is in the thread that encodes it: one switch of threads
        fewer for each request.
        """
        # No `cached_property`: before Python 3.12 all images would wait for one lock.
        if self._prediction is None:
            predictor = self.version.predictor
            self._prediction = predictor.finish(
                self.logits,
                self.prepared.geometry,
                threshold=self.query.threshold_of(predictor.postprocess_config),
                pixels=self.prepared.pixels,
            )
        return self._prediction

    def full_image(self) -> Image:
        """Decode the upright image at its full size, uint8 (H, W, 3)."""
        limit = self.version.predictor.max_pixels
        return np.asarray(decode_image(self.data, max_pixels=limit).picture)
