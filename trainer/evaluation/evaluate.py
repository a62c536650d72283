"""Scores of a run or a published version on samples it has not seen, at the masks' own resolution.

    python -m trainer evaluate runs/first --data data/skin --part test

prints a table and writes what `scores.py` lists; `train` ends with the same on validation.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from model_core.arrays import Mask, Spacing
from model_core.errors import DatasetError
from model_core.predictor import Predictor
from model_core.processing.preprocess import fit_mask
from model_core.scores.metrics import Confusion, ImageScores, score_image
from trainer.data.samples import Sample, map_images, read_photo, read_truth
from trainer.evaluation.reliability import Certainty, count_pixels

THRESHOLDS = tuple(round(0.1 * tenth, 1) for tenth in range(1, 10))
"""Cuts of the threshold sweep."""
PARTS = ("train", "val", "test", "external", "all")


@dataclass(frozen=True)
class Scored:
    """One sample and how well it was segmented.

    Attributes:
        sample: The sample.
        scores: At the predictor's own threshold.
        lesion_fraction: Share of the truth that is lesion.
        certainty: How sure the model was.
        sweep: Dice and Jaccard at each of `THRESHOLDS`, or empty.
    """

    sample: Sample
    scores: ImageScores
    lesion_fraction: float
    certainty: Certainty
    sweep: tuple[tuple[float, float], ...] = ()


def held_out(samples: Sequence[Sample], part: str, *, datasets: Sequence[str] = ()) -> list[Sample]:
    """Select the samples of one part; `test` brings the external sets along.

    `part` is one of `PARTS`. No `datasets` means all; external sets are always among those wanted.

    Raises:
        DatasetError: there is none.
    """
    unknown = sorted(set(datasets) - {sample.dataset for sample in samples})
    if unknown:
        known = ", ".join(sorted({sample.dataset for sample in samples}))
        raise DatasetError(f"no dataset {', '.join(unknown)} to score; there are {known}")
    parts = {"test": {"test", "external"}, "all": set(PARTS)}.get(part, {part})
    wanted = [
        sample
        for sample in samples
        if sample.part in parts
        and (not datasets or sample.dataset in datasets or sample.part == "external")
    ]
    if not wanted:
        of = f" of {', '.join(datasets)}" if datasets else ""
        there = sorted({f"{sample.dataset} {sample.part}" for sample in samples})
        raise DatasetError(f"no sample{of} in part {part!r}; there are {', '.join(there)}")
    return wanted


def score(
    predictor: Predictor,
    samples: list[Sample],
    *,
    spacing_mm: Spacing | None = None,
    sweep: bool = False,
) -> list[Scored]:
    """Score every sample, through the predictor that the service uses.

    `spacing_mm` is the height and width of a pixel, where it is known and the same for all; `sweep`
    scores at each of `THRESHOLDS` as well and takes about twice as long.
    """

    def score_one(sample: Sample) -> Scored:
        truth = read_truth(sample)
        prepared = predictor.prepare(read_photo(sample))
        logits = predictor.infer(prepared.pixels[None])[0]

        def cut(threshold: float) -> Mask:
            return predictor.finish(logits, prepared.geometry, threshold=threshold).mask

        # All cuts are made from the same logits: the network is what takes long.
        cuts = THRESHOLDS if sweep else ()
        counts = [Confusion.of(truth, cut(threshold)) for threshold in cuts]
        pred, inside = predictor.finish(logits, prepared.geometry), prepared.geometry.inside
        # Certainty leaves out the letterbox's bars, where every model is sure and right.
        small_truth = fit_mask(truth, predictor.preprocess_config)
        pixels = count_pixels(pred.logits[inside], small_truth[inside])
        return Scored(
            sample,
            score_image(truth, pred.mask, spacing_mm=spacing_mm),
            float(truth.mean()),
            Certainty(pixels, pred.score, pred.score_interval),
            tuple((count.dice, count.jaccard) for count in counts),
        )

    return list(map_images(score_one, samples, "evaluate"))
