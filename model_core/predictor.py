"""Predict the mask of an image from its bytes: the only way there is in this repository.

`Predictor.predict` is the three steps in a row. The service runs them in different threads:
`prepare` and `finish` beside each other, `infer` one batch after the other.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from model_core.arrays import Batch, Image, Logits, Mask
from model_core.backends.protocol import Backend
from model_core.images.decode import MAX_PIXELS
from model_core.processing.calibration import Calibration
from model_core.processing.postprocess import PostprocessConfig, logit, tidy
from model_core.processing.preprocess import Geometry, PreprocessConfig, preprocess
from model_core.processing.quality import Quality, assess


@dataclass(frozen=True)
class Prepared:
    """An image ready for the network.

    Attributes:
        pixels: uint8 (S, S, 3), RGB.
        geometry: The way back to the upright original.
    """

    pixels: Image
    geometry: Geometry


@dataclass(frozen=True)
class Prediction:
    """The answer for one image.

    Attributes:
        mask: bool (H, W), True = lesion, in the frame of the upright original.
        threshold: Probability at which the mask was cut.
        logits: float32 (S, S), calibrated where the version is, before tidying.
        geometry: The way from its square to the original frame.
        score: Jaccard to expect of the mask, 0 to 1; None where the version is not calibrated.
        score_interval: `Calibration.interval` of the score; None where the version has none, and
            of an empty mask.
        small_mask: bool (rows, columns): the mask in the part of the square that shows the image,
            before it was brought back.
        pixels: uint8 (S, S, 3), what the network saw; None where `finish` was not given it.
    """

    mask: Mask
    threshold: float
    logits: Logits
    geometry: Geometry
    score: float | None
    small_mask: Mask
    pixels: Image | None = None
    score_interval: tuple[float, float] | None = None

    def probability(self) -> np.ndarray:
        """Compute the probability of lesion, float32 (H, W) in [0, 1], before it is tidied.

        Made on demand: most callers want only the mask.
        """
        probability: np.ndarray = expit(self.geometry.restore(self.logits))
        return probability

    def quality(self, accept_score: float | None) -> Quality:
        """Judge the mask; `accept_score` is the least score to accept, None accepts nothing.

        Raises:
            ValueError: `pixels` is None.
        """
        if self.pixels is None:
            raise ValueError("this prediction was made without its pixels")
        geometry = self.geometry
        return assess(
            self.pixels[geometry.inside],
            self.logits[geometry.inside],
            self.small_mask,
            score=self.score,
            threshold=self.threshold,
            accept_score=accept_score,
            spacing=(geometry.height / geometry.rows, geometry.width / geometry.columns),
        )


class Predictor:
    """Preprocessing, a backend and postprocessing that belong together.

    Args:
        backend: Runs the network.
        preprocess_config: What the weights were trained with.
        postprocess_config: Default threshold and component rules.
        calibration: What makes probabilities of the logits; None takes them as they are.
        max_pixels: Limit on an image, checked before it is decoded.
    """

    def __init__(
        self,
        backend: Backend,
        preprocess_config: PreprocessConfig,
        postprocess_config: PostprocessConfig,
        calibration: Calibration | None = None,
        *,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        self.backend = backend
        self.preprocess_config = preprocess_config
        self.postprocess_config = postprocess_config
        self.calibration = calibration
        self.max_pixels = max_pixels

    def predict(self, data: bytes, *, threshold: float | None = None) -> Prediction:
        """Predict the mask of one image.

        Args:
            data: JPEG, PNG, TIFF, BMP, WebP, HEIC, AVIF or DICOM bytes.
            threshold: Overrides the card's, 0 < threshold < 1.

        Raises:
            InputError: the bytes cannot be used; `model_core.images.decode.decode_image` says why.
            ConfigError: the threshold is out of range.
        """
        prepared = self.prepare(data)
        logits = self.infer(prepared.pixels[None])
        return self.finish(
            logits[0], prepared.geometry, threshold=threshold, pixels=prepared.pixels
        )

    def prepare(self, data: bytes) -> Prepared:
        """Decode and resize; raises as `predict`."""
        pixels, geometry = preprocess(data, self.preprocess_config, max_pixels=self.max_pixels)
        return Prepared(pixels, geometry)

    def infer(self, batch: Batch) -> Logits:
        """Run the network: logits float32 (N, S, S) of prepared pixels uint8 (N, S, S, 3)."""
        return self.backend.run(batch)

    def finish(
        self,
        logits: Logits,
        geometry: Geometry,
        *,
        threshold: float | None = None,
        pixels: Image | None = None,
    ) -> Prediction:
        """Calibrate, tidy, bring back to the original frame, and cut.

        Args:
            logits: float32 (S, S) of one image.
            geometry: The same image's.
            threshold: As in `predict`.
            pixels: What `prepare` made of it, needed for `Prediction.quality` alone.
        """
        config = self.postprocess_config
        if threshold is not None and threshold != config.threshold:
            config = config.with_threshold(threshold)
        cut = logit(config.threshold)
        if self.calibration is not None:
            logits = self.calibration.logits(logits)
        # Only where the photograph is: a region in the bars of a letterbox is no lesion.
        shown = logits[geometry.inside]
        tidied = tidy(shown, config)
        small = tidied > cut
        score, interval = None, None
        if self.calibration is not None:
            score = self.calibration.score(shown, small)
            least = self.calibration.least_score
            if (
                not self.calibration.has_sure_core(shown)
                and self._own_score(shown, small, score, config) < least
            ):
                # Mirrored at the cut: background everywhere.
                tidied = np.minimum(tidied, 2 * np.float32(cut) - tidied)
                small, score = np.zeros_like(small), 0.0
            interval = self.calibration.interval(score)
        mask = geometry.restore_mask(tidied, cut)
        return Prediction(mask, config.threshold, logits, geometry, score, small, pixels, interval)

    def _own_score(
        self, shown: Logits, small: Mask, score: float, used: PostprocessConfig
    ) -> float:
        """Score the mask at the card's own cut: another one must not decide what is a lesion."""
        own = self.postprocess_config
        if used is own or self.calibration is None:
            return score
        return self.calibration.score(shown, tidy(shown, own) > logit(own.threshold))
