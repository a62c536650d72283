"""How much of its quality a model keeps when photographs get worse, and what it invents.

    python -m trainer robustness runs/first --data data/skin

scores each of `perturb.PERTURBATIONS` on the same images, and pictures without a lesion
(`trainer.studies.no_lesion`); writes robustness_PART.json, .md and .png (which shows a photograph).
"""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from model_core.images.decode import decode_image
from model_core.predictor import Prediction, Predictor
from model_core.scores.metrics import CUTOFF, Confusion
from model_core.scores.summary import bootstrap
from trainer.data.drawn import as_bmp
from trainer.data.no_lesion import COUNT, KINDS
from trainer.data.samples import Sample, map_images, read_picture, read_truth
from trainer.data.tables import replace_text
from trainer.plots.pictures import PRED_COLOUR, contact_sheet, outlined
from trainer.plots.text import MISSING, interval, markdown_table
from trainer.studies.perturb import PERTURBATIONS, UNCHANGED
from trainer.training.run import write_json

_TILE_PX = 220


def sampled(samples: Sequence[Sample], limit: int, *, seed: int = 0) -> list[Sample]:
    """Sample about `limit` images, each dataset in its proportion; all where `limit` is 0.

    The hash of seed and ID decides, so that the same images are taken on every machine.
    """
    if not limit or limit >= len(samples):
        return list(samples)
    chosen: list[Sample] = []
    for dataset in dict.fromkeys(sample.dataset for sample in samples):
        members = [sample for sample in samples if sample.dataset == dataset]
        ranked = sorted(
            members, key=lambda s: hashlib.sha256(f"{seed} {s.id}".encode()).hexdigest()
        )
        chosen += ranked[: max(1, round(limit * len(members) / len(samples)))]
    return chosen


def measure(predictor: Predictor, samples: Sequence[Sample], *, seed: int = 0) -> dict[str, Any]:
    """Score a model under every perturbation, and count lesions that it invents.

    `seed` is of drawn hair and noise.

    Returns:
        `n`, `perturbed` (one entry each: `dice` with interval, `lost_dice` and `kept_dice` against
        the unchanged photographs, `failure_rate`, `agreement` with the unchanged photograph's own
        mask in Jaccard, `score` where calibrated) and `invented` (for each kind of picture without
        a lesion: `share` in which something was found, the mean `area` of it, and its mean
        predicted Jaccard, `score`, None where the version is not calibrated).
    """

    def scores_of(number: int) -> list[list[float]]:
        picture, truth = read_picture(samples[number]), read_truth(samples[number])
        # What the model says of the photograph itself: a change should not change it.
        plain = predictor.predict(UNCHANGED.apply(picture, truth, seed)[0]).mask
        rows = []
        for perturbation in PERTURBATIONS:
            # Another seed for each image, or all would have the same hairs.
            data, moved = perturbation.apply(picture, truth, seed + number)
            pred = predictor.predict(data)
            count, same = Confusion.of(moved, pred.mask), perturbation.move(plain)
            score = np.nan if pred.score is None else pred.score
            rows.append([count.dice, count.jaccard, Confusion.of(same, pred.mask).jaccard, score])
        return rows

    # (images, perturbations, 4)
    table = np.array(list(map_images(scores_of, range(len(samples)), "robustness")))
    perturbed = [
        {"name": perturbation.name, "what": perturbation.what}
        | _entry(table[:, place], table[:, 0])
        for place, perturbation in enumerate(PERTURBATIONS)
    ]
    invented = [_inventions(name, predictor.predict) for name in KINDS]
    return {"n": len(samples), "seed": seed, "perturbed": perturbed, "invented": invented}


def write_report(report: dict[str, Any], out: Path, *, part: str) -> None:
    """Write robustness_PART.json and robustness_PART.md into a folder, made where absent."""
    write_json(out / f"robustness_{part}.json", report)
    replace_text(out / f"robustness_{part}.md", format_markdown(report))


def format_markdown(report: dict[str, Any]) -> str:
    """Format the tables of perturbed and of lesion-free pictures as Markdown."""
    perturbed = markdown_table(
        (f"of {report['n']} images", "Dice", "lost", "kept", f"Jaccard < {CUTOFF}", "agreement"),
        [
            (f"{entry['name']}: {entry['what']}", interval(entry["dice"]),
             f"{entry['lost_dice']:+.4f}", f"{entry['kept_dice']:.1%}",
             f"{entry['failure_rate']:.1%}", f"{entry['agreement']:.3f}")
            for entry in report["perturbed"]
        ],
    )  # fmt: skip
    invented = markdown_table(
        (f"no lesion ({COUNT} drawn pictures each)", "something found", "mean area of it",
         "predicted Jaccard"),
        [
            (entry["kind"], f"{entry['share']:.0%}", f"{entry['area']:.1%}",
             MISSING if entry["score"] is None else f"{entry['score']:.2f}")
            for entry in report["invented"]
        ],
    )  # fmt: skip
    return f"{perturbed}\n\n{invented}\n"


def draw_sheet(predictor: Predictor, sample: Sample, path: Path, *, seed: int = 0) -> None:
    """Draw every perturbation of one photograph, and two pictures of each kind without lesion.

    The outline is the prediction's. It shows a photograph: it belongs into the run folder.
    """
    picture, truth = read_picture(sample), read_truth(sample)
    files = [(change.name, change.apply(picture, truth, seed)[0]) for change in PERTURBATIONS]
    files += [(kind, as_bmp(draw(number))) for kind, draw in KINDS.items() for number in (0, 1)]
    tiles = [
        (outlined(decode_image(data).picture, [(predictor.predict(data).mask, PRED_COLOUR)],
                  side_px=_TILE_PX - 6, width_px=2), (name,))
        for name, data in files
    ]  # fmt: skip
    contact_sheet(tiles, columns=7, tile_px=_TILE_PX).save(path)


def _entry(own: npt.NDArray[np.float64], plain: npt.NDArray[np.float64]) -> dict[str, Any]:
    dice, before = own[:, 0].mean(), plain[:, 0].mean()
    return {
        "dice": bootstrap(own[:, :1])[0],
        "lost_dice": float(before - dice),
        "kept_dice": float(dice / before) if before else None,
        "failure_rate": float((own[:, 1] < CUTOFF).mean()),
        "agreement": float(own[:, 2].mean()),
        "score": None if np.isnan(own[:, 3]).any() else float(own[:, 3].mean()),
    }


def _inventions(kind: str, predict: Callable[[bytes], Prediction]) -> dict[str, Any]:
    answers = [predict(as_bmp(KINDS[kind](seed))) for seed in range(COUNT)]
    invented = [answer for answer in answers if answer.mask.any()]
    scores = [answer.score for answer in invented if answer.score is not None]
    return {
        "kind": kind,
        "n": COUNT,
        "share": len(invented) / COUNT,
        "area": float(np.mean([answer.mask.mean() for answer in invented])) if invented else 0.0,
        "score": float(np.mean(scores)) if scores else None,
    }
